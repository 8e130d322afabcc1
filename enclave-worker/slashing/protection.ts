/**
 * The slashing store as this enclave accepts it: durable, marked, of the right chain. Holds the guard once the chain is
 * known. A custom network without a genesis validators root pins the first one it sees, in the store, for all enclaves.
 */

import { setTimeout as sleep } from "node:timers/promises";
import { bytesEqual, toHex } from "#protocol/bytes.ts";
import { SignerError } from "#protocol/errors.ts";
import { decodeMarker, encodeMarker, type Marker } from "#protocol/slashing/marker.ts";
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
  /** Verifies durability and marker, then reads the records of `keys`. Repeat it when keys were added. */
  activate(keys: readonly GuardedKey[]): Promise<void>;
  /** The guard of the chain with this root; pins the chain when none is known. Undefined: it is another chain. */
  guardFor(genesisValidatorsRoot: Uint8Array): Promise<Guard | undefined>;
  forget(pubkey: Uint8Array): void;
  /** Why slashable duties are refused; undefined when they are not. */
  readonly problem: string | undefined;
  readonly genesisValidatorsRoot: Uint8Array | undefined;
  /** The store's marker exists and was verified. */
  readonly initialised: boolean;
}

/** What the protection needs of the world. */
export type ProtectionModules = Omit<GuardModules, "codec"> & {
  /** Wall clock in ms since 1970. */
  readonly wallClock: () => number;
};

/** Configuration version that development markers carry; sealed configurations bring their own. */
const CONFIG_VERSION = 1;
const MAC_KEY_ID = 1;
/** Time for the store's first connection and its checks. */
const DURABLE_WITHIN_MS = 5_000;
const DURABLE_POLL_MS = 50;

/** Makes the protection; nothing is read before `activate`. */
export const createProtection = (options: ProtectionOptions, modules: ProtectionModules): Protection => {
  const { store } = modules;
  const macKeys = { macKeys: new Map([[MAC_KEY_ID, options.macKey]]), writingKeyId: MAC_KEY_ID };
  let chain: { readonly root: Uint8Array; readonly guard: Guard } | undefined;
  let keys: readonly GuardedKey[] = [];
  let pinning: Promise<void> | undefined;
  let markerProblem: string | undefined;

  const refuseStore = (reason: string): never => {
    markerProblem = reason;
    modules.onSuspect(reason);
    throw new SignerError("store_suspect", reason);
  };

  const verifyMarker = (bytes: Uint8Array): Marker => {
    const decoded = decodeMarker(bytes, macKeys);
    if (decoded.kind === "unverifiable") {
      return refuseStore(
        `${decoded.reason}. The store belongs to another installation or was altered: use the data folder that it ` +
          "was initialised with, or another store",
      );
    }
    const { marker } = decoded;
    if (!bytesEqual(marker.storeId, options.storeId)) {
      return refuseStore(
        `marker: the store is ${toHex(marker.storeId)}, expected ${toHex(options.storeId)}: use the data folder that ` +
          "it was initialised with, or another store",
      );
    }
    const { genesisValidatorsRoot: expected } = options;
    if (expected !== undefined && !bytesEqual(marker.genesisValidatorsRoot, expected)) {
      return refuseStore(
        `marker: the store protects the chain ${toHex(marker.genesisValidatorsRoot)}, expected ${toHex(expected)}: ` +
          "one store serves one network",
      );
    }
    return marker;
  };

  const createMarker = async (genesisValidatorsRoot: Uint8Array): Promise<Marker> => {
    const createdUnixSeconds = Math.floor(modules.wallClock() / 1000);
    const marker = { storeId: options.storeId, genesisValidatorsRoot, configVersionMin: 0, createdUnixSeconds };
    const result = await store.compareAndSetMarker(undefined, encodeMarker(marker, macKeys));
    if (result.kind === "stored") return marker;
    // Another enclave may have been first: what stands there decides.
    if (result.kind === "conflict" && result.actual !== undefined) return verifyMarker(result.actual);
    throw new SignerError("unavailable", "cannot initialise the slashing store, try again");
  };

  /** Settles on a chain. The records of all keys are read before the guard is seen by requests. */
  const adopt = async (marker: Marker): Promise<void> => {
    if (marker.configVersionMin > CONFIG_VERSION) {
      return refuseStore(`marker: asks for configuration version ${marker.configVersionMin} or later`);
    }
    const root = marker.genesisValidatorsRoot;
    const codec = createRecordCodec({ ...macKeys, genesisValidatorsRoot: root, storeId: options.storeId });
    const guard = createGuard({ slotsPerEpoch: options.slotsPerEpoch }, { ...modules, codec });
    await guard.track(keys);
    chain = { root, guard };
  };

  const readMarker = async (): Promise<void> => {
    const bytes = await store.marker();
    if (bytes !== undefined) return adopt(verifyMarker(bytes));
    if (!options.initialise) {
      return refuseStore(
        "marker: the slashing store is empty, but this data folder has used it before: its data was lost. Restore " +
          "the store, or see docs/slashing-protection.md on a suspect store",
      );
    }
    if (options.genesisValidatorsRoot !== undefined) await adopt(await createMarker(options.genesisValidatorsRoot));
  };

  const pin = async (root: Uint8Array): Promise<void> => {
    await adopt(await createMarker(root));
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

  return {
    activate: async (wanted) => {
      keys = wanted;
      await waitUntilDurable();
      if (chain === undefined) await readMarker();
      else await chain.guard.track(keys);
    },
    guardFor: async (root) => {
      if (chain === undefined) {
        if (markerProblem !== undefined) throw new SignerError("store_suspect", markerProblem);
        pinning ??= pin(root).finally(() => (pinning = undefined));
        await pinning;
      }
      return chain !== undefined && bytesEqual(chain.root, root) ? chain.guard : undefined;
    },
    forget: (pubkey) => {
      keys = keys.filter((key) => !bytesEqual(key.pubkey, pubkey));
      chain?.guard.forget(pubkey);
    },
    get problem() {
      return markerProblem ?? chain?.guard.problem;
    },
    get genesisValidatorsRoot() {
      return chain?.root;
    },
    get initialised() {
      return chain !== undefined;
    },
  };
};
