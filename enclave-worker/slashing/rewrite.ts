/** Rewrites many records under compare-and-set: read, verify, transform, write, a bounded number of times each. */

import { bytesEqual, toHex } from "#protocol/bytes.ts";
import { PAGE_ENTRIES_MAX } from "#protocol/limits.ts";
import type { RecordCodec } from "#protocol/slashing/record.ts";
import type { SlashingState } from "#protocol/slashing/rules.ts";
import type { SlashingStore } from "#protocol/slashing/store.ts";

/** What became of the validators. */
export interface RewriteReport {
  /** Records that were written. */
  readonly written: number;
  /** Records that said it all before, and are durable now. */
  readonly unchanged: number;
  readonly failures: readonly { readonly pubkeyHex: string; readonly reason: string }[];
}

/** What to rewrite, and how. */
export interface RewriteOptions {
  readonly pubkeys: readonly Uint8Array[];
  /** The new state, or why this validator cannot have one; undefined where the store holds no record. */
  readonly transform: (
    pubkey: Uint8Array,
    state: SlashingState | undefined,
  ) => SlashingState | { readonly refused: string };
  /** A record that cannot be verified counts as absent and is overwritten: under `recover` alone. */
  readonly overwriteUnverifiable: boolean;
}

/** Lost races in a row that are believable; each means that an enclave signed meanwhile. */
const ATTEMPTS_MAX = 8;
/** Records under way at a time. */
const PAGE = Math.min(PAGE_ENTRIES_MAX, 1024);

/** Rewrites; one validator's failure does not stop the others. @throws SignerError `unavailable` when the store is gone */
export const rewriteRecords = async (
  options: RewriteOptions,
  modules: { readonly store: SlashingStore; readonly codec: RecordCodec },
): Promise<RewriteReport> => {
  const failures: { pubkeyHex: string; reason: string }[] = [];
  let written = 0;
  let unchanged = 0;
  for (let start = 0; start < options.pubkeys.length; start += PAGE) {
    const page = options.pubkeys.slice(start, start + PAGE);
    const records = await modules.store.getMany(page);
    const outcomes = await Promise.all(page.map((pubkey, index) => rewrite(pubkey, records[index], options, modules)));
    for (const [index, outcome] of outcomes.entries()) {
      if (outcome === "written") written += 1;
      else if (outcome === "unchanged") unchanged += 1;
      else failures.push({ pubkeyHex: toHex(page[index] as Uint8Array), reason: outcome.refused });
    }
  }
  return { written, unchanged, failures };
};

const rewrite = async (
  pubkey: Uint8Array,
  first: Uint8Array | undefined,
  { transform, overwriteUnverifiable }: RewriteOptions,
  { store, codec }: { store: SlashingStore; codec: RecordCodec },
): Promise<"written" | "unchanged" | { readonly refused: string }> => {
  let actual = first;
  for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt += 1) {
    const decoded = actual && codec.decode(pubkey, actual);
    if (decoded?.kind === "unverifiable" && !overwriteUnverifiable) return { refused: decoded.reason };
    const next = transform(pubkey, decoded?.kind === "record" ? decoded.state : undefined);
    if ("refused" in next) return next;
    const bytes = codec.encode(pubkey, next);
    // A record that was only read may not be durable yet: writing it onto itself waits until it is.
    const result = await store.compareAndSet(pubkey, actual, bytes);
    if (result.kind === "stored") return actual !== undefined && bytesEqual(actual, bytes) ? "unchanged" : "written";
    if (result.kind === "unknown") return { refused: `the store did not answer: ${result.detail}` };
    actual = result.actual;
  }
  return { refused: "the record keeps changing, try again" };
};
