/**
 * Moves watermarks into a store. Importing only ever raises (`merge`), so it is safe to repeat after any
 * failure; a record that cannot be verified is never overwritten.
 *
 * An import raises numbers and nothing else: a signing root counts only where our own record has it already. What was
 * signed elsewhere cannot be known from a file, and the official vectors want such a repeat refused by a minimal
 * database (`should_succeed: false`; disputed in eth-clients/slashing-protection-interchange-tests issues 19 and 20).
 */

import { fromHex, PUBKEY_BYTES } from "../bytes.ts";
import { toSignerError } from "../errors.ts";
import { createFailures, type Failures } from "./interchange.ts";
import type { RecordCodec } from "./record.ts";
import { EMPTY_STATE, merge, type SlashingState } from "./rules.ts";
import type { SlashingStore } from "./store.ts";

/** Validators that are read and written at a time: well within the stores' bounds on operations in flight. */
export const PAGE_VALIDATORS = 1024;
/** Tries per validator. Each lost try means that another enclave signed or imported meanwhile: 8 in a row do not happen. */
const ATTEMPTS_MAX = 8;

/** The record of a registered validator is absent. An older one in its place would allow what was signed after it. */
const LOST =
  "it was protected here before, but its record was lost from the store: restore the store, " +
  "see docs/slashing-protection.md on a suspect store";

/** The modules that imports and exports (`export.ts`) work with. */
export interface ImportModules {
  readonly store: SlashingStore;
  readonly codec: RecordCodec;
}

/** What became of an import. */
export interface ImportReport {
  /** Histories whose validator's record is now durable and at least as high. */
  readonly imported: number;
  readonly failures: Failures;
}

/**
 * Raises the records of these validators (public key as `0x` hex → state) to at least the given states, page by page: two
 * pages are in memory. A validator that comes in several pages is merged, and counted, in each.
 *
 * `mayCreate` is asked whether a validator without a record gets one, which registers it: false for registered keys,
 * because their absent record is data loss, not a new validator, and nobody knows how far above the import it stood.
 */
export const mergeIntoStore = async (
  modules: ImportModules,
  states: AsyncIterable<readonly [string, SlashingState]> | Iterable<readonly [string, SlashingState]>,
  { mayCreate }: { mayCreate: (pubkeyHex: string) => boolean },
): Promise<ImportReport> => {
  let imported = 0;
  const collected = createFailures();
  const mergeAndCount = async (page: Page): Promise<void> => {
    for (const { pubkey, problem } of await mergePage(modules, page, mayCreate)) {
      if (problem === undefined) imported += 1;
      else collected.add({ pubkey, reason: problem });
    }
  };
  // The next page is read while this one is written. It never rejects.
  let merging = Promise.resolve();
  try {
    for await (const page of pagesOf(states)) {
      await merging;
      merging = mergeAndCount(page);
    }
  } finally {
    await merging;
  }
  return { imported, failures: collected.failures };
};

type Page = readonly (readonly [string, SlashingState])[];

/** Up to {@link PAGE_VALIDATORS} different validators at a time, several histories of one folded together. */
async function* pagesOf(
  states: AsyncIterable<readonly [string, SlashingState]> | Iterable<readonly [string, SlashingState]>,
): AsyncGenerator<Page> {
  const page = new Map<string, SlashingState>();
  for await (const [pubkey, state] of states) {
    const earlier = page.get(pubkey);
    page.set(pubkey, earlier === undefined ? state : merge(earlier, state));
    if (page.size < PAGE_VALIDATORS) continue;
    yield [...page];
    page.clear();
  }
  if (page.size > 0) yield [...page];
}

interface Outcome {
  readonly pubkey: string;
  /** Undefined: done. */
  readonly problem: string | undefined;
}

const mergePage = async (
  modules: ImportModules,
  page: Page,
  mayCreate: (pubkeyHex: string) => boolean,
): Promise<Outcome[]> => {
  try {
    const keys = page.map(([pubkey]) => fromHex(pubkey, PUBKEY_BYTES, "pubkey"));
    const records = await modules.store.getMany(keys);
    return await Promise.all(
      page.map(async ([pubkey, state], index) => {
        const key = keys[index] as Uint8Array;
        const one = { key, state, current: records[index], mayCreate: () => mayCreate(pubkey) };
        const problem = await mergeOne(modules, one).catch((error: unknown) => toSignerError(error).message);
        return { pubkey, problem };
      }),
    );
  } catch (error) {
    const { message } = toSignerError(error);
    return page.map(([pubkey]) => ({ pubkey, problem: message }));
  }
};

/** Reads, merges, compares and sets, until the store accepts; answers what stood in the way. */
const mergeOne = async (
  { store, codec }: ImportModules,
  {
    key,
    state,
    current,
    mayCreate,
  }: { key: Uint8Array; state: SlashingState; current: Uint8Array | undefined; mayCreate: () => boolean },
): Promise<string | undefined> => {
  let expected = current;
  for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt += 1) {
    let base = EMPTY_STATE;
    if (expected !== undefined) {
      const decoded = codec.decode(key, expected);
      if (decoded.kind === "unverifiable") return `the stored record cannot be verified: ${decoded.reason}`;
      base = decoded.state;
    } else if (!mayCreate()) return LOST;
    // Written even when nothing changes: `stored` then says that the record is durable.
    const result = await store.compareAndSet(key, expected, codec.encode(key, raise(base, state)));
    if (result.kind === "stored") return undefined;
    if (result.kind === "unknown") return `the store did not say whether it wrote (import again): ${result.detail}`;
    expected = result.actual;
  }
  return `the record changed ${ATTEMPTS_MAX} times during the import: import again`;
};

/** The merge of our own state with an imported one, without roots that only the import claims. */
const raise = (own: SlashingState, imported: SlashingState): SlashingState => {
  const { block, attestation, control } = merge(own, imported);
  const ownBlock = block !== undefined && block.slot === own.block?.slot;
  const ownTarget = attestation !== undefined && attestation.targetEpoch === own.attestation?.targetEpoch;
  return {
    ...(block && { block: ownBlock ? block : { slot: block.slot } }),
    ...(attestation && {
      attestation: ownTarget
        ? attestation
        : { sourceEpoch: attestation.sourceEpoch, targetEpoch: attestation.targetEpoch },
    }),
    control,
  };
};
