/**
 * The one for whom KMS encrypts: an RSA-2048 key pair that is made at each boot and never leaves the enclave, and
 * attestation documents that carry its public half.
 */

import { createHash, generateKeyPair } from "node:crypto";
import { promisify } from "node:util";
import { SignerError } from "#protocol/errors.ts";
import { openRecipientCiphertext } from "./cms.ts";
import type { Nsm } from "./nsm.ts";

/** See the top of the file. */
export interface Recipient {
  /** SubjectPublicKeyInfo in DER. */
  readonly publicKey: Uint8Array;
  /**
   * A new attestation document: KMS judges a document by its age, too.
   * @throws SignerError of the module; `internal` when it gives something that cannot be one
   */
  attestation(): Promise<Uint8Array>;
  /**
   * Opens a `CiphertextForRecipient` of exactly `plaintextBytes` bytes; the caller zeroises them.
   * @throws SignerError `protocol_violation` (`cms.ts`)
   */
  open(blob: Uint8Array, plaintextBytes: number): Uint8Array;
}

/** Modulus of the key pair in bits, as AWS's own SDK for enclaves makes it; a blob opens in about a millisecond. */
const MODULUS_BITS = 2048;
/**
 * Longest attestation document in bytes (Nitro Enclaves NSM API: a response has at most 0x3000). KMS would take 262,144
 * (AWS KMS API reference, RecipientInfo).
 */
export const ATTESTATION_DOCUMENT_BYTES_MAX = 0x3000;

const generateRsa = promisify(generateKeyPair);

/** Makes the key pair: some 100 ms on a thread of Node's pool. */
export const createRecipient = async (nsm: Nsm): Promise<Recipient> => {
  const { publicKey, privateKey } = await generateRsa("rsa", { modulusLength: MODULUS_BITS, publicExponent: 0x10001 });
  const spki = new Uint8Array(publicKey.export({ type: "spki", format: "der" }));
  const recipientKey = { privateKey, keyIdentifier: new Uint8Array(createHash("sha256").update(spki).digest()) };
  return {
    publicKey: spki,
    attestation: async () => {
      const document = await nsm.attest({ publicKey: spki }).catch((error: unknown) => {
        if (error instanceof SignerError) throw error;
        throw new SignerError("internal", "NSM: no attestation document, see the log", { cause: error });
      });
      if (document.length === 0 || document.length > ATTESTATION_DOCUMENT_BYTES_MAX) {
        const expected = `expected 1..${ATTESTATION_DOCUMENT_BYTES_MAX} bytes`;
        throw new SignerError("internal", `attestation document: ${expected}, got ${document.length}`);
      }
      return document;
    },
    open: (blob, plaintextBytes) => openRecipientCiphertext(blob, { recipientKey, plaintextBytes }),
  };
};
