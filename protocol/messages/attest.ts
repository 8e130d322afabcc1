/** The data port's operation by which clients of a gateway learn what runs in an enclave and which keys it holds. */

import { ByteReader, ByteWriter } from "../bytes.ts";
import { SignerError } from "../errors.ts";

/** Operation number of "attest" on the data port. */
export const OPERATION_ATTEST = 2;

/** Bytes of a nonce: shorter ones repeat, longer ones prove no more. */
export const ATTEST_NONCE_BYTES = { min: 16, max: 64 } as const;

/** Longest document that a Nitro Security Module gives (`NSM_RESPONSE_MAX_SIZE`, linux/nsm.h). */
export const ATTEST_DOCUMENT_BYTES_MAX = 0x3000;

/** What the enclave answers. */
export type AttestOutcome =
  | { readonly kind: "attested" /** COSE_Sign1 */; readonly document: Uint8Array }
  /** Development mode: its parent knows the keys, so there is nothing that a document could prove. */
  | { readonly kind: "development" };

/** Wire form of the command: the nonce. @throws SignerError `bad_request` */
export const checkAttestNonce = (nonce: Uint8Array): Uint8Array => {
  const { min, max } = ATTEST_NONCE_BYTES;
  if (nonce.length >= min && nonce.length <= max) return nonce;
  throw new SignerError("bad_request", `nonce: expected ${min}..${max} bytes, got ${nonce.length}`);
};

/** Wire form of an {@link AttestOutcome}: u8 1 and the document, or u8 0. */
export const encodeAttestOutcome = (outcome: AttestOutcome): Uint8Array =>
  outcome.kind === "attested"
    ? new ByteWriter().u8(1).bytes(outcome.document).finish()
    : new ByteWriter().u8(0).finish();

/** @throws SignerError `protocol_violation` */
export const decodeAttestOutcome = (payload: Uint8Array): AttestOutcome => {
  const reader = new ByteReader(payload, "attest outcome");
  const kind = reader.u8("kind");
  if (kind === 0) {
    reader.end();
    return { kind: "development" };
  }
  const document = reader.rest();
  if (kind !== 1 || document.length === 0 || document.length > ATTEST_DOCUMENT_BYTES_MAX) {
    throw new SignerError(
      "protocol_violation",
      `attest outcome: expected kind 0, or kind 1 and 1..${ATTEST_DOCUMENT_BYTES_MAX} bytes; got kind ${kind} and ${document.length} bytes`,
    );
  }
  return { kind: "attested", document };
};
