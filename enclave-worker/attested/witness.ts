/**
 * Attestation for clients: documents with a client's nonce and the digest of the keys that this enclave holds. They have
 * no public key, so nobody can ask KMS for anything with them; those for KMS have no user data, so they prove nothing here.
 */

import { heldKeysDigest } from "#protocol/attestation/held-keys.ts";
import { SignerError } from "#protocol/errors.ts";
import { type AttestOutcome, checkAttestNonce } from "#protocol/messages/attest.ts";

/** The part of a security module that is needed here; the whole port would bring CBOR into development mode. */
export interface Attester {
  attest(request: { readonly userData: Uint8Array; readonly nonce: Uint8Array }): Promise<Uint8Array>;
}

/** Makes documents about the keys that are open for signing. */
export interface Witness {
  /**
   * @param nsm undefined in development mode
   * @throws SignerError `bad_request` for a bad nonce, `overloaded`, or of the NSM
   */
  attest(nonce: Uint8Array, nsm: Attester | undefined): Promise<AttestOutcome>;
  /** Said after every change of the keys. */
  keysChanged(): void;
}

/** Documents in the making: some milliseconds each, and signing comes first. */
const IN_FLIGHT_MAX = 4;

/** @param held public keys, `0x` hex */
export const createWitness = (held: Iterable<string>): Witness => {
  /** 100,000 keys take some 100 ms. */
  let digest: Uint8Array | undefined;
  let inFlight = 0;
  return {
    attest: async (nonce, nsm) => {
      checkAttestNonce(nonce);
      if (nsm === undefined) return { kind: "development" };
      if (inFlight >= IN_FLIGHT_MAX) {
        throw new SignerError("overloaded", `${IN_FLIGHT_MAX} attestation documents are in the making`);
      }
      inFlight += 1;
      try {
        digest ??= heldKeysDigest(held);
        return { kind: "attested", document: await nsm.attest({ userData: digest, nonce }) };
      } finally {
        inFlight -= 1;
      }
    },
    keysChanged: () => {
      digest = undefined;
    },
  };
};
