/** What `Recipient` says about the caller: its measurements for the key policy, and the key that the answer is for. */

import { createPublicKey, type KeyObject } from "node:crypto";
import { invalid } from "./errors.ts";

/** A document that holds, and what it says. */
export interface AttestedEnclave {
  readonly ok: true;
  /** Lower-case hex without prefix, by index. */
  readonly pcrs: ReadonlyMap<number, string>;
  /** SubjectPublicKeyInfo in DER; undefined: the document has none. */
  readonly publicKey: Uint8Array | undefined;
}

/**
 * Checks signature and certificate chain of a Nitro attestation document at a time (ms since 1970). Handed in: which
 * root is trusted, and whether debug mode is, is for the composer to say.
 */
export type AttestationVerifier = (
  document: Uint8Array,
  nowMs: number,
) => AttestedEnclave | { readonly ok: false; readonly reason: string };

/** The attested caller of one request. */
export interface AttestedCaller {
  readonly pcrs: ReadonlyMap<number, string>;
  readonly publicKey: KeyObject;
}

const RSA_BITS_MIN = 2048;
const RSA_BITS_MAX = 4096;

/**
 * Verifies a document and takes its RSA key.
 * @throws KmsFault `ValidationException`
 */
export const verifyCaller = (
  document: Uint8Array,
  { verify, nowMs }: { readonly verify: AttestationVerifier | undefined; readonly nowMs: number },
): AttestedCaller => {
  if (verify === undefined) throw invalid("This endpoint does not support Recipient.");
  const result = verify(document, nowMs);
  if (!result.ok) throw invalid(`The attestation document is not valid: ${result.reason}`);
  if (result.publicKey === undefined) throw invalid("The attestation document has no public key.");
  let publicKey: KeyObject;
  try {
    publicKey = createPublicKey({ key: Buffer.from(result.publicKey), format: "der", type: "spki" });
  } catch {
    throw invalid("The public key of the attestation document cannot be read.");
  }
  const bits = publicKey.asymmetricKeyDetails?.modulusLength ?? 0;
  if (publicKey.asymmetricKeyType !== "rsa" || bits < RSA_BITS_MIN || bits > RSA_BITS_MAX) {
    throw invalid(`The public key of the attestation document is not RSA of ${RSA_BITS_MIN} to ${RSA_BITS_MAX} bits.`);
  }
  return { pcrs: result.pcrs, publicKey };
};
