/** `POST /reload` and `GET /reload` of the Web3Signer API: reads the key sources again, in the background. */

import type { FastifyInstance } from "fastify";
import type { Pool } from "#pool-manager/pool-port.ts";
import { JSON_TYPE } from "./errors.ts";
import { refuseOtherMethods } from "./routes.ts";

const PATH = "/reload";
/** Longest body that is read and ignored; clients send none. */
const BODY_BYTES_MAX = 1024;

/** Web3Signer's texts; `code` since 26.9, `status` before. */
const ANSWERS = {
  accepted: {
    code: 202,
    status: "accepted",
    message: "Reload operation accepted and is running in the background. Use GET /reload to check status.",
  },
  running: {
    code: 409,
    status: "error",
    message: "A reload operation is already in progress. Please try again later.",
  },
} satisfies Record<Awaited<ReturnType<Pool["reload"]>>, unknown>;

/** Adds the routes. */
export const registerReload = (app: FastifyInstance, { pool }: { pool: Pool }): void => {
  app.post(PATH, { bodyLimit: BODY_BYTES_MAX }, async (_request, reply) => {
    const answer = ANSWERS[await pool.reload()];
    void reply.code(answer.code).type(JSON_TYPE);
    return JSON.stringify(answer);
  });
  app.get(PATH, async (_request, reply) => {
    const { status, lastOperationTime, lastError } = await pool.reloadStatus();
    void reply.type(JSON_TYPE);
    return JSON.stringify({ status, lastOperationTime, lastError });
  });
  refuseOtherMethods(app, PATH, ["GET", "POST"]);
};
