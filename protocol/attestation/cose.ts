/**
 * COSE_Sign1 (RFC 9052 section 4.2) as the Nitro hypervisor makes it: ES384, that is ECDSA on P-384 with SHA-384, and
 * nothing else. Detached payloads, other algorithms, counter-signatures and external data are not supported.
 */

import { type KeyObject, sign, verify } from "node:crypto";
import { bytesEqual } from "../bytes.ts";
import { type CborValue, decodeCbor, encodeCbor, isCborMap, type OpenMaps } from "./cbor.ts";
import { reject } from "./rejection.ts";

/**
 * Longest signed document. The NSM driver's answers end at 12,288 bytes (`NSM_RESPONSE_MAX_SIZE`, linux/nsm.h), and the
 * document is inside one.
 */
export const SIGNED_DOCUMENT_BYTES_MAX = 0x3000;
/** Two numbers of 48 bytes (RFC 9053 section 2.1). */
const SIGNATURE_BYTES = 96;
/** Tag 18, COSE_Sign1 (RFC 9052 section 2). AWS sends documents without it; some tools add it. */
const TAG_COSE_SIGN1 = 0xd2;
/** `{1: -35}`: algorithm, ES384 (RFC 9053 section 2.1). */
const PROTECTED_HEADER = Uint8Array.of(0xa1, 0x01, 0x38, 0x22);

/** The parts of a COSE_Sign1 with the one header that is allowed. */
export interface CoseSign1 {
  readonly payload: Uint8Array;
  /** 96 bytes: r ‖ s. */
  readonly signature: Uint8Array;
}

/** Takes a document apart; checks its form and headers, not its signature. Rejects inside `asVerdict`. */
export const parseCoseSign1 = (bytes: Uint8Array): CoseSign1 => {
  if (bytes.length > SIGNED_DOCUMENT_BYTES_MAX) {
    return reject("too_large", `expected at most ${SIGNED_DOCUMENT_BYTES_MAX} bytes, got ${bytes.length}`);
  }
  const untagged = bytes[0] === TAG_COSE_SIGN1 ? bytes.subarray(1) : bytes;
  const parts = decodeDocumentCbor(untagged, "the signed document");
  if (!Array.isArray(parts) || parts.length !== 4) return reject("not_cose_sign1", "expected a list of four parts");
  const [header, unprotectedHeader, payload, signature] = parts as CborValue[];
  if (!(header instanceof Uint8Array)) return reject("not_cose_sign1", "protected header: expected bytes");
  if (!isCborMap(unprotectedHeader)) return reject("not_cose_sign1", "unprotected header: expected a map");
  if (!(payload instanceof Uint8Array)) return reject("not_cose_sign1", "payload: expected bytes");
  if (!(signature instanceof Uint8Array)) return reject("not_cose_sign1", "signature: expected bytes");
  if (!bytesEqual(header, PROTECTED_HEADER)) {
    return reject("wrong_algorithm", "protected header: expected {1: -35}, ES384 alone");
  }
  if (unprotectedHeader.size !== 0) return reject("wrong_algorithm", "unprotected header: expected none");
  if (signature.length !== SIGNATURE_BYTES) {
    return reject("not_cose_sign1", `signature: expected ${SIGNATURE_BYTES} bytes, got ${signature.length}`);
  }
  return { payload, signature };
};

/** Whether the signature over the payload is of this key's other half. */
export const verifyCoseSign1 = ({ payload, signature }: CoseSign1, publicKey: KeyObject): boolean =>
  verify("sha384", signedBytes(payload), { key: publicKey, dsaEncoding: "ieee-p1363" }, signature);

/** A signed document around a payload, without a tag, as the hypervisor sends it. `privateKey` is of P-384. */
export const makeCoseSign1 = (payload: Uint8Array, privateKey: KeyObject): Uint8Array => {
  const signature = sign("sha384", signedBytes(payload), { key: privateKey, dsaEncoding: "ieee-p1363" });
  return encodeCbor([PROTECTED_HEADER, new Map(), payload, new Uint8Array(signature)]);
};

/** CBOR of a document or of its payload. Rejects inside `asVerdict`. */
export const decodeDocumentCbor = (bytes: Uint8Array, what: string, openMaps?: OpenMaps): CborValue => {
  try {
    return decodeCbor(bytes, openMaps);
  } catch (error) {
    return reject("malformed_cbor", `${what}: ${(error as Error).message}`);
  }
};

/** `Sig_structure` of RFC 9052 section 4.4. */
const signedBytes = (payload: Uint8Array): Uint8Array =>
  encodeCbor(["Signature1", PROTECTED_HEADER, new Uint8Array(), payload]);
