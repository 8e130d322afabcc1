/**
 * What this enclave signs at all, before slashing protection looks at a request: only for its own chain, and nothing
 * too far in the future, so that one bad request cannot poison a validator for ever. A sealed configuration also says which
 * types of message there are to sign.
 */

import { toHex } from "#protocol/bytes.ts";
import type { SignOutcome } from "#protocol/messages/sign.ts";
import type { Duty } from "#protocol/signing/duty.ts";
import type { Network } from "#protocol/signing/network.ts";
import type { SigningType } from "#protocol/signing/types.ts";
import { lastSignableEpoch } from "./slashing/recovery.ts";

/** A refusal. */
export type Denied = Extract<SignOutcome, { kind: "denied" }>;

/** What the clock bound needs. */
export interface ClockBoundOptions {
  /** Epochs after the present that may still be signed; undefined: no bound. */
  readonly clockBoundEpochs: number | undefined;
  readonly network: Network;
  /** Wall clock in ms since 1970. An enclave has no trusted clock: the parent can move this bound, not remove it. */
  readonly wallClock: () => number;
}

/** The refusal of a request that names another chain than the one this enclave signs for. */
export const anotherChain = (named: Uint8Array, own: Uint8Array | undefined): Denied => ({
  kind: "denied",
  rule: "genesis_validators_root_mismatch",
  detail: `genesis_validators_root: expected ${own === undefined ? "another" : toHex(own)}, got ${toHex(named)}`,
});

/** Refuses a type that the sealed configuration does not name; undefined: it does, or there is none. */
export const checkType = (type: SigningType, allowed: ReadonlySet<SigningType> | undefined): Denied | undefined =>
  allowed === undefined || allowed.has(type)
    ? undefined
    : {
        kind: "denied",
        rule: "type_not_allowed",
        detail: `type: the configuration allows ${[...allowed].join(", ")}, got ${type}`,
      };

/** Refuses a block or attestation later than now + the bound; undefined: within it, or the genesis time is unknown. */
export const checkClockBound = (duty: Duty, options: ClockBoundOptions): Denied | undefined => {
  const last = lastEpochToSign(options);
  if (duty.kind === "other" || last === undefined) return undefined;
  const slotEpoch = Math.floor(duty.slot / options.network.slotsPerEpoch);
  const epoch = duty.kind === "block" ? slotEpoch : Math.max(slotEpoch, duty.targetEpoch);
  if (epoch <= last) return undefined;
  return {
    kind: "denied",
    rule: "beyond_clock_bound",
    detail: `epoch ${epoch} is later than ${last}, the last that may be signed now`,
  };
};

/** The last epoch that may be signed now; undefined where the genesis time is not known or there is no bound. */
export const lastEpochToSign = (options: ClockBoundOptions): number | undefined => {
  const { clockBoundEpochs, network } = options;
  if (clockBoundEpochs === undefined || network.genesisTimeSeconds === undefined) return undefined;
  return lastSignableEpoch(currentEpoch(network.genesisTimeSeconds, options), clockBoundEpochs);
};

const currentEpoch = (genesisTimeSeconds: number, { network, wallClock }: ClockBoundOptions): number => {
  const seconds = Math.max(0, wallClock() / 1000 - genesisTimeSeconds);
  return Math.floor(seconds / (network.secondsPerSlot * network.slotsPerEpoch));
};
