/**
 * The Nitro Security Module as the enclave sees it: something that signs a document about this enclave. Where it is, the
 * adapters know (`device-nsm.ts`, `software-nsm-client.ts`); the messages are the same for both. The enclave checks no
 * document: those who decide by it do.
 */

import {
  type AttestationRequest,
  decodeAttestationResponse,
  encodeAttestationRequest,
} from "#protocol/attestation/nsm-messages.ts";

/** Gives attestation documents. */
export interface Nsm {
  /**
   * A document about this enclave, signed, with the request's public key (DER, 1..1024 bytes), user data and nonce
   * (0..512 bytes each) in it.
   * @throws SignerError `unavailable` when there is no NSM or it refuses, `deadline_exceeded`, `protocol_violation`
   */
  attest(request: AttestationRequest): Promise<Uint8Array>;
}

/** One exchange with an NSM: CBOR both ways (`nsm-messages.ts`). */
export type NsmExchange = (request: Uint8Array) => Promise<Uint8Array>;

/** The port over an exchange. */
export const createNsm = (exchange: NsmExchange): Nsm => ({
  attest: async (request) => decodeAttestationResponse(await exchange(encodeAttestationRequest(request))),
});
