/** `GET /metrics` on a listener of its own, so that scrapers need no access to the signing API. */

import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { Logger } from "#protocol/log.ts";
import type { GatewayConfig } from "./config.ts";
import { answerParserError, HttpRefusal, toFailure, writeFailure } from "./errors.ts";
import { createHostCheck } from "./host-allowlist.ts";
import { toListenFailure, toUrl } from "./listening.ts";
import type { GatewayMetrics } from "./metrics.ts";

/** The listener; it takes no connection before `listen`. */
export interface MetricsListener {
  /** Answers its URL. @throws SignerError `unavailable` */
  listen(): Promise<string>;
  close(): Promise<void>;
}

/** Scrapers at once; there are one or two. */
const CONNECTIONS_MAX = 32;
const REQUEST_TIMEOUT_MS = 5_000;
const CHECK_INTERVAL_MS = 1_000;

/** Makes the listener. */
export const createMetricsListener = (
  config: Pick<GatewayConfig, "metricsHost" | "metricsPort" | "metricsHostAllowlist">,
  { metrics, logger }: { metrics: GatewayMetrics; logger: Logger },
): MetricsListener => {
  const isHostAllowed = createHostCheck(config.metricsHostAllowlist, config.metricsHost);

  const handle = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    if (!isHostAllowed(request.headers.host)) throw new HttpRefusal("host_not_authorized");
    if (request.url?.split("?")[0] !== "/metrics") throw new HttpRefusal("unknown_path");
    if (request.method !== "GET" && request.method !== "HEAD") throw new HttpRefusal("method_not_allowed");
    const body = await metrics.text();
    response.writeHead(200, { "content-type": metrics.contentType, "content-length": Buffer.byteLength(body) });
    response.end(request.method === "HEAD" ? undefined : body);
  };

  const server = createServer(
    {
      requestTimeout: REQUEST_TIMEOUT_MS,
      headersTimeout: REQUEST_TIMEOUT_MS,
      connectionsCheckingInterval: CHECK_INTERVAL_MS,
    },
    (request, response) => {
      handle(request, response).catch((error: unknown) => {
        const failure = toFailure(error);
        if (failure.status === 500) logger.error("metrics failed", { stack: (error as Error).stack });
        writeFailure(request, response, failure);
      });
    },
  );
  server.maxConnections = CONNECTIONS_MAX;
  server.on("clientError", answerParserError);

  const listen = (): Promise<string> =>
    new Promise((resolve, reject) => {
      const { metricsHost: host, metricsPort: port } = config;
      const onError = (error: Error): void =>
        reject(toListenFailure(error, { host, port, hostOption: "--metrics-host", portOption: "--metrics-port" }));
      server.once("error", onError);
      server.listen({ host, port }, () => {
        server.removeListener("error", onError);
        resolve(toUrl(server.address() as AddressInfo));
      });
    });

  const close = (): Promise<void> =>
    new Promise((resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
    });

  return { listen, close };
};
