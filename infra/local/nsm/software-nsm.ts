/**
 * A Nitro Security Module in software, for development and tests. It speaks the NSM's protocol and makes documents of
 * the same layout, signed by an authority of its own. Its measurements are what its owner, the parent, says they are:
 * that is the difference to the real one, and why no verifier for production trusts its root.
 */

import { randomBytes } from "node:crypto";
import { makeCoseSign1 } from "#protocol/attestation/cose.ts";
import {
  ATTESTED_PUBLIC_KEY_BYTES_MAX,
  encodeAttestationDocument,
  NONCE_BYTES_MAX,
  PCR_BYTES,
  PCR_INDEX_MAX,
  USER_DATA_BYTES_MAX,
} from "#protocol/attestation/document.ts";
import {
  type AttestationRequest,
  decodeNsmRequest,
  encodeNsmResponse,
  type NsmResponse,
  SOFTWARE_NSM_OPERATION,
} from "#protocol/attestation/nsm-messages.ts";
import { assertNever, SignerError } from "#protocol/errors.ts";
import { serveRpc } from "#protocol/rpc.ts";
import type { OnConnection } from "#protocol/transport/hybrid.ts";
import { type DevelopmentAuthority, type DocumentSigner, issueDocumentSigner } from "./authority.ts";

/** What a software NSM is made of. */
export interface SoftwareNsmOptions {
  readonly authority: DevelopmentAuthority;
  /** As in documents: `i-development-enc16`. */
  readonly moduleId: string;
  /** Measurements of the enclave, 48 bytes each; those of 0..15 that are not named are zeros. */
  readonly pcrs: ReadonlyMap<number, Uint8Array>;
  /** Time in ms since 1970. */
  readonly now: () => number;
}

/** One NSM, that is one enclave's. */
export interface SoftwareNsm {
  /** Answers one request, CBOR both ways. Total. */
  answer(request: Uint8Array): Uint8Array;
}

/** PCRs 0..15 are locked when an enclave starts, and are in every document (as in a real one); 16..31 are the enclave's. */
const LOCKED_PCRS = 16;
/** Bytes of one `GetRandom` answer, as the real NSM gives. */
const RANDOM_BYTES = 256;
/** A leaf with less time left is replaced. */
const LEAF_REST_MS = 90 * 60_000;

/** Makes an NSM. Nothing is signed before the first request. */
export const createSoftwareNsm = (options: SoftwareNsmOptions): SoftwareNsm => {
  const { authority, moduleId, now } = options;
  const pcrs = lockedPcrs(options.pcrs);
  let signer: DocumentSigner | undefined;

  const currentSigner = (nowMs: number): DocumentSigner => {
    if (signer === undefined || signer.notAfterMs - nowMs < LEAF_REST_MS) {
      signer = issueDocumentSigner(authority, { moduleId, nowMs });
    }
    return signer;
  };

  const attest = (request: AttestationRequest): NsmResponse => {
    if (isTooLarge(request)) return { kind: "error", code: "InputTooLarge" };
    if (request.publicKey?.length === 0) return { kind: "error", code: "InvalidArgument" };
    const timestampMs = now();
    const { privateKey, certificate, caBundle } = currentSigner(timestampMs);
    const payload = encodeAttestationDocument({ moduleId, timestampMs, pcrs, certificate, caBundle, ...request });
    return { kind: "attestation", document: makeCoseSign1(payload, privateKey) };
  };

  const respond = (bytes: Uint8Array): NsmResponse => {
    const request = decodeNsmRequest(bytes);
    switch (request.kind) {
      case "error":
        return request;
      case "attestation":
        return attest(request.attestation);
      case "describe-pcr":
        return describePcr(pcrs, request.index);
      case "describe-nsm":
        return { kind: "describe-nsm", moduleId, maxPcrs: PCR_INDEX_MAX + 1, locked: [...pcrs.keys()] };
      case "get-random":
        return { kind: "get-random", random: new Uint8Array(randomBytes(RANDOM_BYTES)) };
      default:
        return assertNever(request);
    }
  };

  return { answer: (request) => encodeNsmResponse(respond(request)) };
};

/** Takes an enclave's streams to the NSM's port, where `rpc.ts` carries requests. */
export const serveSoftwareNsm =
  (nsm: SoftwareNsm): OnConnection =>
  (socket) => {
    serveRpc(socket, {
      handler: (operation, payload) => {
        if (operation === SOFTWARE_NSM_OPERATION) return nsm.answer(payload);
        throw new SignerError("bad_request", `NSM: unknown operation ${operation}`);
      },
    });
  };

const lockedPcrs = (given: ReadonlyMap<number, Uint8Array>): ReadonlyMap<number, Uint8Array> => {
  for (const [index, { length }] of given) {
    if (Number.isInteger(index) && index >= 0 && index < LOCKED_PCRS && length === PCR_BYTES) continue;
    throw new SignerError("bad_request", `PCR${index}: expected an index 0..15 and ${PCR_BYTES} bytes, got ${length}`);
  }
  const zeros = new Uint8Array(PCR_BYTES);
  return new Map(Array.from({ length: LOCKED_PCRS }, (_, index) => [index, given.get(index) ?? zeros]));
};

const describePcr = (pcrs: ReadonlyMap<number, Uint8Array>, index: number): NsmResponse => {
  if (index < 0 || index > PCR_INDEX_MAX) return { kind: "error", code: "InvalidIndex" };
  const data = pcrs.get(index);
  return { kind: "describe-pcr", lock: data !== undefined, data: data ?? new Uint8Array(PCR_BYTES) };
};

const isTooLarge = ({ publicKey, userData, nonce }: AttestationRequest): boolean =>
  (publicKey?.length ?? 0) > ATTESTED_PUBLIC_KEY_BYTES_MAX ||
  (userData?.length ?? 0) > USER_DATA_BYTES_MAX ||
  (nonce?.length ?? 0) > NONCE_BYTES_MAX;
