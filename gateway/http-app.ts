/**
 * The HTTP server without its routes: limits, time-outs, the checks that come before every route, and the form of every
 * failure.
 */

import type { FastifyInstance, FastifyRequest } from "fastify";
import { fastify } from "fastify";
import type { Logger } from "#protocol/log.ts";
import type { GatewayConfig } from "./config.ts";
import { answerParserError, createErrorHandler, HttpRefusal } from "./errors.ts";
import { createHostCheck } from "./host-allowlist.ts";

/** What the server needs. */
export interface HttpAppModules {
  readonly logger: Logger;
  /** Whether every answer shall end its connection. */
  readonly isDraining: () => boolean;
  /** Makes the id of a request; ids of clients are not taken. */
  readonly nextRequestId: () => string;
}

/** How often Node looks for requests that came too slowly; its default of 30 s would make our time-outs meaningless. */
const CHECK_INTERVAL_MS = 1_000;
/** Longest path parameter that is routed: a public key has 98 characters. */
const PARAMETER_LENGTH_MAX = 256;

/** Makes the server; routes come next. */
export const createHttpApp = (config: GatewayConfig, modules: HttpAppModules): FastifyInstance => {
  const onError = createErrorHandler(modules.logger);
  const app = fastify({
    bodyLimit: config.bodyBytesMax,
    requestTimeout: config.requestTimeoutMs,
    connectionTimeout: config.connectionTimeoutMs,
    keepAliveTimeout: config.keepAliveTimeoutMs,
    http: {
      requestTimeout: config.requestTimeoutMs,
      headersTimeout: config.requestTimeoutMs,
      connectionsCheckingInterval: CHECK_INTERVAL_MS,
    },
    routerOptions: { maxParamLength: PARAMETER_LENGTH_MAX },
    // A request that is already on an open connection is a duty: it is answered, and then the connection ends.
    return503OnClosing: false,
    genReqId: modules.nextRequestId,
    frameworkErrors: (error, request, reply) => onError(error, request as FastifyRequest, reply),
    clientErrorHandler: answerParserError,
  });
  app.server.maxConnections = config.connectionsMax;
  // Bodies stay bytes, whatever type they claim to be: only the enclave parses them.
  app.removeAllContentTypeParsers();
  app.addContentTypeParser("*", { parseAs: "buffer" }, (_request, body, done) => done(null, body));
  app.setErrorHandler(onError);
  app.setNotFoundHandler(() => {
    throw new HttpRefusal("unknown_path");
  });
  addGuards(app, config, modules);
  return app;
};

const addGuards = (app: FastifyInstance, config: GatewayConfig, { isDraining }: HttpAppModules): void => {
  const isHostAllowed = createHostCheck(config.hostAllowlist, config.host);
  app.addHook("onRequest", (request, reply, done) => {
    void reply.header("x-request-id", request.id);
    if (!isHostAllowed(request.headers.host)) return done(new HttpRefusal("host_not_authorized"));
    // Only browsers send it, and a page must not make an operator's browser ask for signatures.
    if (request.headers.origin !== undefined) return done(new HttpRefusal("origin_not_authorized"));
    if (request.is404) return done(new HttpRefusal("unknown_path")); // before its body is read
    done();
  });
  app.addHook("onSend", (_request, reply, payload, done) => {
    if (isDraining()) void reply.header("connection", "close");
    done(null, payload);
  });
};
