/**
 * `GET /api/v1/eth2/publicKeys`: the keys that this signer holds. Lodestar drops keys that vanish from this list and
 * Teku ends when it cannot have it, so it is never empty by accident: 503 until it is known, the last known after that.
 */

import type { FastifyInstance } from "fastify";
import type { Pool } from "#pool-manager/pool-port.ts";
import { SignerError } from "#protocol/errors.ts";
import { JSON_TYPE } from "../errors.ts";
import { refuseOtherMethods } from "../routes.ts";

const PATH = "/api/v1/eth2/publicKeys";

/** Adds the route. */
export const registerPublicKeys = (app: FastifyInstance, { pool }: { pool: Pool }): void => {
  const listBody = createListBody(pool);
  app.get(PATH, async (_request, reply) => {
    const body = listBody();
    if (body === undefined) throw new SignerError("unavailable", "the list of keys is not known yet");
    void reply.type(JSON_TYPE);
    return body;
  });
  refuseOtherMethods(app, PATH, ["GET"]);
};

/** The serialised list, made anew only when the pool's list is another one: 10,000 keys are 1 MB. */
const createListBody = (pool: Pool): (() => Buffer | undefined) => {
  let serialised: { keys: readonly string[]; body: Buffer } | undefined;
  return () => {
    const keys = pool.view().publicKeys;
    if (keys !== undefined && keys !== serialised?.keys) {
      serialised = { keys, body: Buffer.from(JSON.stringify(keys)) };
    }
    return serialised?.body;
  };
};
