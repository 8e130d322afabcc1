/** What validator clients ask for in the simulation, as small numbers; and its way to the enclave and back. */

import type { ClockBoundOptions } from "#enclave/policy.ts";
import type { Duty } from "#protocol/signing/duty.ts";
import type { Candidate } from "#protocol/slashing/rules.ts";
import type { SignedMessage } from "../helpers/slashing-oracle.ts";

/** A message of one validator. `variant` stands for everything else in it: its root follows from all three or four. */
export type SimulatedDuty =
  | { readonly kind: "block"; readonly slot: number; readonly variant: number }
  | { readonly kind: "attestation"; readonly source: number; readonly target: number; readonly variant: number };

/** One asking: which request of the plan, which attempt of its client, and for what. */
export interface Asking {
  readonly requestId: number;
  readonly attempt: number;
  readonly duty: SimulatedDuty;
}

/** Slots an epoch: few, so that blocks and epochs both move within a run. */
export const SLOTS_PER_EPOCH = 4;
const SECONDS_PER_SLOT = 2;
/** Length of an epoch in milliseconds. */
export const EPOCH_MS = SLOTS_PER_EPOCH * SECONDS_PER_SLOT * 1000;
/** Epochs after the present that may be signed. */
export const CLOCK_BOUND_EPOCHS = 1;

/** The chain of the simulation, whose genesis is at 0 ms, and how far ahead of it may be signed. */
export const CLOCK_BOUND = {
  clockBoundEpochs: CLOCK_BOUND_EPOCHS,
  network: {
    name: "simulation",
    preset: "minimal",
    genesisForkVersion: new Uint8Array(4),
    capellaForkVersion: new Uint8Array(4),
    preDenebForkVersions: [],
    slotsPerEpoch: SLOTS_PER_EPOCH,
    secondsPerSlot: SECONDS_PER_SLOT,
    genesisTimeSeconds: 0,
  },
} as const satisfies Omit<ClockBoundOptions, "wallClock">;

const BODY_BYTES = 23;

/** The body of a request. */
export const encodeAsking = ({ requestId, attempt, duty }: Asking): Uint8Array => {
  const view = new DataView(new ArrayBuffer(BODY_BYTES));
  view.setUint32(0, requestId);
  view.setUint8(4, attempt);
  view.setUint8(5, duty.kind === "block" ? 1 : 2);
  view.setFloat64(6, duty.kind === "block" ? duty.slot : duty.source);
  view.setFloat64(14, duty.kind === "block" ? 0 : duty.target);
  view.setUint8(22, duty.variant);
  return new Uint8Array(view.buffer);
};

/** Reads {@link encodeAsking}. */
export const decodeAsking = (body: Uint8Array): Asking => {
  const view = new DataView(body.buffer, body.byteOffset, BODY_BYTES);
  const first = view.getFloat64(6);
  const variant = view.getUint8(22);
  const duty: SimulatedDuty =
    view.getUint8(5) === 1
      ? { kind: "block", slot: first, variant }
      : { kind: "attestation", source: first, target: view.getFloat64(14), variant };
  return { requestId: view.getUint32(0), attempt: view.getUint8(4), duty };
};

/** What the guard is asked; the root follows from the content alone. */
export const toCandidate = (duty: SimulatedDuty): Candidate => {
  const view = new DataView(new ArrayBuffer(32));
  view.setUint8(0, duty.kind === "block" ? 1 : 2);
  view.setFloat64(1, duty.kind === "block" ? duty.slot : duty.source);
  view.setFloat64(9, duty.kind === "block" ? 0 : duty.target);
  view.setUint8(17, duty.variant);
  const signingRoot = new Uint8Array(view.buffer);
  return duty.kind === "block"
    ? { kind: "block", slot: duty.slot, signingRoot }
    : { kind: "attestation", sourceEpoch: duty.source, targetEpoch: duty.target, signingRoot };
};

/** What the clock bound is asked. */
export const toDuty = (duty: SimulatedDuty): Duty =>
  duty.kind === "block"
    ? { kind: "block", slot: duty.slot }
    : {
        kind: "attestation",
        slot: duty.target * SLOTS_PER_EPOCH,
        sourceEpoch: duty.source,
        targetEpoch: duty.target,
      };

/** What the checker is told. */
export const toMessage = (duty: SimulatedDuty): SignedMessage => {
  const root = describeDuty(duty);
  return duty.kind === "block"
    ? { kind: "block", slot: duty.slot, root }
    : { kind: "attestation", source: duty.source, target: duty.target, root };
};

/** In words, for traces. */
export const describeDuty = (duty: SimulatedDuty): string => {
  const letter = String.fromCharCode(97 + duty.variant);
  return duty.kind === "block"
    ? `block ${duty.slot} root ${letter}`
    : `attestation ${duty.source}→${duty.target} root ${letter}`;
};
