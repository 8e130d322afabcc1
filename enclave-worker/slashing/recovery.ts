/**
 * Recovery: a record that nothing signed before can contradict. Whatever was lost was signed under the clock bound, so
 * it had no epoch above the bound's last; a record raised to that epoch can neither be doubled nor surround what was lost,
 * and duties resume by themselves once the chain has justified the epoch.
 */

import { EMPTY_STATE, merge, type SlashingState } from "#protocol/slashing/rules.ts";

/** Up to where records are raised. */
export interface RecoveryBound {
  /** The last epoch that the clock bound lets through at the time of recovery. */
  readonly epoch: number;
  readonly slotsPerEpoch: number;
}

/** The last epoch that a clock bound lets through. */
export const lastSignableEpoch = (currentEpoch: number, clockBoundEpochs: number): number =>
  currentEpoch + clockBoundEpochs;

/** Merges all that is known of a validator and raises it to the bound; signing roots at the bound count as unknown. */
export const recoveredState = (
  states: readonly SlashingState[],
  { epoch, slotsPerEpoch }: RecoveryBound,
): SlashingState => {
  const known = states.reduce(merge, EMPTY_STATE);
  return merge(known, {
    block: { slot: (epoch + 1) * slotsPerEpoch - 1 },
    attestation: { sourceEpoch: epoch, targetEpoch: epoch },
    control: known.control,
  });
};
