/**
 * What the generator asks for, request after request. A workload goes through rounds: in each, every key has its turn,
 * and epochs and slots rise from round to round, so that slashing protection has no reason to refuse.
 */

import { aggregationSlot, attestation, attestationsOf, type Message, rootOf, SLOTS_PER_EPOCH } from "./messages.ts";
import { slotMix } from "./mix.ts";

/** One request to send. */
export interface Ask {
  /** Index of the key. */
  readonly key: number;
  readonly message: Message;
}

/** All requests of one round, in the order of their sending. */
export type Round = Iterable<Ask>;

/** Requests without end. */
export interface Workload {
  next(): Ask;
  /** Whether the next request begins a round: a window ends there. */
  readonly isBetweenRounds: boolean;
}

/** What can be asked for. */
export const WORKLOADS = ["slot-burst", "slot-mix", "distinct", "unprotected"] as const;
/** One of {@link WORKLOADS}. */
export type WorkloadName = (typeof WORKLOADS)[number];

/**
 * First epoch: April 2023 on mainnet. Numbers are as long as today's, every later round is below the signer's clock
 * bound, and there is room for 200,000 rounds.
 */
const FIRST_EPOCH = 200_000;

/** A workload for so many keys. */
export const createWorkload = (name: WorkloadName, { keys }: { keys: number }): Workload => {
  let number = 0;
  let round = ROUNDS[name]({ number, slot: slotOf(number), keys })[Symbol.iterator]();
  let following = round.next();
  return {
    next: () => {
      if (following.done) {
        number += 1;
        round = ROUNDS[name]({ number, slot: slotOf(number), keys })[Symbol.iterator]();
        following = round.next();
      }
      if (following.done) throw new Error(`${name}: an empty round`);
      const ask = following.value;
      following = round.next();
      return ask;
    },
    get isBetweenRounds() {
      return following.done === true;
    },
  };
};

/** The slot of a round: an epoch later each time, for a validator attests once in an epoch, and not always at its start. */
const slotOf = (round: number): number => (FIRST_EPOCH + round) * SLOTS_PER_EPOCH + (round % SLOTS_PER_EPOCH);

/** What a round is made of. */
interface RoundSettings {
  /** From 0. */
  readonly number: number;
  readonly slot: number;
  readonly keys: number;
}

/** Everybody the same. */
function* shared(message: Message, { keys }: RoundSettings): Round {
  for (let key = 0; key < keys; key += 1) yield { key, message };
}

/** Everybody something else. */
function* distinct({ slot, keys }: RoundSettings): Round {
  const voteFor = attestationsOf(slot);
  for (let key = 0; key < keys; key += 1) yield { key, message: voteFor(rootOf(slot, key)) };
}

const ROUNDS = {
  // Since Electra all attestations of a slot have one root (EIP-7549).
  "slot-burst": (round) => shared(attestation(round.slot), round),
  "slot-mix": ({ number, slot, keys }) => slotMix(slot, { attesters: keys, number }),
  distinct,
  // One root as in a burst, of a duty that no slashing rule knows: the store has nothing to do.
  unprotected: (round) => shared(aggregationSlot(round.slot), round),
} satisfies Record<WorkloadName, (round: RoundSettings) => Round>;
