/**
 * The duties of one mainnet slot, in the proportions that follow from the consensus specs (mainnet preset; phase0 and
 * altair "validator").
 *
 * The keys are the attesters of the slot. A validator attests once in an epoch, so they belong to a fleet of 32 times
 * as many validators, out of the million that mainnet has. For 2,000 keys, a fleet of 64,000:
 *
 * | duty                                 | per slot                                                      | of the fleet |
 * |--------------------------------------|---------------------------------------------------------------|-------|
 * | ATTESTATION                          | every validator once in SLOTS_PER_EPOCH (32) slots            | 2,000 |
 * | AGGREGATION_SLOT (selection proof)   | one for every attestation                                     | 2,000 |
 * | AGGREGATE_AND_PROOF_V2               | 16 aggregators (TARGET_AGGREGATORS_PER_COMMITTEE) in each of 64 committees, of 1,000,000 / 32 attesters: 3.3 % | 65.5 |
 * | SYNC_COMMITTEE_MESSAGE               | 512 members (SYNC_COMMITTEE_SIZE) of 1,000,000                | 32.8  |
 * | SYNC_COMMITTEE_SELECTION_PROOF       | one for every member                                          | 32.8  |
 * | SYNC_COMMITTEE_CONTRIBUTION_AND_PROOF | 16 aggregators in each of 4 subcommittees                     | 4.1   |
 * | BLOCK_V2, RANDAO_REVEAL              | 1 of 1,000,000                                                | 0.064 each |
 *
 * Fractions are carried over to the next slots, from a carry that gives the first slot a block. A real slot has its
 * duties at 0, 4 and 8 seconds; here they follow each other in that order. Registrations with builders, one a validator
 * and epoch that clients may keep, are left out.
 */

import {
  aggregateAndProof,
  aggregationSlot,
  attestation,
  block,
  contributionAndProof,
  type Message,
  randaoReveal,
  syncCommitteeMessage,
  syncCommitteeSelectionProof,
} from "./messages.ts";

/** Active validators on mainnet, rounded. */
export const MAINNET_VALIDATORS = 1_000_000;
const SLOTS_PER_EPOCH = 32;
const COMMITTEES_PER_SLOT = 64;
const AGGREGATORS_PER_COMMITTEE = 16;
const SYNC_COMMITTEE_SIZE = 512;
const SYNC_SUBCOMMITTEES = 4;
const AGGREGATORS_PER_SYNC_SUBCOMMITTEE = 16;

/** Requests of each duty. */
export interface MixCounts {
  readonly blocks: number;
  readonly selectionProofs: number;
  readonly attestations: number;
  readonly aggregates: number;
  readonly syncMessages: number;
  readonly contributions: number;
}

/** Requests of a slot in which so many of the fleet's validators attest; fractions, as an average has them. */
export const mixOf = ({ attesters }: { attesters: number }): MixCounts => {
  const shareOfChain = (attesters * SLOTS_PER_EPOCH) / MAINNET_VALIDATORS;
  const aggregators = COMMITTEES_PER_SLOT * AGGREGATORS_PER_COMMITTEE;
  return {
    blocks: shareOfChain,
    selectionProofs: attesters,
    attestations: attesters,
    aggregates: Math.min(attesters, aggregators * shareOfChain),
    syncMessages: SYNC_COMMITTEE_SIZE * shareOfChain,
    contributions: SYNC_SUBCOMMITTEES * AGGREGATORS_PER_SYNC_SUBCOMMITTEE * shareOfChain,
  };
};

/** Whole requests of the `number`-th slot (from 0): what has come together by its end, less what was sent before. */
export const wholeCounts = (mix: MixCounts, number: number): MixCounts => {
  const whole = (average: number): number => Math.ceil(average * (number + 1)) - Math.ceil(average * number);
  return {
    blocks: whole(mix.blocks),
    selectionProofs: whole(mix.selectionProofs),
    attestations: whole(mix.attestations),
    aggregates: whole(mix.aggregates),
    syncMessages: whole(mix.syncMessages),
    contributions: whole(mix.contributions),
  };
};

/** All requests of the `number`-th slot, in the order of their times. */
export function* slotMix(
  slot: number,
  { attesters, number }: { attesters: number; number: number },
): Generator<{ key: number; message: Message }> {
  const counts = wholeCounts(mixOf({ attesters }), number);
  /** Sends to keys in turn, beginning at another one in each slot. */
  function* each(count: number, make: (index: number) => Message): Generator<{ key: number; message: Message }> {
    for (let index = 0; index < count; index += 1) yield { key: (index + number) % attesters, message: make(index) };
  }
  const same = (message: Message) => (): Message => message;

  yield* each(counts.blocks, same(randaoReveal(slot)));
  yield* each(counts.blocks, (index) => block(slot, index));
  yield* each(counts.selectionProofs, same(aggregationSlot(slot)));
  const proofs = Array.from({ length: SYNC_SUBCOMMITTEES }, (_, index) => syncCommitteeSelectionProof(slot, index));
  yield* each(counts.syncMessages, (index) => proofs[index % SYNC_SUBCOMMITTEES] as Message);
  yield* each(counts.attestations, same(attestation(slot)));
  yield* each(counts.syncMessages, same(syncCommitteeMessage(slot)));
  yield* each(counts.aggregates, (index) => aggregateAndProof(slot, index));
  yield* each(counts.contributions, (index) => contributionAndProof(slot, index));
}
