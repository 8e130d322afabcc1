/**
 * The control port: how the pool-manager configures an enclave, gives it keys and watches it. Key material crosses
 * this port only in binary fields, sealed or under its password; the one exception, development secrets, is marked.
 */

import { ByteReader, ByteWriter, PUBKEY_BYTES, toHex } from "../bytes.ts";
import { SignerError } from "../errors.ts";
import { KEYSTORE_BYTES_MAX, PAGE_ENTRIES_MAX, PASSWORD_BYTES_MAX } from "../limits.ts";

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
    };

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
  /** Epochs after the present that may be signed, where genesis time is known; undefined: no bound. */
  readonly clockBoundEpochs?: number;
  /** Signing threads. */
  readonly threads: number;
}

/** Secrets of the development mode. On Nitro they come sealed and are opened by attestation instead. */
export interface DevelopmentSecrets {
  /** AES-256 key under which key material rests in the data folder; 32 bytes. */
  readonly sealingKey: Uint8Array;
  /** MAC key of slashing records, id 1; 32 bytes. */
  readonly macKey: Uint8Array;
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
  /** The pinned genesis validators root; undefined until a custom network shows it. */
  readonly genesisValidatorsRootHex?: string;
  /** Whether the store's marker exists and was verified. */
  readonly storeInitialised: boolean;
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
    .bytes(secrets.macKey)
    .sizedBytes(secrets.storePassword)
    .finish();

/** The settings come back as parsed JSON: `enclave-worker/config.ts` checks their members. */
export const decodeConfigure = (payload: Uint8Array): { settings: unknown; secrets: DevelopmentSecrets } => {
  const reader = new ByteReader(payload, "configure");
  const settings = parseJson(reader.sizedText("settings"), "configure settings");
  const secrets = {
    sealingKey: reader.bytes(SECRET_BYTES, "sealing key").slice(),
    macKey: reader.bytes(SECRET_BYTES, "MAC key").slice(),
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
    typeof value.storeInitialised === "boolean" &&
    ["string", "undefined"].includes(typeof value.storeProblem) &&
    ["string", "undefined"].includes(typeof value.genesisValidatorsRootHex) &&
    ENCLAVE_COUNTERS.every((name) => Number.isSafeInteger(counters?.[name]));
  if (!valid) throw new SignerError("protocol_violation", "status: unexpected members");
  return value as EnclaveStatus;
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
