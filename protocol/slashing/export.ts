/**
 * Reads watermarks out of a store, one record after the other: no more than a page is in memory.
 *
 * A signature is released only after its record is durable in the store, and an export reads the store: so it holds
 * every signature that was released before it began. What is signed while it runs, or later, it may or may not hold;
 * only a *disabled* validator signs nothing later. It reads, and changes nothing.
 */

import { PUBKEY_BYTES, toHex } from "../bytes.ts";
import { SignerError } from "../errors.ts";
import { type ImportModules, PAGE_VALIDATORS } from "./import.ts";
import type { SlashingState } from "./rules.ts";
import type { SlashingStore, StoreEntry } from "./store.ts";

/** A validator's state as the store holds it, or why that cannot be said. `pubkey` is `0x` hex. */
export type ExportedRecord =
  | { readonly ok: true; readonly pubkey: string; readonly state: SlashingState }
  | { readonly ok: false; readonly pubkey: string; readonly reason: string };

/**
 * The records of all validators in the store, or of `pubkeys`, in the store's own order. Each at least once: a store may
 * repeat one while it is written to, which does not harm an interchange file.
 * @throws SignerError `unavailable` when the store cannot be read
 */
export async function* exportFromStore(
  { store, codec }: ImportModules,
  { pubkeys }: { pubkeys?: readonly Uint8Array[] | undefined } = {},
): AsyncGenerator<ExportedRecord> {
  for await (const { key, value } of pubkeys === undefined ? store.scan() : entriesOf(store, pubkeys)) {
    const pubkey = toHex(key);
    if (value === undefined) {
      yield { ok: false, pubkey, reason: "the store has no record of it" };
      continue;
    }
    const decoded = codec.decode(key, value);
    if (decoded.kind === "record") yield { ok: true, pubkey, state: decoded.state };
    else yield { ok: false, pubkey, reason: decoded.reason };
  }
}

/** How many records a store holds, for progress: it reads them all. */
export const countRecords = async (store: SlashingStore): Promise<number> => {
  let count = 0;
  for await (const _entry of store.scan()) count += 1;
  return count;
};

async function* entriesOf(
  store: SlashingStore,
  pubkeys: readonly Uint8Array[],
): AsyncGenerator<Pick<StoreEntry, "key"> & { readonly value: Uint8Array | undefined }> {
  for (let start = 0; start < pubkeys.length; start += PAGE_VALIDATORS) {
    const keys = pubkeys.slice(start, start + PAGE_VALIDATORS);
    const values = await store.getMany(keys);
    for (const [index, key] of keys.entries()) {
      if (key.length !== PUBKEY_BYTES) throw new SignerError("internal", `pubkey: expected ${PUBKEY_BYTES} bytes`);
      yield { key, value: values[index] };
    }
  }
}
