/**
 * `GET /upcheck`: whether this signer can sign now. Truthful, unlike Web3Signer's, which says OK before keys are loaded
 * (web3signer#715, #751): load balancers and validator clients act on it.
 */

import type { FastifyInstance } from "fastify";
import type { PoolView } from "#pool-manager/pool-port.ts";
import { SignerError } from "#protocol/errors.ts";
import { HttpRefusal, JSON_TYPE, TEXT_TYPE } from "../errors.ts";
import { preferredType } from "../negotiation.ts";
import { refuseOtherMethods } from "../routes.ts";

/** What the check asks. */
export interface UpcheckModules {
  readonly view: () => PoolView;
  readonly isDraining: () => boolean;
}

const PATH = "/upcheck";
/** Text first: it is the answer without a preference. Lodestar and Nimbus ask for JSON. */
const OFFERS = ["text/plain", "application/json"] as const;

/** Adds the route. */
export const registerUpcheck = (app: FastifyInstance, modules: UpcheckModules): void => {
  app.get(PATH, async (request, reply) => {
    const type = preferredType(request.headers.accept, OFFERS);
    if (type === undefined) throw new HttpRefusal("not_acceptable");
    const problem = modules.isDraining() ? "the gateway is shutting down" : unreadiness(modules.view());
    if (problem !== undefined) throw new SignerError("unavailable", problem);
    void reply.type(type === "text/plain" ? TEXT_TYPE : JSON_TYPE);
    return type === "text/plain" ? "OK" : '{"status":"OK"}';
  });
  refuseOtherMethods(app, PATH, ["GET"]);
};

/** Why nothing can be signed; undefined when something can. */
const unreadiness = (view: PoolView): string | undefined => {
  if (!view.members.some(({ state }) => state === "ready")) return "no enclave is ready";
  if (view.publicKeys === undefined) return "the list of keys is not known yet";
  return undefined;
};
