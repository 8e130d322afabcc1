/**
 * The kinds of message that a validator client may ask us to sign, as the Web3Signer API names them. The gateway reads
 * this file too: it imports nothing, so that no SSZ code is loaded there.
 */

/**
 * Every value of the request member `type` that we accept, up to Fulu.
 * Source: Web3Signer `openapi-specs/eth2/signing`, remote-signing-api. `BLOCK` and `AGGREGATE_AND_PROOF` are deprecated
 * there and still sent by clients. There is no type that signs a bare root, on purpose.
 */
export const SIGNING_TYPES = [
  "AGGREGATION_SLOT",
  "AGGREGATE_AND_PROOF",
  "AGGREGATE_AND_PROOF_V2",
  "ATTESTATION",
  "BLOCK",
  "BLOCK_V2",
  "DEPOSIT",
  "RANDAO_REVEAL",
  "SYNC_COMMITTEE_MESSAGE",
  "SYNC_COMMITTEE_SELECTION_PROOF",
  "SYNC_COMMITTEE_CONTRIBUTION_AND_PROOF",
  "VALIDATOR_REGISTRATION",
  "VOLUNTARY_EXIT",
] as const;

/** One of {@link SIGNING_TYPES}. */
export type SigningType = (typeof SIGNING_TYPES)[number];

/** Whether two signatures of this type can be a slashable offence (consensus spec, proposer and attester slashings). */
export const isSlashable = (type: SigningType): boolean =>
  type === "BLOCK" || type === "BLOCK_V2" || type === "ATTESTATION";

/**
 * Kinds of duty by urgency, the most urgent first: a block that is late is lost whole, an attestation loses most of its
 * reward, an exit nothing.
 */
export const DUTY_CLASSES = ["block", "attestation", "sync", "aggregate", "selection", "registration", "exit"] as const;

/** One of {@link DUTY_CLASSES}. */
export type DutyClass = (typeof DUTY_CLASSES)[number];

/** The class of every {@link SigningType}. A block cannot be made without its RANDAO reveal. */
export const DUTY_CLASS_OF = {
  BLOCK: "block",
  BLOCK_V2: "block",
  RANDAO_REVEAL: "block",
  ATTESTATION: "attestation",
  SYNC_COMMITTEE_MESSAGE: "sync",
  AGGREGATE_AND_PROOF: "aggregate",
  AGGREGATE_AND_PROOF_V2: "aggregate",
  SYNC_COMMITTEE_CONTRIBUTION_AND_PROOF: "aggregate",
  AGGREGATION_SLOT: "selection",
  SYNC_COMMITTEE_SELECTION_PROOF: "selection",
  VALIDATOR_REGISTRATION: "registration",
  DEPOSIT: "exit",
  VOLUNTARY_EXIT: "exit",
} as const satisfies Record<SigningType, DutyClass>;
