/**
 * `GET /api/v1/enclaves` and `GET /api/v1/enclaves/{cid}/attestation?nonce=0x…`: who signs here, and the enclave's own
 * proof of what it is. The document is passed on as it is; whoever asked verifies it (`testudo attest verify --url`).
 */

import type { FastifyInstance } from "fastify";
import type { Pool } from "#pool-manager/pool-port.ts";
import { quote } from "#protocol/bytes.ts";
import { SignerError } from "#protocol/errors.ts";
import { ATTEST_NONCE_BYTES } from "#protocol/messages/attest.ts";
import { HttpRefusal, JSON_TYPE } from "./errors.ts";
import { refuseOtherMethods } from "./routes.ts";

const LIST_PATH = "/api/v1/enclaves";
const ATTESTATION_PATH = "/api/v1/enclaves/:cid/attestation";
const DOCUMENT_TYPE = "application/octet-stream";
const NONCE = new RegExp(`^0x(?:[0-9a-f]{2}){${ATTEST_NONCE_BYTES.min},${ATTEST_NONCE_BYTES.max}}$`, "i");
/** A document takes some ms; a real NSM that is slower than this is broken. */
const TIMEOUT_MS = 2_000;
/** Documents that a gateway asks for: an operator's check of all enclaves at once, and then a few each second. */
const BURST = 16;
const PER_SECOND = 4;

/** What the routes need. */
export interface EnclavesModules {
  readonly pool: Pick<Pool, "view" | "attest">;
  /** Monotonic clock in milliseconds. */
  readonly now: () => number;
}

/** Adds the routes. */
export const registerEnclaves = (app: FastifyInstance, { pool, now }: EnclavesModules): void => {
  const admit = createRateLimit(now);
  app.get(LIST_PATH, async (_request, reply) => {
    void reply.type(JSON_TYPE);
    return JSON.stringify(
      pool.view().members.map(({ cid, state, status }) => ({ cid, state, keys: status?.keys ?? 0 })),
    );
  });
  app.get(ATTESTATION_PATH, async (request, reply) => {
    const nonce = parseNonce((request.query as { nonce?: unknown }).nonce);
    const { cid: text } = request.params as { cid: string };
    const member = pool.view().members.find(({ cid }) => String(cid) === text);
    if (member === undefined) throw new HttpRefusal("unknown_enclave");
    admit();
    const outcome = await pool.attest({ cid: member.cid, nonce, timeoutMs: TIMEOUT_MS });
    if (outcome.kind === "development") throw new HttpRefusal("not_attested");
    void reply.type(DOCUMENT_TYPE).header("cache-control", "no-store");
    return Buffer.from(outcome.document);
  });
  refuseOtherMethods(app, LIST_PATH, ["GET"]);
  refuseOtherMethods(app, ATTESTATION_PATH, ["GET"]);
};

const parseNonce = (nonce: unknown): Uint8Array => {
  if (typeof nonce === "string" && NONCE.test(nonce)) return new Uint8Array(Buffer.from(nonce.slice(2), "hex"));
  const { min, max } = ATTEST_NONCE_BYTES;
  throw new SignerError(
    "bad_request",
    `nonce: expected 0x and ${min}..${max} random bytes in hex, got ${quote(nonce)}`,
  );
};

/** A bucket of tokens. @returns takes one, or throws SignerError `overloaded` */
const createRateLimit = (now: () => number): (() => void) => {
  let tokens = BURST;
  let filledAt = now();
  return () => {
    const at = now();
    tokens = Math.min(BURST, tokens + ((at - filledAt) / 1000) * PER_SECOND);
    filledAt = at;
    if (tokens < 1)
      throw new SignerError("overloaded", `attestation: expected at most ${PER_SECOND} requests a second`);
    tokens -= 1;
  };
};
