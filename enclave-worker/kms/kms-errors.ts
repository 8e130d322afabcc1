/**
 * What can go wrong with KMS, in a closed set of reasons, each with what to check. Texts of KMS are passed on for
 * refused access alone: those name the caller and the rule, while others can repeat the request with its session token.
 */

import { type ErrorCode, SignerError } from "#protocol/errors.ts";

/** Every reason. */
export const KMS_REASONS = [
  /** The policy of the key, or of the caller, does not allow it. */
  "access_denied",
  /** Other ciphertext or encryption context than was encrypted. */
  "invalid_ciphertext",
  /** The ciphertext was made under another KMS key. */
  "incorrect_key",
  /** Disabled, pending deletion, or otherwise not usable. */
  "key_disabled",
  "no_such_key",
  /** The session token is over; with fresh credentials it works. */
  "credentials_expired",
  /** Unknown access key or wrong signature. */
  "credentials_refused",
  /** Refused as malformed, the attestation document included. */
  "request_refused",
  "throttled",
  /** KMS failed (5xx), or said that the key is not available at the moment. */
  "server_error",
  "unreachable",
  /** TLS: whoever answered did not prove to be KMS. */
  "untrusted_server",
  "timed_out",
  /** KMS answered something that an attested caller must not accept. */
  "bad_answer",
] as const;

/** One of {@link KMS_REASONS}. */
export type KmsReason = (typeof KMS_REASONS)[number];

/** A failure of a call of KMS. */
export class KmsError extends SignerError {
  readonly reason: KmsReason;

  constructor(reason: KmsReason, detail: string) {
    super(RULES[reason].code, detail);
    this.name = "KmsError";
    this.reason = reason;
  }
}

/** Whether the same request may do better in a moment. */
export const isPassing = (reason: KmsReason): boolean => RULES[reason].passes;

/** The stream to KMS could not be opened; the text is for the operator. */
export class KmsConnectionError extends Error {
  readonly reason: "unreachable" | "untrusted_server" | "timed_out";

  constructor(reason: KmsConnectionError["reason"], message: string) {
    super(message);
    this.name = "KmsConnectionError";
    this.reason = reason;
  }
}

interface Rule {
  readonly code: ErrorCode;
  readonly passes: boolean;
  readonly advice: string;
}

const RULES = {
  access_denied: {
    code: "bad_request",
    passes: false,
    advice:
      "check the key policy (its PCR conditions against this image's measurements, its encryption context) and the role's own policy",
  },
  invalid_ciphertext: {
    code: "bad_request",
    passes: false,
    advice:
      "check that the bundle was sealed for this group, store, generation and authority (encryption context), and is whole",
  },
  incorrect_key: {
    code: "bad_request",
    passes: false,
    advice: "check that the bundle was sealed under the KMS key that the configuration names",
  },
  key_disabled: { code: "bad_request", passes: false, advice: "check the key's state: it must be enabled" },
  no_such_key: { code: "bad_request", passes: false, advice: "check the key ARN and its region" },
  credentials_expired: { code: "unavailable", passes: false, advice: "the parent must hand in fresh credentials" },
  credentials_refused: {
    code: "unavailable",
    passes: false,
    advice: "check the parent's role, and the clocks: a signature holds five minutes",
  },
  request_refused: {
    code: "bad_request",
    passes: false,
    advice:
      "check the attestation document (its certificates are short-lived) and the key's type: symmetric, for encryption",
  },
  throttled: { code: "unavailable", passes: true, advice: "check the account's request quota of KMS" },
  server_error: { code: "unavailable", passes: true, advice: "KMS has a fault of its own; try again later" },
  unreachable: {
    code: "unavailable",
    passes: true,
    advice: "check the egress proxy of the parent and its route to KMS",
  },
  untrusted_server: {
    code: "protocol_violation",
    passes: false,
    advice: "check the endpoint and its CA, and that nothing on the way ends TLS",
  },
  timed_out: {
    code: "deadline_exceeded",
    passes: true,
    advice: "check the egress proxy of the parent and its route to KMS",
  },
  bad_answer: {
    code: "protocol_violation",
    passes: false,
    advice: "check that the endpoint is AWS KMS in the key's own account and supports Recipient",
  },
} as const satisfies Record<KmsReason, Rule>;

/** Names of errors (AWS KMS API reference, common errors and those of Decrypt and GenerateDataKey). */
const REASONS: ReadonlyMap<string, KmsReason> = new Map([
  ["AccessDeniedException", "access_denied"],
  ["InvalidCiphertextException", "invalid_ciphertext"],
  ["IncorrectKeyException", "incorrect_key"],
  ["DisabledException", "key_disabled"],
  ["KMSInvalidStateException", "key_disabled"],
  ["NotFoundException", "no_such_key"],
  ["InvalidArnException", "no_such_key"],
  ["ExpiredTokenException", "credentials_expired"],
  ["UnrecognizedClientException", "credentials_refused"],
  ["InvalidSignatureException", "credentials_refused"],
  ["IncompleteSignature", "credentials_refused"],
  ["InvalidClientTokenId", "credentials_refused"],
  ["MissingAuthenticationTokenException", "credentials_refused"],
  ["NotAuthorized", "credentials_refused"],
  ["OptInRequired", "credentials_refused"],
  ["RequestExpired", "credentials_refused"],
  ["ThrottlingException", "throttled"],
  ["LimitExceededException", "throttled"],
  ["KeyUnavailableException", "server_error"],
  ["DependencyTimeoutException", "server_error"],
  ["KMSInternalException", "server_error"],
]);

const STATUS_CLIENT_ERROR = 400;
const STATUS_SERVER_ERROR = 500;
const STATUS_TOO_MANY = 429;
const TEXT_CHARACTERS_MAX = 400;

/** What the SDK puts on the errors of a service. */
interface ServiceFailure {
  readonly name: string;
  readonly message: string;
  readonly $metadata?: { readonly httpStatusCode?: number; readonly clockSkewCorrected?: boolean };
}

/** The failure of one attempt. `passing` says whether another may do better. */
export interface AttemptFailure {
  readonly error: KmsError;
  readonly passing: boolean;
}

/** Makes of whatever an attempt threw one error with its reason; what is no failure of KMS is thrown again. */
export const toAttemptFailure = (thrown: unknown): AttemptFailure => {
  if (thrown instanceof KmsError) return { error: thrown, passing: isPassing(thrown.reason) };
  if (thrown instanceof SignerError) throw thrown;
  if (thrown instanceof KmsConnectionError) return failed(thrown.reason, thrown.message);
  const failure = thrown as ServiceFailure & { readonly code?: unknown };
  const status = failure.$metadata?.httpStatusCode;
  if (status === undefined || typeof failure.name !== "string") return failed("unreachable", describe(failure));
  const reason = REASONS.get(failure.name) ?? reasonOfStatus(status);
  const text = reason === "access_denied" ? `: ${printable(failure.message)}` : "";
  const { error, passing } = failed(reason, `${printable(failure.name)} (HTTP ${status})${text}`);
  // The SDK learnt the difference of the clocks from the answer's date; the next signature will hold.
  return { error, passing: passing || failure.$metadata?.clockSkewCorrected === true };
};

/** An error with its advice. */
export const kmsError = (reason: KmsReason, what: string): KmsError =>
  new KmsError(reason, `KMS: ${what}; ${RULES[reason].advice}`);

const failed = (reason: KmsReason, what: string): AttemptFailure => ({
  error: kmsError(reason, what),
  passing: isPassing(reason),
});

const reasonOfStatus = (status: number): KmsReason => {
  if (status < STATUS_CLIENT_ERROR) return "bad_answer"; // it came, and could not be parsed
  if (status === STATUS_TOO_MANY) return "throttled";
  return status >= STATUS_SERVER_ERROR ? "server_error" : "request_refused";
};

/** Of an error of Node or of the SDK's parsers only its code: texts of parsers quote what they parsed. */
const describe = ({ code }: { readonly code?: unknown }): string =>
  typeof code === "string" ? `the connection broke (${printable(code)})` : "the answer was cut short or is not KMS's";

const printable = (text: unknown): string =>
  String(text ?? "")
    .replace(/[^\x20-\x7e]+/g, " ")
    .slice(0, TEXT_CHARACTERS_MAX);
