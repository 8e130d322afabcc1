/**
 * The control port: how the pool-manager configures an enclave, gives it keys and watches it. Key material crosses
 * this port only in binary fields, sealed or under its password; the one exception, development secrets, is marked.
 */

import { ByteReader, ByteWriter, PUBKEY_BYTES, toHex } from "../bytes.ts";
import { SignerError } from "../errors.ts";
import { KEYSTORE_BYTES_MAX, PAGE_ENTRIES_MAX, PASSWORD_BYTES_MAX } from "../limits.ts";
import type { MacKeys } from "../slashing/mac.ts";
import { SIGNER_KINDS, type SignerChoice, type SignerKind } from "./signer.ts";

/** Operation numbers of the control port. */
export const CONTROL_OPERATIONS = {
  /** Settings and development secrets; once, before anything else. */
  configure: 1,
  /** Opens an EIP-2335 keystore with its password; answers a {@link SealedKey}. */
  openKeystore: 2,
  /** Takes a secret key as `0x` hex text (development only); answers a {@link SealedKey}. */
  openSecret: 3,
  /** Makes a new secret key; answers a {@link SealedKey}. */
  generateKey: 4,
  /** Unseals a page of keys into memory; answers a {@link LoadReport}. */
  loadKeys: 5,
  /** Forgets keys. */
  removeKeys: 6,
  /** Checks the store and reads or makes the record of every key. Repeat it after loadKeys. */
  activate: 7,
  /** Answers an {@link EnclaveStatus}. */
  status: 8,
  /** Takes no new signing request; answers when the last one in flight has ended. */
  drain: 9,
  /** Lets the activated keys sign, after a self-test; the first time, the enclave is ready then. */
  open: 10,
  /** Executes an operator command (`../operator/command.ts`); answers an {@link OperatorReport}. */
  operate: 11,
  /** Answers a page of the newest records this enclave has seen (`encodeEntries` of `store.ts`); asks by page number. */
  floors: 12,
  /** Takes a page of another enclave's records, for a recovery. */
  keepFloors: 13,
  /** Reads all records and the marker again, after another enclave's operator command. */
  refresh: 14,
  /** Takes the accepted MAC keys anew (`encodeMacKeys`); the writing one changes by `rotate-mac` alone. */
  macKeys: 15,
  /** In the place of `configure`: a configuration that only an attested enclave can open (`sealed.ts`). */
  configureSealed: 16,
  /** Keys of one sealed bundle (`sealed.ts`), opened by attestation; answers a {@link LoadReport}. */
  loadBundle: 17,
} as const;

/** Where the enclave finds its slashing store. */
export type StoreSettings =
  | { readonly kind: "sqlite" }
  | {
      readonly kind: "redis";
      readonly username?: string;
      readonly database: number;
      /** In front of every register's name, so that several stores may share a server. */
      readonly keyPrefix: string;
      /** Which servers there are; undefined: one, behind the first egress port, without TLS. */
      readonly route?: RedisRoute;
      /** Undefined: `aof-always`. */
      readonly durability?: RedisDurability;
      /** TLS to every server; it ends in the enclave. */
      readonly tls?: RedisTls;
    };

/**
 * How durable an acknowledged write is (DESIGN §4, docs/redis.md): `aof-always` is one server without replicas that
 * flushes before it answers; `replicated:N` is the same on a primary and on all its N replicas; `managed` is a service
 * that promises it, such as MemoryDB.
 */
export type RedisDurability = "aof-always" | `replicated:${number}` | "managed";

/** A Redis server's, or a Sentinel's, host name or IP address and TCP port. */
export interface RedisAddress {
  readonly host: string;
  readonly port: number;
}

/** How the primary is found. */
export const REDIS_TOPOLOGIES = ["single", "sentinel", "cluster"] as const;
/** One of {@link REDIS_TOPOLOGIES}. */
export type RedisTopology = (typeof REDIS_TOPOLOGIES)[number];

/** The Redis servers that the operator named. Nothing else is reached, whatever a server announces. */
export interface RedisRoute {
  readonly topology: RedisTopology;
  /** 1..REDIS_ADDRESSES_MAX; number i is behind egress port PORT_EGRESS_REDIS + i. */
  readonly addresses: readonly RedisAddress[];
  /** How many of the first addresses `--store` named: the server, the Sentinels, or the cluster's first servers. */
  readonly seeds: number;
  /** What the Sentinels call the primary; with `sentinel` only. */
  readonly masterName?: string;
}

/** TLS settings that are no secret. */
export interface RedisTls {
  /** Certificates that may have signed the server's, in PEM; undefined: those that Node comes with. */
  readonly ca?: string;
}

/** Settings that are no secret; they travel as JSON. */
export interface EnclaveSettings {
  readonly cid: number;
  /** `networkToJson` of `signing/network.ts`. */
  readonly network: unknown;
  /** 16 bytes of hex. */
  readonly storeIdHex: string;
  readonly store: StoreSettings;
  /** True only on the very first start of a data folder: the marker may be created. */
  readonly initialiseStore: boolean;
  /** Ed25519 public key of the operator, 32 bytes of hex. */
  readonly operatorKeyHex: string;
  /** Epochs after the present that may be signed, where genesis time is known; undefined: no bound. */
  readonly clockBoundEpochs?: number;
  /** Signing threads. */
  readonly threads: number;
  readonly signer: SignerChoice;
}

/** Secrets of the development mode. On Nitro they come sealed and are opened by attestation instead. */
export interface DevelopmentSecrets {
  /** AES-256 key under which key material rests in the data folder; 32 bytes. */
  readonly sealingKey: Uint8Array;
  /** MAC keys of slashing records that are accepted, by id, 32 bytes each, and the one that writes. */
  readonly macKeys: MacKeys;
  /** Redis password in UTF-8; empty: none. */
  readonly storePassword: Uint8Array;
}

/** A secret key at rest: only an enclave with the sealing key can open it (`enclave-worker/keys/seal.ts`). */
export interface SealedKey {
  readonly pubkey: Uint8Array;
  readonly sealed: Uint8Array;
  /** Whether this key had a record in the slashing store before: an absent record is then data loss. */
  readonly registered: boolean;
}

/** What an operator command did. */
export interface OperatorReport {
  readonly written: number;
  readonly unchanged: number;
  /** Records made of validators of which nothing was known: a `disable` or `stop-at` of theirs is lost. */
  readonly blank: number;
  readonly failed: number;
  /** The first {@link OPERATOR_FAILURES_MAX} of those that failed. */
  readonly failures: readonly { readonly pubkeyHex: string; readonly reason: string }[];
}

/** Failures that an {@link OperatorReport} names. */
export const OPERATOR_FAILURES_MAX = 100;

/** What became of a page of keys. */
export interface LoadReport {
  readonly loaded: number;
  readonly failures: readonly { readonly pubkeyHex: string; readonly reason: string }[];
}

/** Phases of an enclave in order. */
export const ENCLAVE_PHASES = ["booting", "provisioning", "ready", "draining"] as const;
/** One of {@link ENCLAVE_PHASES}. */
export type EnclavePhase = (typeof ENCLAVE_PHASES)[number];

/** What an enclave says of itself. */
export interface EnclaveStatus {
  readonly phase: EnclavePhase;
  readonly keys: number;
  /** Why slashable duties are refused or fail now (store suspect, or not reachable); undefined when they are not. */
  readonly storeProblem?: string;
  /** False: the store does not answer this enclave or is too weak, and another may do better with slashable duties. */
  readonly reachesStore: boolean;
  /** Undefined before the settings came. */
  readonly signer?: SignerKind;
  /** The pinned genesis validators root; undefined until a custom network shows it. */
  readonly genesisValidatorsRootHex?: string;
  /** Whether the store's marker exists and was verified. */
  readonly storeInitialised: boolean;
  /** Sequence of the last signed operator command that the enclave knows of. */
  readonly commandSequence: number;
  readonly inFlight: number;
  readonly counters: Readonly<Record<EnclaveCounter, number>>;
}

/** Counters since the enclave's start. */
export const ENCLAVE_COUNTERS = [
  "signed",
  "denied",
  "failed",
  "repeated",
  "conflicts",
  "rejectedFrames",
  "storeRoundTrips",
] as const;
/** One of {@link ENCLAVE_COUNTERS}. */
export type EnclaveCounter = (typeof ENCLAVE_COUNTERS)[number];

const SECRET_BYTES = 32;

/** Settings and secrets. The caller wipes the result when it was sent. */
export const encodeConfigure = (settings: EnclaveSettings, secrets: DevelopmentSecrets): Uint8Array =>
  new ByteWriter()
    .sizedText(JSON.stringify(settings))
    .bytes(secrets.sealingKey)
    .bytes(encodeMacKeys(secrets.macKeys))
    .sizedBytes(secrets.storePassword)
    .finish();

/** MAC keys: how many, each with its id, and the id of the one that writes. */
export const encodeMacKeys = ({ macKeys, writingKeyId }: MacKeys): Uint8Array => {
  const writer = new ByteWriter().u16(macKeys.size);
  for (const [id, key] of macKeys) writer.u16(id).bytes(key);
  return writer.u16(writingKeyId).finish();
};

/** @throws SignerError `protocol_violation` */
export const decodeMacKeys = (payload: Uint8Array): MacKeys => {
  const reader = new ByteReader(payload, "MAC keys");
  const keys = readMacKeys(reader);
  reader.end();
  return keys;
};

const readMacKeys = (reader: ByteReader): MacKeys => {
  const count = reader.u16("number of MAC keys");
  const macKeys = new Map<number, Uint8Array>();
  for (let index = 0; index < count; index += 1) {
    macKeys.set(reader.u16("MAC key id"), reader.bytes(SECRET_BYTES, "MAC key").slice());
  }
  return { macKeys, writingKeyId: reader.u16("writing MAC key id") };
};

/** The settings come back as parsed JSON: `enclave-worker/config.ts` checks their members. */
export const decodeConfigure = (payload: Uint8Array): { settings: unknown; secrets: DevelopmentSecrets } => {
  const reader = new ByteReader(payload, "configure");
  const settings = parseJson(reader.sizedText("settings"), "configure settings");
  const secrets = {
    sealingKey: reader.bytes(SECRET_BYTES, "sealing key").slice(),
    macKeys: readMacKeys(reader),
    storePassword: reader.sizedBytes("store password").slice(),
  };
  reader.end();
  return { settings, secrets };
};

/** A keystore (JSON in UTF-8) and its password (UTF-8). */
export const encodeOpenKeystore = (keystore: Uint8Array, password: Uint8Array): Uint8Array =>
  new ByteWriter().sizedBytes(keystore).sizedBytes(password).finish();

/** @throws SignerError `protocol_violation`, or `bad_request` when either is too long */
export const decodeOpenKeystore = (payload: Uint8Array): { keystore: Uint8Array; password: Uint8Array } => {
  const reader = new ByteReader(payload, "open keystore");
  const keystore = reader.sizedBytes("keystore").slice();
  const password = reader.sizedBytes("password").slice();
  reader.end();
  if (keystore.length > KEYSTORE_BYTES_MAX || password.length > PASSWORD_BYTES_MAX) {
    throw new SignerError(
      "bad_request",
      `keystore: expected at most ${KEYSTORE_BYTES_MAX} bytes, password at most ${PASSWORD_BYTES_MAX}`,
    );
  }
  return { keystore, password };
};

/** One {@link SealedKey}. */
export const encodeSealedKey = (key: SealedKey): Uint8Array => encodeSealedKeys([key]);

/** @throws SignerError `protocol_violation` */
export const decodeSealedKey = (payload: Uint8Array): SealedKey => {
  const [key, ...more] = decodeSealedKeys(payload);
  if (key === undefined || more.length > 0) {
    throw new SignerError("protocol_violation", "sealed key: expected exactly one");
  }
  return key;
};

/** A page of at most {@link PAGE_ENTRIES_MAX} sealed keys. */
export const encodeSealedKeys = (keys: readonly SealedKey[]): Uint8Array => {
  const writer = new ByteWriter().u32(keys.length);
  for (const key of keys)
    writer
      .bytes(key.pubkey)
      .sizedBytes(key.sealed)
      .u8(key.registered ? 1 : 0);
  return writer.finish();
};

/** @throws SignerError `protocol_violation` */
export const decodeSealedKeys = (payload: Uint8Array): SealedKey[] => {
  const reader = new ByteReader(payload, "sealed keys");
  const keys = Array.from({ length: readPageCount(reader) }, () => ({
    pubkey: reader.bytes(PUBKEY_BYTES, "pubkey").slice(),
    sealed: reader.sizedBytes("sealed").slice(),
    registered: reader.flag("registered"),
  }));
  reader.end();
  return keys;
};

/** A page of at most {@link PAGE_ENTRIES_MAX} public keys. */
export const encodePubkeys = (pubkeys: readonly Uint8Array[]): Uint8Array => {
  const writer = new ByteWriter().u32(pubkeys.length);
  for (const pubkey of pubkeys) writer.bytes(pubkey);
  return writer.finish();
};

/** @throws SignerError `protocol_violation` */
export const decodePubkeys = (payload: Uint8Array): Uint8Array[] => {
  const reader = new ByteReader(payload, "public keys");
  const pubkeys = Array.from({ length: readPageCount(reader) }, () => reader.bytes(PUBKEY_BYTES, "pubkey").slice());
  reader.end();
  return pubkeys;
};

/** How many keys of a page were loaded, and why the others were not. */
export const encodeLoadReport = (
  loaded: number,
  failures: readonly { pubkey: Uint8Array; reason: string }[],
): Uint8Array => {
  const writer = new ByteWriter().u32(loaded).u32(failures.length);
  for (const failure of failures) writer.bytes(failure.pubkey).sizedText(failure.reason);
  return writer.finish();
};

/** @throws SignerError `protocol_violation` */
export const decodeLoadReport = (payload: Uint8Array): LoadReport => {
  const reader = new ByteReader(payload, "load report");
  const loaded = reader.u32("loaded");
  const failures = Array.from({ length: readPageCount(reader) }, () => ({
    pubkeyHex: toHex(reader.bytes(PUBKEY_BYTES, "pubkey")),
    reason: reader.sizedText("reason"),
  }));
  reader.end();
  return { loaded, failures };
};

/** An {@link EnclaveStatus} as JSON. */
export const encodeStatus = (status: EnclaveStatus): Uint8Array => Buffer.from(JSON.stringify(status));

/** Reads an enclave's status; total: an enclave is not trusted to send what this build expects. */
export const decodeStatus = (payload: Uint8Array): EnclaveStatus => {
  const value = parseJson(Buffer.from(payload).toString("utf8"), "status") as Partial<EnclaveStatus>;
  const counters = value.counters as Record<string, unknown> | undefined;
  const valid =
    ENCLAVE_PHASES.includes(value.phase as EnclavePhase) &&
    Number.isSafeInteger(value.keys) &&
    Number.isSafeInteger(value.inFlight) &&
    Number.isSafeInteger(value.commandSequence) &&
    typeof value.storeInitialised === "boolean" &&
    typeof value.reachesStore === "boolean" &&
    ["string", "undefined"].includes(typeof value.storeProblem) &&
    (value.signer === undefined || SIGNER_KINDS.includes(value.signer)) &&
    ["string", "undefined"].includes(typeof value.genesisValidatorsRootHex) &&
    ENCLAVE_COUNTERS.every((name) => Number.isSafeInteger(counters?.[name]));
  if (!valid) throw new SignerError("protocol_violation", "status: unexpected members");
  return value as EnclaveStatus;
};

/** An {@link OperatorReport} as JSON. */
export const encodeOperatorReport = (report: OperatorReport): Uint8Array => Buffer.from(JSON.stringify(report));

/** Total. @throws SignerError `protocol_violation` */
export const decodeOperatorReport = (payload: Uint8Array): OperatorReport => {
  const value = parseJson(Buffer.from(payload).toString("utf8"), "operator report") as Partial<OperatorReport>;
  const { failures } = value;
  const valid =
    [value.written, value.unchanged, value.blank, value.failed].every(Number.isSafeInteger) &&
    Array.isArray(failures) &&
    failures.length <= OPERATOR_FAILURES_MAX &&
    failures.every((each) => typeof each?.pubkeyHex === "string" && typeof each?.reason === "string");
  if (!valid) throw new SignerError("protocol_violation", "operator report: unexpected members");
  return value as OperatorReport;
};

const readPageCount = (reader: ByteReader): number => {
  const count = reader.u32("count");
  if (count > PAGE_ENTRIES_MAX) {
    throw new SignerError("protocol_violation", `page: expected at most ${PAGE_ENTRIES_MAX} entries, got ${count}`);
  }
  return count;
};

const parseJson = (text: string, what: string): object => {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === "object" && value !== null) return value;
  } catch {
    // answered below
  }
  throw new SignerError("protocol_violation", `${what}: expected a JSON object`);
};
