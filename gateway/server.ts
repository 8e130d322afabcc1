/**
 * The gateway put together: the Web3Signer API on one listener, metrics on another, both over a pool that somebody else
 * owns.
 */

import { randomBytes } from "node:crypto";
import type { AddressInfo } from "node:net";
import type { Pool } from "#pool-manager/pool-port.ts";
import type { Logger } from "#protocol/log.ts";
import { createAdmission } from "./admission.ts";
import type { AuditLog } from "./audit-log.ts";
import type { GatewayConfig } from "./config.ts";
import { registerEnclaves } from "./enclaves.ts";
import { registerPublicKeys } from "./eth2/public-keys.ts";
import { registerSign } from "./eth2/sign.ts";
import { createHttpApp } from "./http-app.ts";
import { toListenFailure, toUrl } from "./listening.ts";
import { createMetrics } from "./metrics.ts";
import { createMetricsListener } from "./metrics-listener.ts";
import { registerReload } from "./reload.ts";
import { registerHealthcheck } from "./status/healthcheck.ts";
import { registerUpcheck } from "./status/upcheck.ts";

/** What a gateway works with; none of it is closed by the gateway. */
export interface GatewayModules {
  readonly pool: Pool;
  readonly logger: Logger;
  /** Refusals are written down here; absent: only in the log. */
  readonly audit?: AuditLog | undefined;
  /** Monotonic clock in milliseconds (`performance.now`). */
  readonly now: () => number;
}

/** Where a gateway listens. */
export interface GatewayAddresses {
  /** `http://127.0.0.1:9000` */
  readonly url: string;
  /** Base of `/metrics`; undefined when metrics are disabled. */
  readonly metricsUrl?: string;
}

/** A gateway. */
export interface Gateway {
  /**
   * Takes connections from now on. A failure closes what was opened.
   * @throws SignerError `unavailable` saying what to do about a port that cannot be opened
   */
  listen(): Promise<GatewayAddresses>;
  /**
   * Takes no new connection, answers what is in flight within `drainTimeoutMs`, closes idle connections, then
   * everything else.
   */
  drain(): Promise<void>;
  /** Cuts all connections and closes everything. */
  close(): Promise<void>;
}

/** Makes a gateway that does not listen yet. */
export const createGateway = (config: GatewayConfig, modules: GatewayModules): Gateway => {
  const { pool, logger } = modules;
  let draining = false;
  let closed: Promise<void> | undefined;
  const isDraining = (): boolean => draining;
  const view = (): ReturnType<Pool["view"]> => pool.view();

  const admission = createAdmission(config);
  const metrics = createMetrics({ view, inFlight: admission.inFlight });
  const metricsListener = config.metricsEnabled ? createMetricsListener(config, { metrics, logger }) : undefined;
  const app = createHttpApp(config, { logger, isDraining, nextRequestId: createRequestIds() });
  registerSign(app, { config, modules: { ...modules, metrics, admission } });
  registerPublicKeys(app, { pool });
  registerReload(app, { pool });
  registerEnclaves(app, { pool, now: modules.now });
  registerUpcheck(app, { view, isDraining });
  registerHealthcheck(app, { view });

  /** Ends once, however often and in whatever order it is asked to. */
  const end = (): Promise<void> => {
    draining = true;
    app.server.close(); // at once; Fastify does so only after its own hooks
    closed ??= app
      .close()
      .then(() => metricsListener?.close())
      .finally(metrics.close);
    return closed;
  };

  const close = (): Promise<void> => {
    const ended = end();
    app.server.closeAllConnections();
    return ended;
  };

  const drain = async (): Promise<void> => {
    const cut = setTimeout(() => app.server.closeAllConnections(), config.drainTimeoutMs);
    try {
      await end();
    } finally {
      clearTimeout(cut);
    }
  };

  const listenApp = async (): Promise<void> => {
    const { host, port } = config;
    try {
      await app.listen({ host, port });
    } catch (error) {
      throw toListenFailure(error, { host, port, hostOption: "--host", portOption: "--port" });
    }
  };

  const listen = async (): Promise<GatewayAddresses> => {
    try {
      await listenApp();
      const url = toUrl(app.server.address() as AddressInfo);
      return metricsListener === undefined ? { url } : { url, metricsUrl: await metricsListener.listen() };
    } catch (error) {
      await close();
      throw error;
    }
  };

  return { listen, drain, close };
};

/** Makes a gateway, listens and says so in the log: what a `main.ts` calls. */
export const startGateway = async (
  config: GatewayConfig,
  modules: GatewayModules,
): Promise<GatewayAddresses & Pick<Gateway, "drain" | "close">> => {
  const gateway = createGateway(config, modules);
  const addresses = await gateway.listen();
  modules.logger.info("gateway listening", { ...addresses });
  return { ...addresses, drain: gateway.drain, close: gateway.close };
};

/** Ids that differ between processes (random prefix) and requests (counter). */
const createRequestIds = (): (() => string) => {
  const prefix = randomBytes(4).toString("hex");
  let count = 0;
  return () => {
    count += 1;
    return `${prefix}-${count.toString(36)}`;
  };
};
