/** The closed set of reasons for which an attestation document is refused. A refusal is a value, not a failure. */

/** Every reason, in the order in which it is looked for. */
export const ATTESTATION_REJECTIONS = [
  /** Longer than any document that an NSM can give. */
  "too_large",
  /** Not CBOR, or CBOR that could have been written shorter, twice, or with something behind it. */
  "malformed_cbor",
  /** CBOR, but not the four parts of COSE_Sign1. */
  "not_cose_sign1",
  /** Signed with another algorithm than ES384, or headers that AWS does not send. */
  "wrong_algorithm",
  /** A field of the document is not there. */
  "missing_field",
  /** The document has a field that no specification names. */
  "unknown_field",
  /** A field has another type, length or value than AWS documents. */
  "wrong_field",
  /** A certificate is not DER of X.509 version 3. */
  "malformed_certificate",
  /** A certificate that parses, of another kind than the Nitro PKI's: algorithm, curve, critical extension. */
  "unsupported_certificate",
  /** The bundle does not begin with a root that the verifier trusts. */
  "untrusted_root",
  /** A certificate was not issued, or not signed, by the one before it, or stands there twice. */
  "broken_chain",
  /** A certificate above the leaf may not issue certificates. */
  "not_a_ca",
  /** The leaf may issue certificates. */
  "leaf_is_a_ca",
  /** A certificate's key may not be used for what it was used for. */
  "wrong_key_usage",
  /** More certificates follow than one of them allows. */
  "path_too_long",
  /** A certificate's time has not come at the time of the check. */
  "certificate_not_yet_valid",
  /** A certificate's time was over at the time of the check. */
  "certificate_expired",
  /** The document was made at a time at which its certificate did not hold. */
  "timestamp_outside_certificate",
  /** The document's signature is not of the leaf's key. */
  "bad_signature",
  /** The enclave runs in debug mode: its console can be read, its measurements are zeros. */
  "debug_mode",
  /** The verifier named no measurement, so that any enclave of anybody would do. */
  "empty_policy",
  /** A measurement that the policy names is not in the document. */
  "missing_pcr",
  /** A measurement has another value than the policy allows. */
  "wrong_pcr",
  /** The nonce is not the one that was asked for. */
  "wrong_nonce",
  /** The user data are not the expected ones. */
  "wrong_user_data",
  /** The public key is not the expected one. */
  "wrong_public_key",
] as const;

/** One of {@link ATTESTATION_REJECTIONS}. */
export type AttestationRejection = (typeof ATTESTATION_REJECTIONS)[number];

/** A refused document: why, and what was expected and found. `detail` quotes only what is public. */
export interface RejectedAttestation {
  readonly ok: false;
  readonly reason: AttestationRejection;
  readonly detail: string;
}

/** Carries a refusal out of the parsers, no further than {@link asVerdict}. */
class Rejection extends Error {
  readonly reason: AttestationRejection;

  constructor(reason: AttestationRejection, detail: string) {
    super(detail);
    this.name = "Rejection";
    this.reason = reason;
  }
}

/** Ends the parsing or checking of a document; only inside {@link asVerdict}. */
export const reject = (reason: AttestationRejection, detail: string): never => {
  throw new Rejection(reason, detail);
};

/** Runs a check: its value, or the refusal that ended it. Anything else that is thrown is a defect and passes through. */
export const asVerdict = <T extends { readonly ok: true }>(check: () => T): T | RejectedAttestation => {
  try {
    return check();
  } catch (error) {
    if (!(error instanceof Rejection)) throw error;
    return { ok: false, reason: error.reason, detail: error.message };
  }
};
