/**
 * The configuration of a fleet: a strict JSON document that the operator's authority signed (Ed25519, RFC 8032). It says
 * what an enclave may sign, for which chain, under which slashing store, and which bundles it may open.
 *
 *   signed bytes = "testudo-configuration-v1" ‖ the document's exact bytes
 *
 * Nothing is canonicalised: what was signed is what is parsed. Every member is required, checked, and no other is
 * allowed; so two enclaves cannot read one document differently, and a misspelt restriction is not a missing one. The
 * document names its authority too, so that people see whose it is and a signature counts for one key alone.
 *
 * | member | |
 * |---|---|
 * | `format` | 1 |
 * | `authority` | Ed25519 public key, 32 bytes of 0x-hex |
 * | `version` | 1..2^32-1, higher with each document; the store's marker remembers the least that is still allowed |
 * | `group`, `storeId` | the fleet and its slashing store (16 bytes) |
 * | `generation`, `oldestGeneration` | of the bundles sealed now, and of the oldest that may still be opened |
 * | `network` | `networkToJson`, with its genesis validators root: a sealed fleet never pins the first root it sees |
 * | `store` | store settings (`store-settings.ts`) |
 * | `kmsKeyArn` | the one KMS key that may open the bundles |
 * | `signingTypes` | types of message that may be signed, each once |
 * | `clockBoundEpochs` | epochs after the present that may be signed, 0..1000, or "off" |
 * | `secretsDigest` | of the sealed secrets that belong to it, 32 bytes (`sealed-secrets.ts`) |
 */

import { createPublicKey, type KeyObject, sign, verify } from "node:crypto";
import { bytesEqual, ROOT_BYTES, toHex } from "../bytes.ts";
import { SignerError } from "../errors.ts";
import type { StoreSettings } from "../messages/control.ts";
import { readBytes, refuse } from "../signing/json.ts";
import { type Network, networkFromJson, networkToJson } from "../signing/network.ts";
import { SIGNING_TYPES, type SigningType } from "../signing/types.ts";
import { STORE_ID_BYTES } from "../slashing/record.ts";
import { AUTHORITY_BYTES, checkGroup, checkKmsKeyArn, U32_MAX } from "./header.ts";
import { CONFIGURATION_BYTES_MAX } from "./limits.ts";
import { SECRETS_DIGEST_BYTES } from "./sealed-secrets.ts";
import { readInteger, readMembers, storeSettingsFromJson } from "./store-settings.ts";
import { parseUniqueJson } from "./unique-json.ts";

/** Length of an Ed25519 signature in bytes (RFC 8032). */
export const CONFIGURATION_SIGNATURE_BYTES = 64;
/** Largest clock bound in epochs: more would be no bound (1000 epochs of mainnet are 4.4 days). */
const CLOCK_BOUND_EPOCHS_MAX = 1000;
const FORMAT = 1;
const DOMAIN = Buffer.from("testudo-configuration-v1");

/** A network with a known chain. */
export type SealedNetwork = Network & { readonly genesisValidatorsRoot: Uint8Array };

/** A configuration document, checked. */
export interface Configuration {
  /** 32 bytes. */
  readonly authority: Uint8Array;
  /** 1..2^32-1. */
  readonly version: number;
  readonly group: string;
  /** 16 bytes. */
  readonly storeId: Uint8Array;
  /** 1..2^32-1. */
  readonly generation: number;
  /** 1..generation. */
  readonly oldestGeneration: number;
  readonly network: SealedNetwork;
  /** A Redis store has a route and a durability level. */
  readonly store: StoreSettings;
  readonly kmsKeyArn: string;
  /** At least one, each once, in the order of `SIGNING_TYPES`. */
  readonly signingTypes: readonly SigningType[];
  /** 0..1000; undefined: no bound. */
  readonly clockBoundEpochs: number | undefined;
  /** 32 bytes. */
  readonly secretsDigest: Uint8Array;
}

const MEMBERS = [
  "format",
  "authority",
  "version",
  "group",
  "storeId",
  "generation",
  "oldestGeneration",
  "network",
  "store",
  "kmsKeyArn",
  "signingTypes",
  "clockBoundEpochs",
  "secretsDigest",
] as const;

/** The document's bytes, for people to read and for {@link signConfiguration}. @throws SignerError `bad_request` */
export const encodeConfiguration = (configuration: Configuration): Uint8Array => {
  const document = {
    format: FORMAT,
    authority: toHex(configuration.authority),
    version: configuration.version,
    group: configuration.group,
    storeId: toHex(configuration.storeId),
    generation: configuration.generation,
    oldestGeneration: configuration.oldestGeneration,
    network: networkToJson(configuration.network),
    store: configuration.store,
    kmsKeyArn: configuration.kmsKeyArn,
    signingTypes: configuration.signingTypes,
    clockBoundEpochs: configuration.clockBoundEpochs ?? "off",
    secretsDigest: toHex(configuration.secretsDigest),
  } satisfies Record<(typeof MEMBERS)[number], unknown>;
  const bytes = new Uint8Array(Buffer.from(`${JSON.stringify(document, null, 2)}\n`));
  parseConfiguration(bytes);
  return bytes;
};

/**
 * Reads a document. Total. It says nothing about who wrote it: enclaves use {@link verifyConfiguration}.
 * @throws SignerError `bad_request` naming the member and what was expected
 */
export const parseConfiguration = (bytes: Uint8Array): Configuration => {
  if (bytes.length > CONFIGURATION_BYTES_MAX) {
    throw wrong(`expected at most ${CONFIGURATION_BYTES_MAX} bytes, got ${bytes.length}`);
  }
  const members = readMembers(parseUniqueJson(bytes, { what: "configuration" }), "configuration", MEMBERS);
  const path = (name: (typeof MEMBERS)[number]): string => `configuration.${name}`;
  const u32 = (name: "version" | "generation" | "oldestGeneration", max = U32_MAX): number =>
    readInteger(members[name], path(name), { min: 1, max });
  const readHex = (name: "authority" | "storeId" | "secretsDigest", length: number): Uint8Array =>
    readBytes(members[name], path(name), length);
  if (members.format !== FORMAT) refuse(path("format"), `${FORMAT}; another Testudo made it`, members.format);
  const generation = u32("generation");
  const network = readNetwork(members.network);
  return {
    authority: readHex("authority", AUTHORITY_BYTES),
    version: u32("version"),
    group: checkGroup(readText(members.group, path("group")), path("group")),
    storeId: readHex("storeId", STORE_ID_BYTES),
    generation,
    oldestGeneration: u32("oldestGeneration", generation),
    network,
    store: storeSettingsFromJson(members.store, path("store")),
    kmsKeyArn: checkKmsKeyArn(readText(members.kmsKeyArn, path("kmsKeyArn")), path("kmsKeyArn")),
    signingTypes: readSigningTypes(members.signingTypes, path("signingTypes")),
    clockBoundEpochs: readClockBound(members.clockBoundEpochs, path("clockBoundEpochs"), network),
    secretsDigest: readHex("secretsDigest", SECRETS_DIGEST_BYTES),
  };
};

/**
 * Signs a document, {@link CONFIGURATION_SIGNATURE_BYTES} long.
 * @param privateKey Ed25519, of the authority that the document names
 * @throws SignerError `bad_request` when the document is not one or names another authority
 */
export const signConfiguration = (bytes: Uint8Array, privateKey: KeyObject): Uint8Array => {
  checkAuthority(parseConfiguration(bytes), publicKeyBytesOf(privateKey));
  return new Uint8Array(sign(null, Buffer.concat([DOMAIN, bytes]), privateKey));
};

/**
 * The configuration in `bytes`, if `authority` (32 bytes) signed exactly these. Total.
 * @throws SignerError `bad_request` that says what is wrong
 */
export const verifyConfiguration = (bytes: Uint8Array, signature: Uint8Array, authority: Uint8Array): Configuration => {
  // Nothing of an unsigned document is looked at but its length.
  if (bytes.length > CONFIGURATION_BYTES_MAX) {
    throw wrong(`expected at most ${CONFIGURATION_BYTES_MAX} bytes, got ${bytes.length}`);
  }
  if (signature.length !== CONFIGURATION_SIGNATURE_BYTES) {
    throw wrong(`signature: expected ${CONFIGURATION_SIGNATURE_BYTES} bytes, got ${signature.length}`);
  }
  const key = importPublicKey(authority);
  if (!verify(null, Buffer.concat([DOMAIN, bytes]), key, signature)) {
    throw wrong(`expected the signature of authority ${toHex(authority)} over these bytes: altered, or another's`);
  }
  const configuration = parseConfiguration(bytes);
  checkAuthority(configuration, authority);
  return configuration;
};

/**
 * Refuses a version below `minimum`: an old document, signed as it is, may allow what a newer one forbids.
 * @param minimum of the store's marker (`configVersionMin`) or of the document that is in force
 * @throws SignerError `bad_request`
 */
export const checkConfigurationVersion = ({ version }: Configuration, { minimum }: { minimum: number }): void => {
  if (version >= minimum) return;
  throw wrong(`version: expected ${minimum} or later, got ${version}: use the newest configuration`);
};

const readNetwork = (json: unknown): SealedNetwork => {
  const network = networkFromJson(json);
  const { genesisValidatorsRoot } = network;
  if (genesisValidatorsRoot !== undefined) return { ...network, genesisValidatorsRoot };
  return refuse("network.genesisValidatorsRoot", `${ROOT_BYTES} bytes of 0x-hex`, undefined);
};

const readSigningTypes = (json: unknown, path: string): SigningType[] => {
  if (!Array.isArray(json) || json.length === 0) return refuse(path, "an array of at least one type", json);
  const seen = new Set<unknown>();
  for (const [index, type] of json.entries()) {
    if (!SIGNING_TYPES.includes(type)) refuse(`${path}[${index}]`, `one of ${SIGNING_TYPES.join(", ")}`, type);
    if (seen.has(type)) refuse(`${path}[${index}]`, "each type once", type);
    seen.add(type);
  }
  return SIGNING_TYPES.filter((type) => seen.has(type));
};

/** A bound without a genesis time would bound nothing, and look as if it did. */
const readClockBound = (json: unknown, path: string, network: Network): number | undefined => {
  if (json === "off") return undefined;
  if (typeof json !== "number") return refuse(path, `"off" or a whole number 0..${CLOCK_BOUND_EPOCHS_MAX}`, json);
  const epochs = readInteger(json, path, { min: 0, max: CLOCK_BOUND_EPOCHS_MAX });
  return network.genesisTimeSeconds !== undefined
    ? epochs
    : refuse(path, `"off" where network.genesisTimeSeconds is not known`, json);
};

const readText = (json: unknown, path: string): string =>
  typeof json === "string" ? json : refuse(path, "text", json);

const checkAuthority = (configuration: Configuration, authority: Uint8Array): void => {
  if (bytesEqual(configuration.authority, authority)) return;
  throw wrong(`authority: expected ${toHex(authority)}, the document names ${toHex(configuration.authority)}`);
};

const publicKeyBytesOf = (privateKey: KeyObject): Uint8Array => {
  if (privateKey.asymmetricKeyType !== "ed25519") {
    throw wrong(`authority key: expected ed25519, got ${privateKey.asymmetricKeyType}`);
  }
  return Buffer.from(createPublicKey(privateKey).export({ format: "jwk" }).x as string, "base64url");
};

const importPublicKey = (authority: Uint8Array): KeyObject => {
  try {
    const x = Buffer.from(authority).toString("base64url");
    return createPublicKey({ format: "jwk", key: { kty: "OKP", crv: "Ed25519", x } });
  } catch (cause) {
    throw new SignerError("bad_request", `authority: expected ${AUTHORITY_BYTES} bytes of Ed25519`, { cause });
  }
};

const wrong = (problem: string): SignerError => new SignerError("bad_request", `configuration: ${problem}`);
