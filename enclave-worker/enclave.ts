/** An enclave from its settings on: the modules that the control and data ports work with. */

import { createHash, randomBytes } from "node:crypto";
import type { Socket } from "node:net";
import { PublicKey, Signature, verify } from "@chainsafe/blst";
import { SignerError } from "#protocol/errors.ts";
import { CONNECT_TIMEOUT_MS, PORT_EGRESS_REDIS, PORT_EGRESS_STORE } from "#protocol/limits.ts";
import type { Logger } from "#protocol/log.ts";
import type { DevelopmentSecrets, EnclaveCounter } from "#protocol/messages/control.ts";
import { assertPreset } from "#protocol/signing/preset.ts";
import type { SlashingStore } from "#protocol/slashing/store.ts";
import type { EnclaveConfig } from "./config.ts";
import { createEngine, type Engine } from "./engine/engine.ts";
import { createArena } from "./keys/arena.ts";
import { createKeySet, type KeySet } from "./keys/key-set.ts";
import { createKeystoreOpener, type KeystoreOpener } from "./keys/keystore.ts";
import { createPipeline, type Pipeline } from "./sign.ts";
import { createProtection, type Protection } from "./slashing/protection.ts";
import { createRedisStore } from "./slashing/redis-store.ts";
import { createRemoteStore } from "./slashing/remote-store.ts";

/** A configured enclave. */
export interface Enclave {
  readonly keys: KeySet;
  readonly opener: KeystoreOpener;
  readonly protection: Protection;
  readonly pipeline: Pipeline;
  /** Key under which secrets rest in the data folder. */
  readonly sealingKey: Uint8Array;
  /** Signs with a loaded key and verifies; nothing leaves. @throws SignerError `internal` */
  selfTest(): Promise<void>;
  close(): Promise<void>;
}

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
}

/** Keystores opened at the same time: scrypt takes 256 MiB each, and the pool-manager spreads them over enclaves. */
const KEYSTORE_THREADS = 1;

/** Builds everything; throws before any thread is started when this process runs with another preset. */
export const createEnclave = (config: EnclaveConfig, secrets: DevelopmentSecrets, modules: EnclaveModules): Enclave => {
  assertPreset(config.network);
  const arena = createArena();
  const keys = createKeySet(arena);
  const engine = createEngine({ threads: config.threads, arena: arena.memory }, { now: modules.now });
  const opener = createKeystoreOpener({ threads: KEYSTORE_THREADS });
  const store = openStore(config, secrets, modules);
  const protection = createProtection(
    {
      slotsPerEpoch: config.network.slotsPerEpoch,
      storeId: config.storeId,
      genesisValidatorsRoot: config.network.genesisValidatorsRoot,
      macKey: secrets.macKey,
      initialise: config.initialiseStore,
    },
    {
      store,
      now: modules.now,
      wallClock: modules.wallClock,
      count: modules.count,
      onSuspect: (reason) => modules.logger.error("slashing store suspect, slashable duties are refused", { reason }),
    },
  );
  const { clockBoundEpochs, network } = config;
  const { isOpen, now, wallClock } = modules;
  const pipeline = createPipeline({ keys, engine, protection, network, clockBoundEpochs, isOpen, now, wallClock });
  return {
    keys,
    opener,
    protection,
    pipeline,
    sealingKey: secrets.sealingKey,
    selfTest: () => selfTest(keys, engine),
    close: async () => {
      await Promise.allSettled([engine.close(), opener.close(), store.close()]);
      arena.eraseAll();
    },
  };
};

const openStore = (
  { store }: EnclaveConfig,
  { storePassword }: DevelopmentSecrets,
  { connectParent }: EnclaveModules,
): SlashingStore => {
  const connect = (port: number) => () => connectParent(port, { timeoutMs: CONNECT_TIMEOUT_MS });
  if (store.kind === "sqlite") return createRemoteStore({ connect: connect(PORT_EGRESS_STORE) });
  return createRedisStore({
    connect: {
      connector: connect(PORT_EGRESS_REDIS),
      db: store.database,
      username: store.username,
      ...(storePassword.length > 0 && { password: Buffer.from(storePassword).toString("utf8") }),
    },
    keyPrefix: store.keyPrefix,
    durability: "aof-always",
  });
};

const selfTest = async (keys: KeySet, engine: Engine): Promise<void> => {
  const pubkey = keys.pubkeys().at(0);
  const key = pubkey && keys.hold(pubkey);
  if (pubkey === undefined || key === undefined) return;
  try {
    const root = createHash("sha256").update("testudo self-test").update(randomBytes(32)).digest();
    const signature = await engine.sign({ slot: key.slot, root });
    if (verify(root, PublicKey.fromBytes(pubkey), Signature.fromBytes(signature))) return;
    throw new SignerError("internal", "self-test: the signature does not verify");
  } finally {
    key.release();
  }
};
