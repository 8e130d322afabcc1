/** An enclave from its settings on: the modules that the control and data ports work with. */

import { createHash, randomBytes } from "node:crypto";
import type { Socket } from "node:net";
import { PublicKey, Signature, verify } from "@chainsafe/blst";
import { SignerError } from "#protocol/errors.ts";
import { CONNECT_TIMEOUT_MS, PORT_EGRESS_REDIS, PORT_EGRESS_STORE } from "#protocol/limits.ts";
import type { Logger } from "#protocol/log.ts";
import type { DevelopmentSecrets, EnclaveCounter, RedisRoute } from "#protocol/messages/control.ts";
import type { SignerKind } from "#protocol/messages/signer.ts";
import { assertPreset } from "#protocol/signing/preset.ts";
import type { SlashingStore } from "#protocol/slashing/store.ts";
import type { EnclaveConfig } from "./config.ts";
import { openSigner } from "./engine/backend.ts";
import { createEngine, type Engine } from "./engine/engine.ts";
import { createKeySet, type KeySet } from "./keys/key-set.ts";
import { createKeystoreOpener, type KeystoreOpener } from "./keys/keystore.ts";
import { createAuthority } from "./operator/authority.ts";
import { createOperator, type Operator } from "./operator/operator.ts";
import { lastEpochToSign } from "./policy.ts";
import { createPipeline, type Pipeline } from "./sign.ts";
import { createConfigurationFloor } from "./slashing/configuration-floor.ts";
import type { GuardedKey } from "./slashing/guard.ts";
import { createProtection, type Protection } from "./slashing/protection.ts";
import { connectOptionsOf } from "./slashing/redis-channel.ts";
import { formatAddress } from "./slashing/redis-dial.ts";
import { createRedisStore } from "./slashing/redis-store.ts";
import { createRemoteStore } from "./slashing/remote-store.ts";

/** A configured enclave. */
export interface Enclave {
  readonly signer: SignerKind;
  readonly keys: KeySet;
  readonly opener: KeystoreOpener;
  readonly protection: Protection;
  readonly pipeline: Pipeline;
  readonly operator: Operator;
  /** Key under which secrets rest in the data folder; undefined in attested mode. */
  readonly sealingKey: Uint8Array | undefined;
  /** Verifies the store and takes in the records of these keys. @throws SignerError `unavailable | bad_request` */
  activate(keys: readonly GuardedKey[]): Promise<void>;
  /** Signs with a loaded key and verifies; nothing leaves. @throws SignerError `internal` */
  selfTest(): Promise<void>;
  close(): Promise<void>;
}

/** What an enclave is told in confidence: in development by its parent, in attested mode by KMS. */
export type EnclaveSecrets = Omit<DevelopmentSecrets, "sealingKey"> & Partial<Pick<DevelopmentSecrets, "sealingKey">>;

/** What an enclave needs of the world. */
export interface EnclaveModules {
  /** Opens a stream to a port of the parent. */
  readonly connectParent: (port: number, options: { timeoutMs: number }) => Promise<Socket>;
  readonly logger: Logger;
  readonly count: (counter: EnclaveCounter) => void;
  /** Whether a key may sign (`sign.ts`). */
  readonly isOpen: (pubkey: Uint8Array) => boolean;
  /** Monotonic milliseconds. */
  readonly now: () => number;
  /** Milliseconds since 1970. */
  readonly wallClock: () => number;
  /** 0 ≤ random() < 1, for the pauses between calls. */
  readonly random: () => number;
}

/** Keystores opened at the same time: scrypt takes 256 MiB each, and the pool-manager spreads them over enclaves. */
const KEYSTORE_THREADS = 1;

/** Pause between two looks at the slashing store and its marker. */
const LOOK_MS = 1_000;

/** Builds everything; throws before any thread is started when this process runs with another preset. */
export const createEnclave = (config: EnclaveConfig, secrets: EnclaveSecrets, modules: EnclaveModules): Enclave => {
  assertPreset(config.network);
  const backend = openSigner(config.signer, modules);
  const keys = createKeySet(backend.arena);
  const engine = createEngine({ threads: config.threads, backend }, { now: modules.now });
  const opener = createKeystoreOpener({ threads: KEYSTORE_THREADS });
  const store = openStore(config, secrets, modules);
  const protection = createProtection(
    {
      slotsPerEpoch: config.network.slotsPerEpoch,
      storeId: config.storeId,
      genesisValidatorsRoot: config.network.genesisValidatorsRoot,
      macKeys: secrets.macKeys,
      initialise: config.initialiseStore,
      ...(config.sealed !== undefined && { configVersion: config.sealed.version }),
    },
    {
      store,
      now: modules.now,
      wallClock: modules.wallClock,
      count: guardCounter(config, modules),
      onSuspect: (reason) => modules.logger.error("slashing store suspect, slashable duties are refused", { reason }),
    },
  );
  const { clockBoundEpochs, network, signingTypes, sealed } = config;
  const { isOpen, now, wallClock } = modules;
  const rules = { network, clockBoundEpochs, signingTypes };
  const signUnder = createPipeline({ keys, engine, protection, ...rules, isOpen, now, wallClock });
  const floor =
    sealed &&
    createConfigurationFloor(sealed, { keeper: () => protection.workshop().marker, macKeys: secrets.macKeys });
  let isActivated = false;
  const pipeline: Pipeline = async (command) => {
    floor?.requireHeld();
    return signUnder(command);
  };
  const operator = createOperator(
    { storeId: config.storeId, slotsPerEpoch: network.slotsPerEpoch },
    {
      protection,
      store,
      authority: createAuthority(config.operatorKey),
      wallClock,
      lastSignableEpoch: (aheadMs) =>
        lastEpochToSign({ clockBoundEpochs, network, wallClock: () => wallClock() + aheadMs }),
    },
  );
  // Its own clock, not the parent's polling: a parent that does not ask must not keep a suspicion from this enclave.
  const looking = setInterval(() => {
    protection.refreshHealth();
    if (isActivated) floor?.look();
  }, LOOK_MS);
  return {
    signer: backend.kind,
    keys,
    opener,
    protection,
    pipeline,
    operator,
    sealingKey: secrets.sealingKey,
    activate: async (added) => {
      await protection.activate(added);
      await floor?.hold();
      isActivated = true;
    },
    selfTest: () => selfTest(keys, engine),
    close: async () => {
      clearInterval(looking);
      await Promise.allSettled([engine.close(), opener.close(), store.close()]);
      backend.arena.eraseAll();
    },
  };
};

/** The guard counts a round trip for each compare-and-set. A Redis store counts its own: many share a pipeline. */
const guardCounter =
  ({ store }: EnclaveConfig, { count }: EnclaveModules): EnclaveModules["count"] =>
  (counter) => {
    if (store.kind !== "redis" || counter !== "storeRoundTrips") count(counter);
  };

/** The parent's end of a store's connection is a relay to one address of the operator's list, and nothing else. */
const openStore = (
  { store }: EnclaveConfig,
  { storePassword }: EnclaveSecrets,
  { connectParent, count }: EnclaveModules,
): SlashingStore => {
  const connect = (port: number) => connectParent(port, { timeoutMs: CONNECT_TIMEOUT_MS });
  if (store.kind === "sqlite") return createRemoteStore({ connect: () => connect(PORT_EGRESS_STORE) });
  const { route = ONE_SERVER } = store;
  const names = route.addresses.map(formatAddress);
  return createRedisStore({
    connect: {
      ...connectOptionsOf(route),
      connector: async (address) => {
        const index = names.indexOf(formatAddress(address));
        if (index >= 0) return connect(PORT_EGRESS_REDIS + index);
        throw new Error(`${formatAddress(address)} may not be reached`);
      },
      tls: store.tls,
      db: store.database,
      username: store.username,
      ...(storePassword.length > 0 && { password: Buffer.from(storePassword).toString("utf8") }),
    },
    keyPrefix: store.keyPrefix,
    durability: store.durability ?? "aof-always",
    onRoundTrip: () => count("storeRoundTrips"),
  });
};

/** What stands for the server when the settings do not name it. */
const ONE_SERVER: RedisRoute = { topology: "single", addresses: [{ host: "127.0.0.1", port: 6379 }], seeds: 1 };

const selfTest = async (keys: KeySet, engine: Engine): Promise<void> => {
  const pubkey = keys.pubkeys().at(0);
  const key = pubkey && keys.hold(pubkey);
  if (pubkey === undefined || key === undefined) return;
  try {
    const root = createHash("sha256").update("testudo self-test").update(randomBytes(32)).digest();
    const signature = await engine.sign({ slot: key.slot, root, dutyClass: "block" });
    if (verify(root, PublicKey.fromBytes(pubkey), Signature.fromBytes(signature))) return;
    throw new SignerError("internal", "self-test: the signature does not verify");
  } finally {
    key.release();
  }
};
