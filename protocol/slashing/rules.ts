/**
 * The rules of slashing protection: EIP-3076's minimal strategy as pure functions over one validator's highest block
 * slot, source epoch and target epoch, and the signing roots last signed at the highest slot and target.
 *
 * They know no store, no clock and no key. They do *not* check the genesis validators root, the clock bound or the
 * policy: guard and pipeline do, with rules of the same closed list.
 * Source: https://eips.ethereum.org/EIPS/eip-3076 (conditions 1..6, minimal database).
 */

import { assertNever, SignerError } from "../errors.ts";

/** The highest block that was signed. */
export interface BlockWatermark {
  /** Slot, 0..2^53-1. */
  readonly slot: number;
  /** Signing root signed at `slot`, 32 bytes; undefined: unknown, never a repeat. */
  readonly signingRoot?: Uint8Array | undefined;
}

/** The highest source and the highest target epoch that were signed, perhaps by different attestations. */
export interface AttestationWatermark {
  /** Highest source epoch, 0..2^53-1. */
  readonly sourceEpoch: number;
  /** Highest target epoch, 0..2^53-1. May lie below `sourceEpoch` after an import; then little can be signed. */
  readonly targetEpoch: number;
  /** Signing root signed at `targetEpoch`, 32 bytes; undefined: unknown, never a repeat. */
  readonly signingRoot?: Uint8Array | undefined;
}

/** What the operator decided about the validator. A higher generation replaces a lower one as a whole. */
export interface ValidatorControl {
  /** Counts the operator's signed decisions, 0..2^32-1. */
  readonly generation: number;
  /** True: every slashable duty is refused. */
  readonly disabled: boolean;
  /** First epoch (of a block's slot or an attestation's target) that is refused, 0..2^53-1. */
  readonly stopAtEpoch?: number | undefined;
}

/** Everything that slashing protection remembers of one validator; the bytes are in `record.ts`. */
export interface SlashingState {
  /** Undefined: no block was signed yet. */
  readonly block?: BlockWatermark | undefined;
  /** Undefined: no attestation was signed yet. */
  readonly attestation?: AttestationWatermark | undefined;
  readonly control: ValidatorControl;
}

/** The state of a validator that has signed nothing and about which nothing was decided. */
export const EMPTY_STATE: SlashingState = { control: { generation: 0, disabled: false } };

/** A block or attestation that somebody asks to sign. `signingRoot` must be the root of that very message. */
export type Candidate =
  | { readonly kind: "block"; readonly slot: number; readonly signingRoot: Uint8Array }
  | {
      readonly kind: "attestation";
      readonly sourceEpoch: number;
      readonly targetEpoch: number;
      readonly signingRoot: Uint8Array;
    };

/** Every reason for which slashing protection refuses to sign, in wire order: append only. */
export const REFUSAL_RULES = [
  /** Another, or an unknown, block was signed at this slot. */
  "double_block_proposal",
  /** A block of a later slot was signed. */
  "block_slot_below_watermark",
  /** The attestation's source epoch is after its target epoch. */
  "source_after_target",
  /** Another, or an unknown, attestation was signed for this target epoch. */
  "double_vote",
  /** An attestation of a later target was signed: this one might be surrounded by it. */
  "target_below_watermark",
  /** An attestation of a later source was signed: this one might surround it. */
  "source_below_watermark",
  /** The operator disabled the validator. */
  "validator_disabled",
  /** The operator stopped the validator at an epoch that is reached. */
  "validator_stopped",
  /** The request names another chain than the configuration (checked by the guard). */
  "genesis_validators_root_mismatch",
  /** The slot or epoch is too far in the future (checked by the guard). */
  "beyond_clock_bound",
  /** The sealed configuration does not allow this type of message (checked before everything else). */
  "type_not_allowed",
] as const;

/** One of {@link REFUSAL_RULES}. */
export type RefusalRule = (typeof REFUSAL_RULES)[number];

/** A refusal: `detail` says the two numbers that clash, in plain words, and is safe to show to a client. */
export interface Refusal {
  readonly kind: "refuse";
  readonly rule: RefusalRule;
  readonly detail: string;
}

/**
 * What {@link decide} answers.
 * - `sign`: allowed once `next` is recorded durably, and not before.
 * - `repeat`: this very message was signed before; allowed without a write if the record is known to be durable.
 * - `refuse`: never sign.
 */
export type Decision = { readonly kind: "sign"; readonly next: SlashingState } | { readonly kind: "repeat" } | Refusal;

/** What the rules must know of the network. */
export interface RuleOptions {
  /** Slots per epoch (consensus spec `SLOTS_PER_EPOCH`; 32 on mainnet). */
  readonly slotsPerEpoch: number;
}

/**
 * Decides on one candidate. Pure; the caller serialises decisions on the same validator.
 * @throws SignerError `internal` when a number of the candidate is not 0..2^53-1: parsers let no such number through.
 */
export const decide = (state: SlashingState, candidate: Candidate, options: RuleOptions): Decision => {
  switch (candidate.kind) {
    case "block": {
      assertNumber(candidate.slot, "slot");
      const epoch = Math.floor(candidate.slot / options.slotsPerEpoch);
      return refuseByControl(state.control, epoch) ?? decideBlock(state, candidate);
    }
    case "attestation":
      assertNumber(candidate.sourceEpoch, "source epoch");
      assertNumber(candidate.targetEpoch, "target epoch");
      return refuseByControl(state.control, candidate.targetEpoch) ?? decideAttestation(state, candidate);
    default:
      return assertNever(candidate);
  }
};

/**
 * The least state that protects against everything that `a` or `b` protects against: commutative, associative,
 * idempotent, and never below either.
 * Equal slots or targets with different or absent roots give an unknown root. The higher control generation wins
 * as a whole; in a tie the stricter of each setting does.
 */
export const merge = (a: SlashingState, b: SlashingState): SlashingState => {
  const block = mergeBlocks(a.block, b.block);
  const attestation = mergeAttestations(a.attestation, b.attestation);
  return {
    ...(block && { block }),
    ...(attestation && { attestation }),
    control: mergeControls(a.control, b.control),
  };
};

/**
 * Whether `state` lacks anything that `floor` has: a lower (or absent) watermark or control generation, a laxer control
 * of the same generation, or another root than the floor's at the same slot or target. All of these are impossible
 * while acknowledged writes survive, because every write is a merge or a step of {@link decide}.
 */
export const isBehind = (state: SlashingState, floor: SlashingState): boolean =>
  !statesEqual(merge(state, floor), state);

/** Whether two states say the same. */
export const statesEqual = (a: SlashingState, b: SlashingState): boolean =>
  a.block?.slot === b.block?.slot &&
  rootsIdentical(a.block?.signingRoot, b.block?.signingRoot) &&
  a.attestation?.sourceEpoch === b.attestation?.sourceEpoch &&
  a.attestation?.targetEpoch === b.attestation?.targetEpoch &&
  rootsIdentical(a.attestation?.signingRoot, b.attestation?.signingRoot) &&
  a.control.generation === b.control.generation &&
  a.control.disabled === b.control.disabled &&
  a.control.stopAtEpoch === b.control.stopAtEpoch;

const decideBlock = (state: SlashingState, candidate: Candidate & { kind: "block" }): Decision => {
  const { slot, signingRoot } = candidate;
  const last = state.block;
  if (last === undefined || slot > last.slot) {
    return { kind: "sign", next: { ...state, block: { slot, signingRoot } } };
  }
  if (slot < last.slot) {
    return refuse("block_slot_below_watermark", `block slot ${slot} is below the last signed slot ${last.slot}`);
  }
  if (rootsEqual(last.signingRoot, signingRoot)) return { kind: "repeat" };
  const other = last.signingRoot === undefined ? "a block of unknown root" : "a different block";
  return refuse("double_block_proposal", `${other} was already signed at slot ${last.slot}`);
};

/**
 * A repeat must have the very source of the watermark, although the root alone should say enough. An import or a merge
 * may bring in a root without a true history: a lower source would be a surrounding vote, and a higher one would leave
 * the watermark too low for it, because a repeat writes nothing. With this rule even a false root only "repeats" what
 * the watermarks already stand for.
 */
const decideAttestation = (state: SlashingState, candidate: Candidate & { kind: "attestation" }): Decision => {
  const { sourceEpoch, targetEpoch, signingRoot } = candidate;
  const last = state.attestation;
  if (sourceEpoch > targetEpoch) {
    return refuse("source_after_target", `source epoch ${sourceEpoch} is after target epoch ${targetEpoch}`);
  }
  if (last === undefined) {
    return { kind: "sign", next: { ...state, attestation: { sourceEpoch, targetEpoch, signingRoot } } };
  }
  if (sourceEpoch < last.sourceEpoch) {
    const detail = `source epoch ${sourceEpoch} is below the highest signed source epoch ${last.sourceEpoch}`;
    return refuse("source_below_watermark", detail);
  }
  if (targetEpoch < last.targetEpoch) {
    const detail = `target epoch ${targetEpoch} is below the highest signed target epoch ${last.targetEpoch}`;
    return refuse("target_below_watermark", detail);
  }
  if (targetEpoch > last.targetEpoch) {
    return { kind: "sign", next: { ...state, attestation: { sourceEpoch, targetEpoch, signingRoot } } };
  }
  const isRepeat = sourceEpoch === last.sourceEpoch && rootsEqual(last.signingRoot, signingRoot);
  if (isRepeat) return { kind: "repeat" };
  const other = last.signingRoot === undefined ? "an attestation of unknown root" : "a different attestation";
  const detail = `${other} was already signed for target epoch ${last.targetEpoch}`;
  return refuse("double_vote", detail);
};

const refuseByControl = (control: ValidatorControl, epoch: number): Refusal | undefined => {
  if (control.disabled) {
    return refuse("validator_disabled", "the operator disabled the validator: `testudo slashing enable` undoes it");
  }
  if (control.stopAtEpoch !== undefined && epoch >= control.stopAtEpoch) {
    return refuse(
      "validator_stopped",
      `epoch ${epoch} is not before the stop epoch ${control.stopAtEpoch}: \`testudo slashing enable\` undoes it`,
    );
  }
  return undefined;
};

const refuse = (rule: RefusalRule, detail: string): Refusal => ({ kind: "refuse", rule, detail });

const mergeBlocks = (a: BlockWatermark | undefined, b: BlockWatermark | undefined): BlockWatermark | undefined => {
  if (a === undefined || b === undefined) return a ?? b;
  if (a.slot !== b.slot) return a.slot > b.slot ? a : b;
  return { slot: a.slot, ...mergeRoots(a.signingRoot, b.signingRoot) };
};

const mergeAttestations = (
  a: AttestationWatermark | undefined,
  b: AttestationWatermark | undefined,
): AttestationWatermark | undefined => {
  if (a === undefined || b === undefined) return a ?? b;
  const sourceEpoch = Math.max(a.sourceEpoch, b.sourceEpoch);
  const targetEpoch = Math.max(a.targetEpoch, b.targetEpoch);
  if (a.targetEpoch === b.targetEpoch) {
    return { sourceEpoch, targetEpoch, ...mergeRoots(a.signingRoot, b.signingRoot) };
  }
  const { signingRoot } = a.targetEpoch > b.targetEpoch ? a : b;
  return { sourceEpoch, targetEpoch, ...(signingRoot && { signingRoot }) };
};

const mergeRoots = (a: Uint8Array | undefined, b: Uint8Array | undefined): { signingRoot?: Uint8Array } =>
  a !== undefined && rootsEqual(a, b) ? { signingRoot: a } : {};

const mergeControls = (a: ValidatorControl, b: ValidatorControl): ValidatorControl => {
  if (a.generation !== b.generation) return a.generation > b.generation ? a : b;
  const stops = [a.stopAtEpoch, b.stopAtEpoch].filter((epoch) => epoch !== undefined);
  return {
    generation: a.generation,
    disabled: a.disabled || b.disabled,
    ...(stops.length > 0 && { stopAtEpoch: Math.min(...stops) }),
  };
};

/** Whether both roots are known and the same. */
const rootsEqual = (a: Uint8Array | undefined, b: Uint8Array | undefined): boolean => {
  if (a === undefined || b === undefined || a.length !== b.length) return false;
  for (let index = 0; index < a.length; index++) if (a[index] !== b[index]) return false;
  return true;
};

const rootsIdentical = (a: Uint8Array | undefined, b: Uint8Array | undefined): boolean =>
  a === undefined ? b === undefined : rootsEqual(a, b);

const assertNumber = (value: number, name: string): void => {
  if (!Number.isSafeInteger(value) || value < 0) {
    throw new SignerError("internal", `${name}: expected 0..2^53-1, got ${value}`);
  }
};
