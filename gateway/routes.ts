/** Helpers for registering routes. */

import type { FastifyInstance, HTTPMethods } from "fastify";
import { HttpRefusal } from "./errors.ts";

/** Every method that a client may try; Fastify answers HEAD wherever it answers GET. */
const METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] as const satisfies readonly HTTPMethods[];

/** Answers 405 with `Allow` to all methods of a path but the allowed ones; Fastify alone would say 404. */
export const refuseOtherMethods = (
  app: FastifyInstance,
  url: string,
  allowed: readonly (typeof METHODS)[number][],
): void => {
  app.route({
    method: METHODS.filter((method) => !allowed.includes(method)),
    url,
    // Before the body is read.
    onRequest: (_request, reply, done) => {
      void reply.header("allow", allowed.join(", "));
      done(new HttpRefusal("method_not_allowed"));
    },
    handler: () => undefined,
  });
};
