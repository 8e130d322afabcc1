/** What an attested caller may accept as an answer of `Decrypt` or `GenerateDataKey`. */

import { quote } from "#protocol/bytes.ts";
import { kmsError } from "./kms-errors.ts";
import type { Recipient } from "./recipient.ts";

/** Bytes of a data key: AES-256. */
export const DATA_KEY_BYTES = 32;

/** The fields that both operations answer with. */
export interface Answer {
  readonly KeyId?: string | undefined;
  readonly Plaintext?: Uint8Array | null | undefined;
  readonly CiphertextForRecipient?: Uint8Array | undefined;
}

/**
 * The data key of an answer that is for this enclave and made under the configured key; the caller zeroises it. The SDK
 * does not check types: what it could not read as bytes comes through as it was.
 * @throws KmsError `bad_answer`; SignerError `protocol_violation` when the blob cannot be opened
 */
export const openAnswer = (
  { KeyId, Plaintext, CiphertextForRecipient }: Answer,
  { keyArn, recipient }: { readonly keyArn: string; readonly recipient: Recipient },
): Uint8Array => {
  // "Null or empty" is how KMS leaves it out (AWS KMS API reference, Decrypt).
  if (Plaintext !== undefined && Plaintext !== null && Plaintext.length !== 0) {
    if (Plaintext instanceof Uint8Array) Plaintext.fill(0);
    throw kmsError("bad_answer", "the answer has the plaintext, which an attested caller is never sent");
  }
  if (KeyId !== keyArn) throw kmsError("bad_answer", `expected an answer under ${keyArn}, got ${quote(KeyId)}`);
  if (!(CiphertextForRecipient instanceof Uint8Array)) {
    throw kmsError("bad_answer", "the answer has no CiphertextForRecipient");
  }
  return recipient.open(CiphertextForRecipient, DATA_KEY_BYTES);
};
