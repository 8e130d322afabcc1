/**
 * The closed set of ways in which an operation can fail. A refusal (slashing rule, policy) is not a failure: it is a
 * value of its own (`messages/sign.ts`). HTTP statuses are chosen in `gateway/errors.ts` and nowhere else.
 */

/** Every failure code, in wire order: append only, the index travels in frames (`frame.ts`). */
export const ERROR_CODES = [
  /** The request is malformed; asking again cannot help. */
  "bad_request",
  /** No such key in this enclave or pool. */
  "unknown_key",
  /** A bounded queue is full. */
  "overloaded",
  /** The part that is needed is not there now (no ready enclave, store unreachable, draining). */
  "unavailable",
  /** The caller's deadline passed before an answer came. Nothing was released. */
  "deadline_exceeded",
  /** The store did not say whether a record was written. Nothing was released. */
  "unknown_outcome",
  /** The connection broke while the request was in flight. */
  "connection_lost",
  /** A peer broke the frame or message format. */
  "protocol_violation",
  /** The slashing store showed data loss or tampering; slashable duties are refused until recovery. */
  "store_suspect",
  /** A defect. */
  "internal",
] as const;

/** One of {@link ERROR_CODES}. */
export type ErrorCode = (typeof ERROR_CODES)[number];

/** A failure with a code of the closed set; `detail` is safe to show to a client (never a secret, token or body). */
export class SignerError extends Error {
  readonly code: ErrorCode;
  readonly detail: string;

  constructor(code: ErrorCode, detail: string, options?: { cause?: unknown }) {
    super(`${code}: ${detail}`, options);
    this.name = "SignerError";
    this.code = code;
    this.detail = detail;
  }
}

/** Turns anything thrown into a {@link SignerError}; unknown errors become `internal` without their text. */
export const toSignerError = (error: unknown): SignerError =>
  error instanceof SignerError
    ? error
    : new SignerError("internal", "unexpected failure, see the log", { cause: error });

/** Makes a `switch` over a union complete at compile time and loud at run time. */
export const assertNever = (value: never): never => {
  throw new Error(`unreachable: ${String(value)}`);
};
