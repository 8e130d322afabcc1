/**
 * The data folder of one installation: lock, development secrets, identity of the slashing store. One process at a time
 * holds it.
 *
 *   lock                 held by an open SQLite transaction, so the kernel frees it however the process ends
 *   installation.json    which store protects these keys, and for which chain
 *   secrets/             sealing and MAC keys, mode 600 (development; on Nitro they come sealed)
 *   keys.sqlite          sealed keys
 *   slashing.sqlite      the embedded slashing store
 */

import { randomBytes } from "node:crypto";
import {
  chmodSync,
  closeSync,
  existsSync,
  fsyncSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { fromHex, ROOT_BYTES, toHex } from "#protocol/bytes.ts";
import { SignerError } from "#protocol/errors.ts";
import { NAMED_NETWORKS } from "#protocol/signing/named-networks.ts";
import type { MacKeys } from "#protocol/slashing/mac.ts";
import { DEVELOPMENT_MAC_KEY_ID } from "#protocol/slashing/marker.ts";
import { STORE_ID_BYTES } from "#protocol/slashing/record.ts";
import { checkOwner, ensurePrivateFolder } from "./private-folder.ts";

/** Which slashing store an installation uses. Written once; a change would silently drop the protection. */
export interface Installation {
  /** 16 bytes of hex, chosen at the first start. */
  readonly storeIdHex: string;
  /** `sqlite`, or `redis://host:port/db` without credentials. */
  readonly store: string;
  /** The store's marker was written: it must be there from now on. */
  readonly storeInitialised: boolean;
  /** The chain; absent until a custom network shows its root. */
  readonly genesisValidatorsRootHex?: string;
  /** Id of the MAC key that writes; absent: 1. */
  readonly macKeyId?: number;
  /** Of an attested installation, which has no secrets in its folder; absent: development. */
  readonly sealed?: SealedIdentity;
}

/** Whose sealed configuration an installation runs under. */
export interface SealedIdentity {
  readonly group: string;
  /** Ed25519 public key, 32 bytes of hex. */
  readonly authorityHex: string;
}

/** Development secrets. */
export interface FolderSecrets {
  readonly sealingKey: Uint8Array;
  /** All MAC keys of the folder, by id, 32 bytes each, and the one that writes. */
  readonly macKeys: MacKeys;
}

/** Who an installation is, as another process may read it. */
export interface FolderIdentity {
  readonly secrets: FolderSecrets;
  readonly installation: Installation;
}

/** An open data folder. */
export interface DataFolder extends FolderIdentity {
  readonly path: string;
  /** True when this start made the folder's identity. */
  readonly isNew: boolean;
  /** Remembers that the store is initialised, and for which chain. */
  recordInitialised(genesisValidatorsRootHex: string): void;
  /** Makes another MAC key, accepted beside the others from now on. @returns its id */
  addMacKey(): number;
  /** Remembers which MAC key writes, and removes all others: every record is written under it. */
  retireMacKeys(writingKeyId: number): void;
  /** Path of the sealed keys' database. */
  readonly keysPath: string;
  /** Path of the embedded slashing store. */
  readonly slashingPath: string;
  /** Gives the lock back. */
  close(): void;
}

/** What the caller knows about the installation it expects. */
export interface DataFolderOptions {
  readonly path: string;
  /** See {@link Installation.store}. */
  readonly store: string;
  /** 32 bytes; undefined: custom network, not known yet. */
  readonly genesisValidatorsRoot?: Uint8Array | undefined;
  /** Of an attested installation, with the store id of its configuration. */
  readonly sealed?: (SealedIdentity & { readonly storeId: Uint8Array }) | undefined;
}

const INSTALLATION_FILE = "installation.json";
const SECRET_BYTES = 32;
const FIRST_MAC_KEY = DEVELOPMENT_MAC_KEY_ID;
const MODE_PRIVATE = 0o600;
/** Rights of group and others. */
const MODE_OTHERS = 0o077;
/** SQLite's result code for a lock that another connection holds (https://www.sqlite.org/rescode.html#busy). */
const SQLITE_BUSY = 5;
/** Files of earlier starts, perhaps under a wider umask; each with what SQLite puts beside it. */
const DATABASES = ["lock", "keys.sqlite", "slashing.sqlite"] as const;
const DATABASE_ENDINGS = ["", "-wal", "-shm", "-journal"] as const;
/** Below `secrets/`, made with the folder. */
const SECRET_FILES = ["sealing.key", "mac.key"] as const;
/** The first MAC key is `mac.key`, later ones have their id in the name. */
const MAC_KEY_FILE = /^mac(?:-(\d{1,5}))?\.key$/;

/**
 * Opens or makes a data folder; `mayCreate: false` only opens.
 * @throws SignerError `unavailable` when another process holds it, `bad_request` when it is another user's, belongs to
 *   another store or chain, or must not be made
 */
export const openDataFolder = (options: DataFolderOptions, { mayCreate = true } = {}): DataFolder => {
  const { path } = options;
  const file = join(path, INSTALLATION_FILE);
  if (!mayCreate) expectInstallation(path);
  ensurePrivateFolder(path, "data folder");
  const lock = takeLock(path);
  try {
    const isNew = !existsSync(file);
    let installation = isNew ? newInstallation(options) : readInstallation(file);
    checkInstallation(installation, options);
    closeToOthers(path);
    if (installation.store === "sqlite") makeFile(join(path, "slashing.sqlite"));
    const secretsPath = join(path, "secrets");
    if (isNew && installation.sealed === undefined) makeSecrets(secretsPath);
    let secrets = installation.sealed === undefined ? readSecrets(secretsPath, installation) : undefined;
    if (isNew) writePrivately(file, JSON.stringify(installation, null, 2));
    return {
      path,
      get secrets() {
        return secrets ?? noSecrets(path);
      },
      isNew,
      get installation() {
        return installation;
      },
      recordInitialised: (genesisValidatorsRootHex) => {
        if (!installation.storeInitialised) installation = recordInitialised(path, genesisValidatorsRootHex);
      },
      addMacKey: () => {
        const id = Math.max(...(secrets ?? noSecrets(path)).macKeys.macKeys.keys()) + 1;
        writePrivately(join(secretsPath, `mac-${id}.key`), randomBytes(SECRET_BYTES));
        secrets = readSecrets(secretsPath, installation);
        return id;
      },
      retireMacKeys: (writingKeyId) => {
        if (secrets === undefined) return noSecrets(path);
        installation = { ...readInstallation(file), macKeyId: writingKeyId };
        writePrivately(file, JSON.stringify(installation, null, 2));
        for (const id of secrets.macKeys.macKeys.keys()) {
          if (id !== writingKeyId) rmSync(join(secretsPath, macKeyFile(id)), { force: true });
        }
        secrets = readSecrets(secretsPath, installation);
      },
      keysPath: join(path, "keys.sqlite"),
      slashingPath: join(path, "slashing.sqlite"),
      close: () => lock.close(),
    };
  } catch (error) {
    lock.close();
    throw error;
  }
};

/**
 * Reads the identity of a data folder that another process may hold. Makes and changes nothing.
 * @throws SignerError `bad_request` when it is no data folder of this user, or belongs to another store or chain
 */
export const readDataFolder = (options: DataFolderOptions): FolderIdentity => {
  expectInstallation(options.path);
  checkOwner(options.path, "data folder");
  const installation = readInstallation(join(options.path, INSTALLATION_FILE));
  if (installation.sealed !== undefined) return noSecrets(options.path);
  checkInstallation(installation, options);
  return { installation, secrets: readSecrets(join(options.path, "secrets"), installation) };
};

/**
 * Remembers in the data folder that its store is initialised, and for which chain; a folder that knows stays as it is.
 * Any process may do so, because each learned it from the store's one marker.
 * @returns the installation as it stands now
 */
export const recordInitialised = (path: string, genesisValidatorsRootHex: string): Installation => {
  const file = join(path, INSTALLATION_FILE);
  const known = readInstallation(file);
  if (known.storeInitialised) return known;
  const installation = { ...known, storeInitialised: true, genesisValidatorsRootHex };
  writePrivately(file, JSON.stringify(installation, null, 2));
  return installation;
};

/** A mistyped path must not become an installation by being looked at. */
const expectInstallation = (path: string): void => {
  if (existsSync(join(path, INSTALLATION_FILE))) return;
  throw new SignerError(
    "bad_request",
    `data folder ${path}: there is no installation, so there is nothing to export or read yet; check --data`,
  );
};

/** SQLite's file lock is the kernel's: unlike a pid file it cannot be stale. */
const takeLock = (path: string): DatabaseSync => {
  let lock: DatabaseSync | undefined;
  try {
    makeFile(join(path, "lock"));
    lock = new DatabaseSync(join(path, "lock"));
    lock.exec("BEGIN EXCLUSIVE");
    return lock;
  } catch (cause) {
    lock?.close();
    const busy = (cause as { errcode?: number }).errcode === SQLITE_BUSY;
    const detail = busy
      ? `data folder ${path} is in use by another Testudo: stop it, or choose another folder with --data`
      : `data folder ${path}: cannot take its lock (${(cause as Error).message}): expected a writable disk with file ` +
        "locks and free space; mend that, or choose another folder with --data";
    throw new SignerError("unavailable", detail, { cause });
  }
};

/** Takes away the rights that an earlier start, or somebody's copying, gave to others. */
const closeToOthers = (path: string): void => {
  const secrets = SECRET_FILES.map((name) => join("secrets", name));
  const databases = DATABASES.flatMap((name) => DATABASE_ENDINGS.map((ending) => `${name}${ending}`));
  for (const name of [INSTALLATION_FILE, ...secrets, ...databases]) {
    const stats = statSync(join(path, name), { throwIfNoEntry: false });
    if (stats !== undefined && (stats.mode & MODE_OTHERS) !== 0) chmodSync(join(path, name), MODE_PRIVATE);
  }
  if (existsSync(join(path, "secrets"))) ensurePrivateFolder(join(path, "secrets"), "data folder");
};

/**
 * Makes an empty file, where there is none. What SQLite makes has the umask's mode, and its log the mode of its
 * database: so databases are made here. An existing one is not even opened: when a process closes a file, all its
 * locks on that file are gone, also those of its other descriptors (fcntl(2)).
 */
const makeFile = (file: string): void => {
  if (!existsSync(file)) closeSync(openSync(file, "a", MODE_PRIVATE));
};

const newInstallation = ({ store, genesisValidatorsRoot, sealed }: DataFolderOptions): Installation => ({
  storeIdHex: toHex(sealed?.storeId ?? randomBytes(STORE_ID_BYTES)),
  ...(sealed && { sealed: { group: sealed.group, authorityHex: sealed.authorityHex } }),
  store,
  storeInitialised: false,
  ...(genesisValidatorsRoot && { genesisValidatorsRootHex: toHex(genesisValidatorsRoot) }),
});

const readInstallation = (file: string): Installation => {
  const broken = (cause?: unknown): SignerError =>
    new SignerError("bad_request", `${file}: cannot be read as an installation; restore it from a backup`, { cause });
  try {
    const value = JSON.parse(readFileSync(file, "utf8")) as Installation;
    fromHex(value.storeIdHex, STORE_ID_BYTES, "storeIdHex");
    if (value.genesisValidatorsRootHex !== undefined) {
      fromHex(value.genesisValidatorsRootHex, ROOT_BYTES, "genesisValidatorsRootHex");
    }
    if (value.sealed !== undefined) fromHex(value.sealed.authorityHex, ROOT_BYTES, "sealed.authorityHex");
    if (typeof value.store !== "string" || typeof value.storeInitialised !== "boolean") throw broken();
    return value;
  } catch (error) {
    throw broken(error);
  }
};

/** What works with MAC keys outside an enclave has nothing to work with. */
const noSecrets = (path: string): never => {
  throw new SignerError(
    "bad_request",
    `data folder ${path}: its MAC keys are sealed and known to attested enclaves alone; they change with ` +
      "`testudo config seal`",
  );
};

const checkMode = ({ sealed: known, storeIdHex }: Installation, { path, sealed: wanted }: DataFolderOptions): void => {
  const wrong = (problem: string): SignerError => new SignerError("bad_request", `data folder ${path}: ${problem}`);
  if (known === undefined && wanted === undefined) return;
  if (wanted === undefined) throw wrong(`is of the attested group ${known?.group}: start it with --keys-from aws`);
  if (known === undefined) throw wrong("is one of development mode: choose another folder with --data");
  const pairs = [
    ["group", known.group, wanted.group],
    ["authority", known.authorityHex, wanted.authorityHex],
    ["store id", storeIdHex, toHex(wanted.storeId)],
  ] as const;
  for (const [name, expected, got] of pairs) {
    if (expected !== got) throw wrong(`expected a configuration of ${name} ${expected}, got one of ${got}`);
  }
};

const checkInstallation = (installation: Installation, options: DataFolderOptions): void => {
  checkMode(installation, options);
  if (installation.store !== options.store) {
    throw new SignerError(
      "bad_request",
      `data folder ${options.path} keeps its slashing protection in ${installation.store}, not in ${options.store}. ` +
        "To move it: `testudo slashing export` from here, then `testudo slashing import` into a new data folder",
    );
  }
  const { genesisValidatorsRootHex: known } = installation;
  const { genesisValidatorsRoot: wanted } = options;
  if (known !== undefined && wanted !== undefined && known !== toHex(wanted)) {
    const name = networkNameOf(known);
    const option = name === undefined ? "the --network that it was made with" : `--network ${name}`;
    throw new SignerError(
      "bad_request",
      `data folder ${options.path} protects the chain ${describeChain(known)}, not ${describeChain(toHex(wanted))}: ` +
        `give ${option}, or another folder with --data; use one data folder a network`,
    );
  }
};

const networkNameOf = (rootHex: string): string | undefined =>
  Object.entries(NAMED_NETWORKS).find(
    ([, constants]) => "genesisValidatorsRoot" in constants && constants.genesisValidatorsRoot === rootHex,
  )?.[0];

const describeChain = (rootHex: string): string => {
  const name = networkNameOf(rootHex);
  return name === undefined ? rootHex : `${rootHex} (${name})`;
};

/** Makes the secrets of a new folder; a first start that broke off may have made some. */
const makeSecrets = (folder: string): void => {
  ensurePrivateFolder(folder, "data folder");
  for (const name of SECRET_FILES) {
    const file = join(folder, name);
    if (!existsSync(file)) writePrivately(file, randomBytes(SECRET_BYTES));
  }
};

/** Reads secrets, and never makes any: under new ones neither sealed keys nor slashing records could be read. */
const readSecrets = (folder: string, { macKeyId = FIRST_MAC_KEY }: Installation): FolderSecrets => {
  const sealingKey = readSecret(join(folder, "sealing.key"));
  const macKeys = new Map([[macKeyId, readSecret(join(folder, macKeyFile(macKeyId)))]]);
  for (const name of readdirSync(folder)) {
    const match = MAC_KEY_FILE.exec(name);
    if (match !== null) macKeys.set(Number(match[1] ?? FIRST_MAC_KEY), readSecret(join(folder, name)));
  }
  return { sealingKey, macKeys: { macKeys, writingKeyId: macKeyId } };
};

const macKeyFile = (id: number): string => (id === FIRST_MAC_KEY ? "mac.key" : `mac-${id}.key`);

const readSecret = (file: string): Uint8Array => {
  let secret: Uint8Array;
  try {
    secret = readFileSync(file);
  } catch (cause) {
    throw new SignerError("bad_request", `${file}: cannot be read; restore it from a backup`, { cause });
  }
  if (secret.length !== SECRET_BYTES) {
    throw new SignerError("bad_request", `${file}: expected ${SECRET_BYTES} bytes, got ${secret.length}`);
  }
  return secret;
};

/** Writes a whole file or none: a crash leaves the old one. Another process may be writing the same file. */
const writePrivately = (file: string, content: string | Uint8Array): void => {
  const fresh = `${file}.${process.pid}.new`;
  writeFileSync(fresh, content, { mode: MODE_PRIVATE, flush: true });
  renameSync(fresh, file);
  syncFolder(dirname(file));
};

/** A rename is durable when its folder is (rename(2), fsync(2)). */
const syncFolder = (path: string): void => {
  const folder = openSync(path, "r");
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
};
