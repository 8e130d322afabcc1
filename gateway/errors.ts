/**
 * How failures look to a client: the only place with HTTP statuses of failures. Every body is
 * `{"code", "message", "error"}` in JSON: Web3Signer ≥ 26.9 has the first two, Nimbus reads the third.
 */

import type { IncomingMessage, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { FastifyReply, FastifyRequest } from "fastify";
import { type ErrorCode, SignerError } from "#protocol/errors.ts";
import type { Logger } from "#protocol/log.ts";

/** Content type of every JSON answer. */
export const JSON_TYPE = "application/json; charset=utf-8";
/** Content type of every plain answer. */
export const TEXT_TYPE = "text/plain; charset=utf-8";

/** HTTP status of each failure code. 400 is never asked again by clients, 503 is. */
const STATUS_OF = {
  bad_request: 400,
  unknown_key: 404,
  overloaded: 503,
  unavailable: 503,
  deadline_exceeded: 503,
  unknown_outcome: 503,
  connection_lost: 503,
  protocol_violation: 500,
  store_suspect: 503,
  internal: 500,
} satisfies Record<ErrorCode, number>;

/** Refusals that only HTTP knows. */
const REFUSALS = {
  host_not_authorized: { status: 403, message: "Host not authorized." },
  origin_not_authorized: { status: 403, message: "Origin not authorized." },
  unknown_enclave: { status: 404, message: "No enclave has this CID (GET /api/v1/enclaves)." },
  not_attested: {
    status: 501,
    message: "This enclave runs in development mode: its parent knows the keys, so nothing can be attested.",
  },
  unknown_path: { status: 404, message: "No such path." },
  method_not_allowed: { status: 405, message: "Method not allowed." },
  not_acceptable: { status: 406, message: "Expected Accept to allow text/plain or application/json." },
} as const;

/** Status of a rule's refusal to sign, as Web3Signer's. */
const STATUS_DENIED = 412;

/** Statuses of requests that Node's parser gave up on. */
const PARSER_STATUS: Readonly<Record<string, number>> = { HPE_HEADER_OVERFLOW: 431, ERR_HTTP_REQUEST_TIMEOUT: 408 };
const REASON_OF: Readonly<Record<number, string>> = {
  400: "Bad Request",
  408: "Request Timeout",
  431: "Request Header Fields Too Large",
};

/** Seconds after which a client may ask again (`Retry-After`): a replaced enclave or a burst takes about that long. */
const RETRY_AFTER_SECONDS = "1";
const INTERNAL_MESSAGE = "Internal error.";

/** One of the refusals that only HTTP knows. */
export type RefusalKind = keyof typeof REFUSALS;

/** A request that HTTP itself refuses. */
export class HttpRefusal extends Error {
  readonly kind: RefusalKind;

  constructor(kind: RefusalKind) {
    super(REFUSALS[kind].message);
    this.name = "HttpRefusal";
    this.kind = kind;
  }
}

/** A failure as the client sees it. */
export interface Failure {
  /** HTTP status, 4xx or 5xx */
  readonly status: number;
  /** safe to show */
  readonly message: string;
  /** the code by which it is counted */
  readonly code: ErrorCode;
}

/** Turns anything thrown into what the client may see of it; an unknown error shows nothing of itself. */
export const toFailure = (error: unknown): Failure => {
  if (error instanceof SignerError) {
    const message = error.code === "internal" ? INTERNAL_MESSAGE : error.detail;
    return { status: STATUS_OF[error.code], message, code: error.code };
  }
  if (error instanceof HttpRefusal) {
    return { status: REFUSALS[error.kind].status, message: error.message, code: "bad_request" };
  }
  const { statusCode, code, message } = error as { statusCode?: unknown; code?: unknown; message?: unknown };
  if (typeof statusCode === "number" && statusCode >= 400 && statusCode < 500) {
    // Fastify's own texts name the request's fault; those of a broken stream name ours.
    const known = typeof code === "string" && code.startsWith("FST_");
    return {
      status: statusCode,
      message: known ? String(message) : "The body could not be read.",
      code: "bad_request",
    };
  }
  return { status: STATUS_OF.internal, message: INTERNAL_MESSAGE, code: "internal" };
};

/** The body of a failure. */
const failureBody = (status: number, message: string): string =>
  JSON.stringify({ code: status, message, error: message });

/** Makes the error handler of a Fastify server: answers, and logs what is our own fault. */
export const createErrorHandler =
  (logger: Logger) =>
  (error: unknown, request: FastifyRequest, reply: FastifyReply): void => {
    const failure = toFailure(error);
    if (failure.status === 500) {
      const { stack } = unwrap(error);
      logger.error("request failed", { requestId: request.id, code: failure.code, stack });
    } else {
      logger.debug("request refused", { requestId: request.id, status: failure.status, message: failure.message });
    }
    for (const [name, value] of failureHeaders(failure.status)) void reply.header(name, value);
    void reply.code(failure.status).type(JSON_TYPE).send(failureBody(failure.status, failure.message));
  };

/** Prepares the answer to a request that a rule refuses, and returns its body; denied is a value and no error. */
export const writeDenied = (reply: FastifyReply, message: string): string => {
  void reply.code(STATUS_DENIED).type(JSON_TYPE);
  return failureBody(STATUS_DENIED, message);
};

/** Answers a failure on a bare `node:http` response. */
export const writeFailure = (request: IncomingMessage, response: ServerResponse, failure: Failure): void => {
  const body = failureBody(failure.status, failure.message);
  response.writeHead(failure.status, {
    "content-type": JSON_TYPE,
    "content-length": Buffer.byteLength(body),
    ...Object.fromEntries(failureHeaders(failure.status)),
  });
  response.end(request.method === "HEAD" ? undefined : body);
};

/** Answers bytes that are no HTTP request, headers that are too long or a request that came too slowly; then closes. */
export const answerParserError = (error: Error & { code?: string }, socket: Socket): void => {
  if (error.code === "ECONNRESET" || socket.destroyed) return;
  const status = PARSER_STATUS[error.code ?? ""] ?? 400;
  const reason = REASON_OF[status] ?? "Bad Request";
  const body = failureBody(status, reason);
  const head = `HTTP/1.1 ${status} ${reason}\r\ncontent-type: ${JSON_TYPE}\r\ncontent-length: ${body.length}\r\nconnection: close`;
  if (socket.writable) socket.write(`${head}\r\n\r\n${body}`);
  socket.destroy();
};

const failureHeaders = (status: number): readonly (readonly [string, string])[] =>
  status === 503 ? [["retry-after", RETRY_AFTER_SECONDS]] : [];

/** The error that tells most: `toSignerError` keeps the unexpected one as its cause. */
const unwrap = (error: unknown): { stack: string } => {
  const inner = error instanceof SignerError && error.cause !== undefined ? error.cause : error;
  return { stack: inner instanceof Error ? (inner.stack ?? inner.message) : typeof inner };
};
