/** What slashing protection must know of a message. Imports nothing: the rules read it without any SSZ code. */

/**
 * The slashable part of a message, in the consensus spec's terms. Slots and epochs are 0..2^53-1 and come from the very
 * value that was hashed; `other` is every message that cannot be a slashable offence.
 */
export type Duty =
  | { readonly kind: "block"; readonly slot: number }
  | { readonly kind: "attestation"; readonly slot: number; readonly sourceEpoch: number; readonly targetEpoch: number }
  | { readonly kind: "other" };

/** The one `other` duty. */
export const OTHER_DUTY: Duty = Object.freeze({ kind: "other" });
