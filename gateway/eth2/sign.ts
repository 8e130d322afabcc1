/**
 * `POST /api/v1/eth2/sign/{identifier}` of the Web3Signer API. The gateway passes the body on byte for byte: the
 * enclave parses it, and only the enclave decides.
 */

import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import type { Pool } from "#pool-manager/pool-port.ts";
import { toHex } from "#protocol/bytes.ts";
import { assertNever, SignerError } from "#protocol/errors.ts";
import type { Logger } from "#protocol/log.ts";
import type { SignOutcome } from "#protocol/messages/sign.ts";
import { isSlashable, type SigningType } from "#protocol/signing/types.ts";
import type { Admission, Ticket } from "../admission.ts";
import type { AuditLog, Refused } from "../audit-log.ts";
import type { GatewayConfig } from "../config.ts";
import { HttpRefusal, JSON_TYPE, TEXT_TYPE, toFailure, writeDenied } from "../errors.ts";
import { createLimitedLog, type LimitedLog } from "../limited-log.ts";
import type { GatewayMetrics } from "../metrics.ts";
import { acceptsJson } from "../negotiation.ts";
import { refuseOtherMethods } from "../routes.ts";
import { parseIdentifier } from "./identifier.ts";
import { sniffType } from "./type-hint.ts";

/** What signing needs. */
export interface SignModules {
  readonly pool: Pool;
  readonly metrics: GatewayMetrics;
  readonly admission: Admission;
  readonly logger: Logger;
  /** Refusals are written down here; absent: only in the log. */
  readonly audit?: AuditLog | undefined;
  /** Monotonic clock in milliseconds. */
  readonly now: () => number;
}

type SignSettings = Pick<GatewayConfig, "bodyBytesMax" | "signTimeoutMs">;
type SignRequest = FastifyRequest<{ Params: { identifier: string } }>;

const PATH = "/api/v1/eth2/sign/:identifier";
const TICKET = "admissionTicket";
const STARTED = "signStartedMs";
/**
 * Lines a second about refusals: more than a fleet of honest clients causes, and a client that repeats a refused request as
 * fast as it can must not push everything else out of the log. Metrics count all of them, the audit log has each.
 */
const REFUSAL_LINES_MAX = 10;

/** Adds the route. */
export const registerSign = (app: FastifyInstance, options: { config: SignSettings; modules: SignModules }): void => {
  const { config, modules } = options;
  const { admission, metrics, now, logger } = modules;
  const refusals = createLimitedLog({
    linesMax: REFUSAL_LINES_MAX,
    write: (fields) => logger.warn("signing refused", fields),
    writeSuppressed: (fields) => logger.warn("more signing refused, see metrics and audit log", fields),
  });
  app.addHook("onClose", async () => refusals.close());
  app.decorateRequest(TICKET, null);
  app.decorateRequest(STARTED, null);
  app.route<{ Params: { identifier: string } }>({
    method: "POST",
    url: PATH,
    bodyLimit: config.bodyBytesMax,
    onRequest: (request, reply, done) => {
      const ticket = admission.enter(announcedBytes(request, config.bodyBytesMax));
      if (ticket === undefined) return done(new SignerError("overloaded", "too many requests in flight"));
      request.setDecorator(TICKET, ticket);
      reply.raw.once("close", ticket.release); // also when the client left
      done();
    },
    preValidation: (request, _reply, done) => {
      request.getDecorator<Ticket>(TICKET).resize(bodyOf(request).length);
      done();
    },
    onError: async (request, _reply, error) => {
      if (error instanceof HttpRefusal) return; // no signing request yet
      if (error instanceof SignerError && error.code === "store_suspect") {
        modules.audit?.record(refusedOf(request, { rule: error.code, detail: error.detail }));
      }
      const startedMs = request.getDecorator<number | null>(STARTED);
      metrics.recordSign({
        type: sniffType(bodyOf(request)),
        outcome: toFailure(error).code,
        ...(startedMs === null ? {} : { seconds: (now() - startedMs) / 1000 }),
      });
    },
    handler: async (request, reply) => {
      const startedMs = now();
      request.setDecorator(STARTED, startedMs);
      const body = bodyOf(request);
      const pubkey = parseIdentifier(request.params.identifier);
      if (body.length === 0) throw new SignerError("bad_request", "body: expected JSON, got nothing");
      const type = sniffType(body);
      const outcome = await signHeld(request, { pubkey, body, type }, { config, modules });
      metrics.recordSign({ type, outcome: outcome.kind, seconds: (now() - startedMs) / 1000 });
      return answer(request, reply, { outcome, refusals, audit: modules.audit });
    },
  });
  refuseOtherMethods(app, PATH, ["POST"]);
};

/** Asks the pool; the request's place stays taken until the pool has answered, even when the client is gone. */
const signHeld = async (
  request: SignRequest,
  command: { pubkey: Uint8Array; body: Buffer; type: SigningType | undefined },
  { config, modules }: { config: SignSettings; modules: SignModules },
): Promise<SignOutcome> => {
  const ticket = request.getDecorator<Ticket>(TICKET);
  ticket.hold();
  try {
    return await modules.pool.sign({
      pubkey: command.pubkey,
      body: command.body,
      slashable: command.type === undefined || isSlashable(command.type),
      timeoutMs: config.signTimeoutMs,
    });
  } finally {
    ticket.release();
  }
};

const answer = (
  request: SignRequest,
  reply: FastifyReply,
  { outcome, refusals, audit }: { outcome: SignOutcome; refusals: LimitedLog; audit: AuditLog | undefined },
): string => {
  switch (outcome.kind) {
    case "signed": {
      const signatureHex = toHex(outcome.signature);
      if (!acceptsJson(request.headers.accept)) {
        void reply.type(TEXT_TYPE);
        return signatureHex;
      }
      void reply.type(JSON_TYPE);
      return `{"signature":"${signatureHex}"}`;
    }
    case "denied": {
      const { rule, detail } = outcome;
      const refused = refusedOf(request, { rule, detail });
      refusals.write({ ...refused });
      audit?.record(refused);
      return writeDenied(reply, `Signing refused by rule ${rule}: ${detail}`);
    }
    default:
      return assertNever(outcome);
  }
};

const refusedOf = (request: SignRequest, { rule, detail }: Pick<Refused, "rule" | "detail">): Refused => ({
  requestId: request.id,
  identifier: request.params.identifier.toLowerCase(),
  type: sniffType(bodyOf(request)) ?? "unknown",
  rule,
  detail,
});

const bodyOf = (request: FastifyRequest): Buffer => (Buffer.isBuffer(request.body) ? request.body : EMPTY);
const EMPTY = Buffer.alloc(0);

/** Bytes that a request may make us hold until its body is read: what it announces, or the most when it announces nothing. */
const announcedBytes = ({ headers }: FastifyRequest, bodyBytesMax: number): number => {
  if (headers["transfer-encoding"] !== undefined) return bodyBytesMax;
  return Math.min(Number(headers["content-length"] ?? 0), bodyBytesMax);
};
