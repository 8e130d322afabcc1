/** The settings of an enclave, checked: they come from the parent, which is not trusted to send sense. */

import { fromHex } from "#protocol/bytes.ts";
import { SignerError } from "#protocol/errors.ts";
import { REDIS_ADDRESSES_MAX } from "#protocol/limits.ts";
import {
  REDIS_TOPOLOGIES,
  type RedisAddress,
  type RedisRoute,
  type RedisTls,
  type RedisTopology,
  type StoreSettings,
} from "#protocol/messages/control.ts";
import type { ParentChoices } from "#protocol/messages/sealed.ts";
import { SIGNER_CHOICES, type SignerChoice } from "#protocol/messages/signer.ts";
import type { Configuration } from "#protocol/sealed/configuration.ts";
import { type Network, networkFromJson } from "#protocol/signing/network.ts";
import type { SigningType } from "#protocol/signing/types.ts";
import { STORE_ID_BYTES } from "#protocol/slashing/record.ts";
import { OPERATOR_KEY_BYTES } from "./operator/authority.ts";
import { DURABILITY_SYNTAX, parseDurability, redisSettingsProblem } from "./slashing/redis-settings.ts";
import { KEY_PREFIX } from "./slashing/redis-store.ts";

/** Checked settings. */
export interface EnclaveConfig {
  readonly cid: number;
  readonly network: Network;
  /** 16 bytes. */
  readonly storeId: Uint8Array;
  readonly store: StoreSettings;
  readonly initialiseStore: boolean;
  /** Ed25519 public key of the operator, 32 bytes. */
  readonly operatorKey: Uint8Array;
  /** 0..1000; undefined: no bound. */
  readonly clockBoundEpochs: number | undefined;
  /** 1..64. */
  readonly threads: number;
  readonly signer: SignerChoice;
  /** Of the sealed configuration; undefined: development. */
  readonly sealed?: Configuration;
  /** Types that may be signed; undefined: all. */
  readonly signingTypes?: ReadonlySet<SigningType>;
}

/** {@link ParentChoices}, checked. */
export type AttestedChoices = ParentChoices;

/** Largest clock bound in epochs: more would be no bound (1000 epochs of mainnet are 4.4 days). */
const CLOCK_BOUND_EPOCHS_MAX = 1000;
const THREADS_MAX = 64;

/** @throws SignerError `bad_request` that names the member */
export const parseEnclaveConfig = (settings: unknown): EnclaveConfig => {
  const members = membersOf(settings);
  const { storeIdHex, initialiseStore, operatorKeyHex } = members;
  if (typeof operatorKeyHex !== "string") throw wrong("operatorKeyHex", "hex");
  if (typeof initialiseStore !== "boolean") throw wrong("initialiseStore", "true or false");
  if (typeof storeIdHex !== "string") throw wrong("storeIdHex", "hex");
  return {
    cid: integer(members.cid, { name: "cid", min: 0, max: 0xffff_ffff }),
    network: networkFromJson(members.network),
    storeId: fromHex(storeIdHex, STORE_ID_BYTES, "storeIdHex"),
    store: parseStore(members.store),
    initialiseStore,
    operatorKey: fromHex(operatorKeyHex, OPERATOR_KEY_BYTES, "operatorKeyHex"),
    clockBoundEpochs:
      members.clockBoundEpochs === undefined
        ? undefined
        : integer(members.clockBoundEpochs, { name: "clockBoundEpochs", min: 0, max: CLOCK_BOUND_EPOCHS_MAX }),
    threads: integer(members.threads, { name: "threads", min: 1, max: THREADS_MAX }),
    signer: parseSigner(members.signer),
  };
};

/** @throws SignerError `bad_request` that names the member */
export const parseAttestedChoices = (json: unknown): AttestedChoices => {
  const { cid, threads, signer, initialiseStore, kmsEndpoint, kmsCa } = membersOf(json);
  if (typeof initialiseStore !== "boolean") throw wrong("initialiseStore", "true or false");
  if (kmsEndpoint !== undefined && typeof kmsEndpoint !== "string") throw wrong("kmsEndpoint", "https://host[:port]");
  if (kmsCa !== undefined && typeof kmsCa !== "string") throw wrong("kmsCa", "certificates in PEM");
  return {
    cid: integer(cid, { name: "cid", min: 0, max: 0xffff_ffff }),
    threads: integer(threads, { name: "threads", min: 1, max: THREADS_MAX }),
    signer: parseSigner(signer),
    initialiseStore,
    ...(kmsEndpoint !== undefined && { kmsEndpoint }),
    ...(kmsCa !== undefined && { kmsCa }),
  };
};

/**
 * The settings under a sealed configuration: what matters is the authority's, the rest the parent's choice.
 * @throws SignerError `bad_request` when the store's settings do not belong together
 */
export const attestedConfig = (sealed: Configuration, choices: AttestedChoices): EnclaveConfig => ({
  cid: choices.cid,
  network: sealed.network,
  storeId: sealed.storeId,
  store: parseStore(sealed.store),
  initialiseStore: choices.initialiseStore,
  operatorKey: sealed.authority,
  clockBoundEpochs: sealed.clockBoundEpochs,
  threads: choices.threads,
  signer: choices.signer,
  sealed,
  signingTypes: new Set(sealed.signingTypes),
});

const parseSigner = (value: unknown): SignerChoice => {
  if (SIGNER_CHOICES.includes(value as SignerChoice)) return value as SignerChoice;
  throw wrong("signer", SIGNER_CHOICES.join(", "));
};

const parseStore = (value: unknown): StoreSettings => {
  const store = membersOf(value);
  if (store.kind === "sqlite") return { kind: "sqlite" };
  if (store.kind !== "redis") throw wrong("store.kind", "sqlite or redis");
  const { username, keyPrefix } = store;
  if (username !== undefined && typeof username !== "string") throw wrong("store.username", "text");
  if (typeof keyPrefix !== "string" || !KEY_PREFIX.test(keyPrefix)) throw wrong("store.keyPrefix", KEY_PREFIX.source);
  const database = integer(store.database, { name: "store.database", min: 0, max: 1023 });
  const durability = store.durability === undefined ? undefined : parseDurability(store.durability);
  if (store.durability !== undefined && durability === undefined) throw wrong("store.durability", DURABILITY_SYNTAX);
  const route = store.route === undefined ? undefined : parseRoute(store.route);
  const tls = store.tls === undefined ? undefined : parseTls(store.tls);
  if (route === undefined) {
    if (durability !== undefined || tls !== undefined) throw wrong("store.route", "one, with a level or TLS");
  } else {
    const problem = redisSettingsProblem({ route, durability: durability ?? "aof-always", database, tls });
    if (problem !== undefined) throw new SignerError("bad_request", `enclave settings: store: ${problem}`);
  }
  return {
    kind: "redis",
    database,
    keyPrefix,
    ...(username !== undefined && { username }),
    ...(route !== undefined && { route }),
    ...(durability !== undefined && { durability }),
    ...(tls !== undefined && { tls }),
  };
};

/** Types only; `redisSettingsProblem` knows what belongs together. */
const parseRoute = (value: unknown): RedisRoute => {
  const { topology, addresses, seeds, masterName } = membersOf(value);
  if (!REDIS_TOPOLOGIES.includes(topology as RedisTopology))
    throw wrong("store.route.topology", "single, sentinel or cluster");
  if (!Array.isArray(addresses)) throw wrong("store.route.addresses", "a list");
  if (masterName !== undefined && typeof masterName !== "string") throw wrong("store.route.masterName", "text");
  return {
    topology: topology as RedisTopology,
    addresses: addresses.map(parseAddress),
    seeds: integer(seeds, { name: "store.route.seeds", min: 1, max: REDIS_ADDRESSES_MAX }),
    ...(masterName !== undefined && { masterName }),
  };
};

const parseAddress = (value: unknown): RedisAddress => {
  const { host, port } = membersOf(value);
  if (typeof host !== "string") throw wrong("store.route.addresses.host", "text");
  return { host, port: integer(port, { name: "store.route.addresses.port", min: 1, max: 65_535 }) };
};

const parseTls = (value: unknown): RedisTls => {
  const { ca } = membersOf(value);
  if (ca !== undefined && typeof ca !== "string") throw wrong("store.tls.ca", "text");
  return ca === undefined ? {} : { ca };
};

const membersOf = (value: unknown): Record<string, unknown> =>
  (typeof value === "object" && value !== null ? value : {}) as Record<string, unknown>;

const integer = (value: unknown, { name, min, max }: { name: string; min: number; max: number }): number => {
  if (Number.isSafeInteger(value) && (value as number) >= min && (value as number) <= max) return value as number;
  throw wrong(name, `${min}..${max}`);
};

const wrong = (name: string, expected: string): SignerError =>
  new SignerError("bad_request", `enclave settings: ${name}: expected ${expected}`);
