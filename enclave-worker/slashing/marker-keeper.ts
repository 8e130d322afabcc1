/**
 * The store's marker as one enclave keeps it: verified at start, looked at again and again, changed by compare-and-set.
 * It carries what all enclaves of all parents must know: that the store is suspect, and how far operator commands came.
 */

import { SignerError } from "#protocol/errors.ts";
import type { MacKeys } from "#protocol/slashing/mac.ts";
import {
  decodeMarker,
  type ExpectedMarker,
  encodeMarker,
  type Marker,
  newMarker,
  verifyMarker,
} from "#protocol/slashing/marker.ts";
import type { SlashingStore } from "#protocol/slashing/store.ts";

/** What the store holds where its marker should be. */
export type FoundMarker =
  | { readonly kind: "ok"; readonly marker: Marker; readonly macKeyId: number; readonly bytes: Uint8Array }
  | { readonly kind: "absent" }
  | {
      readonly kind: "refused";
      readonly reason: string;
      readonly bytes: Uint8Array;
      /** It verifies, but is of another store or chain, or asks for a later configuration: never to be replaced. */
      readonly genuine: boolean;
    };

/** Reads and changes the marker. */
export interface MarkerKeeper {
  /** @throws SignerError `unavailable` */
  find(): Promise<FoundMarker>;
  /** Writes the first marker, or finds the one that another enclave wrote meanwhile. @throws SignerError `unavailable` */
  create(genesisValidatorsRoot: Uint8Array): Promise<FoundMarker>;
  /** Replaces what was found; false when something else stands there by now. @throws SignerError `unknown_outcome` */
  replace(found: FoundMarker, next: Marker): Promise<boolean>;
  /** Marks the store as suspect, unless it is already. Best effort: called again at every look. */
  raiseSuspicion(): Promise<void>;
}

/** What a keeper goes by. */
export interface MarkerKeeperOptions {
  readonly expected: ExpectedMarker;
  /** The keys in force now. */
  readonly macKeys: () => MacKeys;
  /** Told the key of each marker that verifies, before anything is written in its place. */
  readonly onMacKey?: (macKeyId: number) => void;
}

/** Makes the keeper. `wallClock` is in ms since 1970. */
export const createMarkerKeeper = (
  { expected, macKeys, onMacKey }: MarkerKeeperOptions,
  { store, wallClock }: { readonly store: SlashingStore; readonly wallClock: () => number },
): MarkerKeeper => {
  const judge = (bytes: Uint8Array | undefined): FoundMarker => {
    if (bytes === undefined) return { kind: "absent" };
    const verified = verifyMarker(bytes, expected, macKeys());
    if (verified.kind === "ok") {
      onMacKey?.(verified.macKeyId);
      return { ...verified, bytes };
    }
    return { ...verified, bytes, genuine: decodeMarker(bytes, macKeys()).kind === "marker" };
  };

  const find = async (): Promise<FoundMarker> => judge(await store.marker());

  const replace: MarkerKeeper["replace"] = async (found, next) => {
    const before = found.kind === "absent" ? undefined : found.bytes;
    const result = await store.compareAndSetMarker(before, encodeMarker(next, macKeys()));
    if (result.kind === "unknown") {
      throw new SignerError("unknown_outcome", `the slashing store did not answer: ${result.detail}`);
    }
    return result.kind === "stored";
  };

  return {
    find,
    create: async (genesisValidatorsRoot) => {
      const marker = newMarker(expected.storeId, { genesisValidatorsRoot, nowMs: wallClock() });
      const bytes = encodeMarker(marker, macKeys());
      const result = await store.compareAndSetMarker(undefined, bytes);
      if (result.kind === "stored") return { kind: "ok", marker, macKeyId: macKeys().writingKeyId, bytes };
      // Another enclave may have been first: what stands there decides.
      if (result.kind === "conflict" && result.actual !== undefined) return judge(result.actual);
      throw new SignerError("unavailable", "cannot initialise the slashing store, try again");
    },
    replace,
    raiseSuspicion: async () => {
      const found = await find();
      if (found.kind !== "ok" || found.marker.suspectSinceUnixSeconds > 0) return;
      await replace(found, { ...found.marker, suspectSinceUnixSeconds: Math.max(1, Math.floor(wallClock() / 1000)) });
    },
  };
};
