/**
 * The port of the slashing protection store: one linearizable register per validator. The store knows no rules and
 * cannot read what it keeps; the rules are in `rules.ts`, the bytes in `record.ts`, the way between them in
 * `enclave-worker/slashing/guard.ts`.
 */

/**
 * What `compareAndSet` answers.
 * - `stored`: the write is durable at the store's configured level.
 * - `conflict`: nothing was written; `actual` is what the store holds (undefined: nothing).
 * - `unknown`: the store may or may not have written. Never release a signature on it.
 */
export type CompareAndSetResult =
  | { readonly kind: "stored" }
  | { readonly kind: "conflict"; readonly actual: Uint8Array | undefined }
  | { readonly kind: "unknown"; readonly detail: string };

/** Whether the store keeps what it acknowledges, as far as can be asked of it. */
export type Durability = { readonly ok: true } | { readonly ok: false; readonly reason: string };

/** One register's key and bytes. */
export interface StoreEntry {
  /** Public key, 48 bytes. */
  readonly key: Uint8Array;
  /** The register's bytes, opaque to the store; at most {@link STORE_VALUE_BYTES_MAX}. */
  readonly value: Uint8Array;
}

/** Longest value of a register or of the marker in bytes. */
export const STORE_VALUE_BYTES_MAX = 512;

/** Linearizable registers. Every method has its own deadline inside the adapter; reads fail with `unavailable`. */
export interface SlashingStore {
  /** Values of the keys, in order; undefined where the store holds nothing. */
  getMany(keys: readonly Uint8Array[]): Promise<(Uint8Array | undefined)[]>;
  /**
   * Writes `next` when the register holds exactly `expected` (undefined: holds nothing). Never throws: an unreachable
   * store is `unknown`. `next` may equal `expected`: `stored` then says that the value is durable.
   */
  compareAndSet(key: Uint8Array, expected: Uint8Array | undefined, next: Uint8Array): Promise<CompareAndSetResult>;
  /** All registers, in no order, each at least once; a register written during the scan appears in either state. */
  scan(): AsyncIterable<StoreEntry>;
  /** The store's marker (`marker.ts`); undefined when the store was never initialised, or was lost. */
  marker(): Promise<Uint8Array | undefined>;
  /** As {@link compareAndSet}, on the marker. */
  compareAndSetMarker(expected: Uint8Array | undefined, next: Uint8Array): Promise<CompareAndSetResult>;
  /** Whether the store is as durable now as it is configured to be. Never throws. */
  durability(): Promise<Durability>;
  /** Ends every connection, timer and listener of this store. Operations in flight answer `unknown`. */
  close(): Promise<void>;
}
