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
  constants,
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  renameSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { fromHex, ROOT_BYTES, toHex } from "#protocol/bytes.ts";
import { SignerError } from "#protocol/errors.ts";
import { STORE_ID_BYTES } from "#protocol/slashing/record.ts";

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
}

/** Development secrets, 32 bytes each. */
export interface FolderSecrets {
  readonly sealingKey: Uint8Array;
  readonly macKey: Uint8Array;
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
}

const SECRET_BYTES = 32;
/** Below `secrets/`, in the order of {@link FolderSecrets}. */
const SECRET_FILES = ["sealing.key", "mac.key"] as const;

/**
 * Opens or makes a data folder.
 * @throws SignerError `unavailable` when another process holds it, `bad_request` when it belongs to another store or chain
 */
export const openDataFolder = (options: DataFolderOptions): DataFolder => {
  const { path } = options;
  makeFolder(path);
  const lock = takeLock(path);
  try {
    const file = join(path, "installation.json");
    const isNew = !existsSync(file);
    let installation = isNew ? newInstallation(options) : readInstallation(file);
    checkInstallation(installation, options);
    const secretsPath = join(path, "secrets");
    const secrets = isNew ? makeSecrets(secretsPath) : readSecrets(secretsPath);
    if (isNew) writePrivately(file, JSON.stringify(installation, null, 2));
    return {
      path,
      secrets,
      isNew,
      get installation() {
        return installation;
      },
      recordInitialised: (genesisValidatorsRootHex) => {
        if (installation.storeInitialised) return;
        installation = { ...installation, storeInitialised: true, genesisValidatorsRootHex };
        writePrivately(file, JSON.stringify(installation, null, 2));
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
 * Reads the identity of a data folder that another process may hold. Changes nothing but too wide
 * rights on its secrets.
 * @throws SignerError `bad_request` when it is no data folder, or belongs to another store or chain
 */
export const readDataFolder = (options: DataFolderOptions): FolderIdentity => {
  const installation = readInstallation(join(options.path, "installation.json"));
  checkInstallation(installation, options);
  return { installation, secrets: readSecrets(join(options.path, "secrets")) };
};

/** Makes a folder that only this user may enter. */
const makeFolder = (path: string): void => {
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 });
  } catch (cause) {
    throw new SignerError("bad_request", `data folder ${path}: cannot be made, choose another with --data`, { cause });
  }
};

/**
 * Makes the folder of the sockets. It may lie in the system's temporary folder, where everybody can have made it before:
 * whoever owns it decides who answers at the sockets.
 * @throws SignerError `bad_request` when it is somebody else's, or others may enter it
 */
export const makeRunFolder = (path: string): void => {
  makeFolder(path);
  const { uid, mode } = lstatSync(path);
  const isPrivate = (mode & constants.S_IFMT) === constants.S_IFDIR && (mode & 0o077) === 0;
  if (uid === process.getuid?.() && isPrivate) return;
  throw new SignerError(
    "bad_request",
    `${path}: expected a folder of mode 700 of this user; remove it and start again`,
  );
};

/** SQLite's file lock is the kernel's: unlike a pid file it cannot be stale. */
const takeLock = (path: string): DatabaseSync => {
  const lock = new DatabaseSync(join(path, "lock"));
  try {
    lock.exec("BEGIN EXCLUSIVE");
    return lock;
  } catch (cause) {
    lock.close();
    const detail = `data folder ${path} is in use by another Testudo: stop it, or choose another folder with --data`;
    throw new SignerError("unavailable", detail, { cause });
  }
};

const newInstallation = ({ store, genesisValidatorsRoot }: DataFolderOptions): Installation => ({
  storeIdHex: toHex(randomBytes(STORE_ID_BYTES)),
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
    if (typeof value.store !== "string" || typeof value.storeInitialised !== "boolean") throw broken();
    return value;
  } catch (error) {
    throw broken(error);
  }
};

const checkInstallation = (installation: Installation, options: DataFolderOptions): void => {
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
    throw new SignerError(
      "bad_request",
      `data folder ${options.path} protects the chain ${known}, not ${toHex(wanted)}: use one data folder a network`,
    );
  }
};

/** Makes the secrets of a new folder; a first start that broke off may have made some. */
const makeSecrets = (folder: string): FolderSecrets => {
  makeFolder(folder);
  for (const name of SECRET_FILES) {
    const file = join(folder, name);
    if (!existsSync(file)) writePrivately(file, randomBytes(SECRET_BYTES));
  }
  return readSecrets(folder);
};

/** Reads secrets, and never makes any: under new ones neither sealed keys nor slashing records could be read. */
const readSecrets = (folder: string): FolderSecrets => {
  const [sealingKey, macKey] = SECRET_FILES.map((name) => readSecret(join(folder, name)));
  return { sealingKey, macKey } as FolderSecrets;
};

const readSecret = (file: string): Uint8Array => {
  let secret: Uint8Array;
  try {
    if ((statSync(file).mode & 0o077) !== 0) chmodSync(file, 0o600);
    secret = readFileSync(file);
  } catch (cause) {
    throw new SignerError("bad_request", `${file}: cannot be read; restore it from a backup`, { cause });
  }
  if (secret.length !== SECRET_BYTES) {
    throw new SignerError("bad_request", `${file}: expected ${SECRET_BYTES} bytes, got ${secret.length}`);
  }
  return secret;
};

/** Writes a whole file or none: a crash leaves the old one. */
const writePrivately = (file: string, content: string | Uint8Array): void => {
  writeFileSync(`${file}.new`, content, { mode: 0o600, flush: true });
  renameSync(`${file}.new`, file);
};
