/**
 * Whether an attestation document is genuine, and of the enclave that is meant. Answers with a value: the document, or
 * the first reason against it. Total: no input makes it throw.
 *
 * What it does not do: ask for the time (the caller says at which time a document must hold), remember nonces, or read
 * revocation lists.
 */

import { bytesEqual, toHex } from "../bytes.ts";
import { type Chain, checkChain, verifyChainSignatures } from "./chain.ts";
import { type CoseSign1, parseCoseSign1, verifyCoseSign1 } from "./cose.ts";
import { DevelopmentTrust } from "./development.ts";
import { type AttestationDocument, parseAttestationDocument } from "./document.ts";
import { checkPcrs, isDebugMode, type PcrPolicy } from "./policy.ts";
import { type AttestationRejection, asVerdict, type RejectedAttestation, reject } from "./rejection.ts";
import { awsNitroRoot } from "./root.ts";

/** A document that was read and nothing more: anybody can have made it. */
export interface UnverifiedAttestation {
  readonly ok: true;
  readonly document: AttestationDocument;
}

/** A document that a trusted PKI signed. */
export interface GenuineAttestation {
  readonly ok: true;
  readonly document: AttestationDocument;
  /** The root first. */
  readonly chain: Chain;
}

/** What makes a document genuine. */
export interface AuthenticityOptions {
  /** The time at which it must hold, in ms since 1970: now, unless a past decision is checked again. */
  readonly atMs: number;
  /** DER of trusted root certificates; AWS's alone when left out. */
  readonly roots?: readonly Uint8Array[];
  /** Lets debug mode pass. Production has no way to make one. */
  readonly development?: DevelopmentTrust;
}

/** What makes a genuine document one of the enclave that is meant. */
export interface VerifyOptions extends AuthenticityOptions {
  readonly pcrs: PcrPolicy;
  /** What must stand in the document; undefined: anything, or nothing. */
  readonly nonce?: Uint8Array;
  readonly userData?: Uint8Array;
  readonly publicKey?: Uint8Array;
}

/** Reads a document without trusting it, to show it. */
export const readAttestation = (bytes: Uint8Array): UnverifiedAttestation | RejectedAttestation =>
  asVerdict(() => ({ ok: true, document: parse(bytes).document }));

/** Whether a document was signed by a genuine NSM, whatever the enclave is. For callers with a policy of their own. */
export const authenticateAttestation = (
  bytes: Uint8Array,
  options: AuthenticityOptions,
): GenuineAttestation | RejectedAttestation => asVerdict(() => authenticate(bytes, options));

/** Whether a document is genuine, of an enclave with these measurements, and says what was asked of it. */
export const verifyAttestation = (
  bytes: Uint8Array,
  options: VerifyOptions,
): GenuineAttestation | RejectedAttestation =>
  asVerdict(() => {
    const genuine = authenticate(bytes, options);
    const { document } = genuine;
    checkPcrs(document, options.pcrs);
    checkEqual(document.nonce, options.nonce, "wrong_nonce");
    checkEqual(document.userData, options.userData, "wrong_user_data");
    checkEqual(document.publicKey, options.publicKey, "wrong_public_key");
    return genuine;
  });

const parse = (bytes: Uint8Array): { cose: CoseSign1; document: AttestationDocument } => {
  const cose = parseCoseSign1(bytes);
  return { cose, document: parseAttestationDocument(cose.payload) };
};

const authenticate = (bytes: Uint8Array, options: AuthenticityOptions): GenuineAttestation => {
  const { atMs, roots = [awsNitroRoot()], development } = options;
  const { cose, document } = parse(bytes);
  const chain = checkChain(document, { roots, atMs });
  const leaf = chain.at(-1) ?? chain[0];
  if (document.timestampMs < leaf.notBeforeMs || document.timestampMs > leaf.notAfterMs) {
    reject("timestamp_outside_certificate", "timestamp: expected one within the validity of the certificate");
  }
  if (!verifyCoseSign1(cose, leaf.x509.publicKey)) {
    reject("bad_signature", "signature: is not of the certificate's key over this document");
  }
  verifyChainSignatures(chain);
  if (isDebugMode(document) && !DevelopmentTrust.isGenuine(development)) {
    reject("debug_mode", "PCR0, PCR1 or PCR2 is all zeros: the enclave runs in debug mode");
  }
  return { ok: true, document, chain };
};

const checkEqual = (
  actual: Uint8Array | undefined,
  expected: Uint8Array | undefined,
  reason: AttestationRejection,
): void => {
  if (expected === undefined) return;
  if (actual === undefined) reject(reason, `expected ${toHex(expected)}, got none`);
  else if (!bytesEqual(actual, expected)) reject(reason, `expected ${toHex(expected)}, got ${toHex(actual)}`);
};
