/**
 * The slashing store as this enclave accepts it: durable, marked, of the right chain. Holds the guard once the chain is
 * known. A custom network without a genesis validators root pins the first one it sees, in the store, for all enclaves.
 */

import { setTimeout as sleep } from "node:timers/promises";
import { bytesEqual, toHex } from "#protocol/bytes.ts";
import { SignerError } from "#protocol/errors.ts";
import {
  DEVELOPMENT_CONFIG_VERSION,
  DEVELOPMENT_MAC_KEY_ID,
  encodeMarker,
  type Marker,
  verifyMarker,
} from "#protocol/slashing/marker.ts";
import { createRecordCodec } from "#protocol/slashing/record.ts";
import { createGuard, type Guard, type GuardedKey, type GuardModules } from "./guard.ts";

/** What the protection is bound to. */
export interface ProtectionOptions {
  readonly slotsPerEpoch: number;
  /** 16 bytes. */
  readonly storeId: Uint8Array;
  /** 32 bytes; undefined: pin the first that a request carries. */
  readonly genesisValidatorsRoot: Uint8Array | undefined;
  /** Key of id 1, 32 bytes. */
  readonly macKey: Uint8Array;
  /** The marker may be created: only on the first start of a data folder. */
  readonly initialise: boolean;
}

/** Slashing protection of one enclave. */
export interface Protection {
  /**
   * Verifies durability and marker, then reads the records of `keys` and registers new ones. Repeat it when keys were
   * added. A suspect store does not fail it: slashable duties are refused then, and the rest is signed.
   * @throws SignerError `unavailable` when the store cannot be asked
   */
  activate(keys: readonly GuardedKey[]): Promise<void>;
  /** Whether a request for this chain is for us; pins the chain where none is known yet. */
  isOwnChain(genesisValidatorsRoot: Uint8Array): Promise<boolean>;
  /** The guard of the own chain. @throws SignerError `store_suspect` */
  guard(): Guard;
  forget(pubkey: Uint8Array): void;
  /** Why slashable duties are refused (suspect) or fail (not reachable, not durable); undefined when all is well. */
  readonly problem: string | undefined;
  /** Asks the store in the background whether it is durable still; `problem` tells at the next look. */
  refreshHealth(): void;
  readonly genesisValidatorsRoot: Uint8Array | undefined;
  /** The store's marker exists and was verified. */
  readonly initialised: boolean;
}

/** What the protection needs of the world. */
export type ProtectionModules = Omit<GuardModules, "codec"> & {
  /** Wall clock in ms since 1970. */
  readonly wallClock: () => number;
};

/** Time for the store's first connection and its checks. */
const DURABLE_WITHIN_MS = 5_000;
const DURABLE_POLL_MS = 50;

/** Makes the protection; nothing is read before `activate`. */
export const createProtection = (options: ProtectionOptions, modules: ProtectionModules): Protection => {
  const { store } = modules;
  const macKeys = {
    macKeys: new Map([[DEVELOPMENT_MAC_KEY_ID, options.macKey]]),
    writingKeyId: DEVELOPMENT_MAC_KEY_ID,
  };
  const expected = { ...options, configVersion: DEVELOPMENT_CONFIG_VERSION };
  const keys = new Map<string, GuardedKey>();
  let chain: { readonly root: Uint8Array; readonly guard: Guard } | undefined;
  let pinning: Promise<void> | undefined;
  /** The store was verified to be empty, may be initialised, and nobody said for which chain. */
  let mayPin = false;
  /** Why the store's marker was refused. */
  let refused: string | undefined;
  /** Why the store does not answer as it should, at the last look. */
  let unhealthy: string | undefined;
  let looking = false;

  const refuse = (reason: string): undefined => {
    if (refused === undefined) modules.onSuspect(reason);
    refused = reason;
    return undefined;
  };

  const verify = (bytes: Uint8Array): Marker | undefined => {
    const verified = verifyMarker(bytes, expected, macKeys);
    return verified.kind === "ok" ? verified.marker : refuse(verified.reason);
  };

  const createMarker = async (genesisValidatorsRoot: Uint8Array): Promise<Marker | undefined> => {
    const createdUnixSeconds = Math.floor(modules.wallClock() / 1000);
    const marker = { storeId: options.storeId, genesisValidatorsRoot, configVersionMin: 0, createdUnixSeconds };
    const result = await store.compareAndSetMarker(undefined, encodeMarker(marker, macKeys));
    if (result.kind === "stored") return marker;
    // Another enclave may have been first: what stands there decides.
    if (result.kind === "conflict" && result.actual !== undefined) return verify(result.actual);
    throw new SignerError("unavailable", "cannot initialise the slashing store, try again");
  };

  /** The marker, written if it may be; undefined when it was refused, or when the chain is not known yet. */
  const findMarker = async (): Promise<Marker | undefined> => {
    const bytes = await store.marker();
    if (bytes !== undefined) return verify(bytes);
    if (!options.initialise) return refuse(LOST);
    mayPin = options.genesisValidatorsRoot === undefined;
    return options.genesisValidatorsRoot && createMarker(options.genesisValidatorsRoot);
  };

  /** Settles on a chain. The records of all keys are read before the guard is seen by requests. */
  const adopt = async ({ genesisValidatorsRoot: root }: Marker): Promise<void> => {
    const codec = createRecordCodec({ ...macKeys, genesisValidatorsRoot: root, storeId: options.storeId });
    const guard = createGuard({ slotsPerEpoch: options.slotsPerEpoch }, { ...modules, codec });
    await guard.track([...keys.values()]);
    // A pinning and an activation may meet here: the first guard stays, requests wait in its lines.
    if (chain !== undefined) return chain.guard.track([...keys.values()]);
    chain = { root, guard };
    refused = undefined;
  };

  const pin = async (root: Uint8Array): Promise<void> => {
    const marker = await createMarker(root);
    if (marker !== undefined) await adopt(marker);
  };

  const waitUntilDurable = async (): Promise<void> => {
    const patienceMs = modules.now() + DURABLE_WITHIN_MS;
    for (;;) {
      const durability = await store.durability();
      if (durability.ok) return;
      if (modules.now() >= patienceMs) throw new SignerError("unavailable", `slashing store: ${durability.reason}`);
      await sleep(DURABLE_POLL_MS);
    }
  };

  const look = async (): Promise<void> => {
    const durability = await store.durability();
    unhealthy = durability.ok ? undefined : `slashing store: ${durability.reason}`;
    looking = false;
  };

  return {
    activate: async (wanted) => {
      for (const key of wanted) keys.set(toHex(key.pubkey), key);
      await waitUntilDurable();
      if (chain !== undefined) return chain.guard.track(wanted);
      const marker = await findMarker();
      if (marker !== undefined) await adopt(marker);
    },
    isOwnChain: async (root) => {
      if (chain === undefined && mayPin) {
        pinning ??= pin(root).finally(() => (pinning = undefined));
        await pinning;
      }
      const own = chain?.root ?? options.genesisValidatorsRoot;
      if (own === undefined) throw new SignerError("unavailable", refused ?? "the chain is not known yet, ask again");
      return bytesEqual(own, root);
    },
    guard: () => {
      if (chain !== undefined) return chain.guard;
      throw new SignerError("store_suspect", refused ?? "the slashing store was not verified yet");
    },
    forget: (pubkey) => {
      keys.delete(toHex(pubkey));
      chain?.guard.forget(pubkey);
    },
    get problem() {
      return refused ?? chain?.guard.problem ?? unhealthy;
    },
    refreshHealth: () => {
      if (looking) return;
      looking = true;
      void look();
    },
    get genesisValidatorsRoot() {
      return chain?.root ?? options.genesisValidatorsRoot;
    },
    get initialised() {
      return chain !== undefined;
    },
  };
};

/** The marker of a store that had one is gone. */
const LOST =
  "marker: the slashing store is empty, but this data folder has used it before: its data was lost. Restore it, or " +
  "see docs/slashing-protection.md on a suspect store";
