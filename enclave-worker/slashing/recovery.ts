/**
 * Recovery: a record that nothing signed before can contradict. Whatever was lost was signed under the clock bound, so
 * it had no epoch above the bound's last; a record raised to that epoch can neither be doubled nor surround what was lost,
 * and duties resume by themselves once the chain has justified the epoch.
 */

import { EMPTY_STATE, merge, type SlashingState } from "#protocol/slashing/rules.ts";

/** Up to where records are raised. */
export interface RecoveryBound {
  /** The last epoch that the clock bound may have let through anywhere by the time of recovery. */
  readonly epoch: number;
  readonly slotsPerEpoch: number;
}

/**
 * How far the clocks of two parents may differ. A recovery raises to what the bound lets through by the fastest of
 * them: what was lost may have been signed there. A clock kept by NTP is off by milliseconds; one that is off by more
 * than a slot (12 s) makes validators miss their duties, so ten seconds is a clock that nobody has noticed yet.
 */
export const CLOCK_SKEW_MS_MAX = 10_000;

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
