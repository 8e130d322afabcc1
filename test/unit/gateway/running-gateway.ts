/** A gateway that listens on free ports over a fake pool, and a client that sends exactly the headers it is told to. */

import { request as httpRequest, type IncomingHttpHeaders } from "node:http";
import { type GatewayConfig, parseGatewayConfig } from "#gateway/config.ts";
import { type GatewayModules, startGateway } from "#gateway/server.ts";
import type { LogFields, Logger } from "#protocol/log.ts";
import { createFakePool, type FakePool, PUBKEY_HEX } from "./fake-pool.ts";

/** A response, read to its end. */
export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

/** A gateway on free ports, its fake pool and its log. */
export interface RunningGateway {
  readonly url: string;
  readonly port: number;
  readonly metricsUrl: string;
  readonly pool: FakePool;
  readonly logged: { level: string; event: string; fields: LogFields }[];
  send(path: string, options?: SendOptions): Promise<Answer>;
  sign(body: string | Buffer, options?: SendOptions): Promise<Answer>;
  drain(): Promise<void>;
  close(): Promise<void>;
}

/** A request; default: GET without headers and body. */
export interface SendOptions {
  readonly method?: string;
  readonly headers?: Record<string, string>;
  readonly body?: string | Buffer;
}

/** Path that signs with the fake pool's key. */
export const SIGN_PATH = `/api/v1/eth2/sign/${PUBKEY_HEX}`;

/** Starts a gateway; its ports are free ones unless `overrides` say otherwise. */
export const runGateway = async (
  overrides: Partial<GatewayConfig> = {},
  modules: Partial<GatewayModules> = {},
): Promise<RunningGateway> => {
  const pool = createFakePool();
  const logged: RunningGateway["logged"] = [];
  const config = parseGatewayConfig({ port: 0, metricsPort: 0, ...overrides });
  const logger = recordingLogger(logged);
  const gateway = await startGateway(config, { pool, logger, now: () => performance.now(), ...modules });
  const send: RunningGateway["send"] = (path, options) => sendTo(`${gateway.url}${path}`, options);
  return {
    url: gateway.url,
    port: Number(new URL(gateway.url).port),
    metricsUrl: gateway.metricsUrl ?? "",
    pool,
    logged,
    send,
    sign: (body, options) => send(SIGN_PATH, { method: "POST", ...options, body }),
    drain: gateway.drain,
    close: gateway.close,
  };
};

/** One request on a connection of its own; node:http adds `Host`, `Connection` and the body's length, nothing else. */
export const sendTo = (url: string, { method = "GET", headers = {}, body }: SendOptions = {}): Promise<Answer> =>
  new Promise((resolve, reject) => {
    const length = body === undefined ? {} : { "content-length": Buffer.byteLength(body) };
    const request = httpRequest(url, { method, headers: { ...length, ...headers }, agent: false }, (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.on("error", reject);
      response.on("end", () =>
        resolve({
          status: response.statusCode ?? 0,
          headers: response.headers,
          body: Buffer.concat(chunks).toString("utf8"),
        }),
      );
    });
    request.on("error", reject);
    request.end(body);
  });

const recordingLogger = (logged: RunningGateway["logged"]): Logger => {
  const at =
    (level: string) =>
    (event: string, fields: LogFields = {}) =>
      void logged.push({ level, event, fields });
  return { debug: at("debug"), info: at("info"), warn: at("warn"), error: at("error") };
};
