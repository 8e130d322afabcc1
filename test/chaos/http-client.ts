/** A validator client's HTTP side: keep-alive connections of its own, and a patience of its own. */

import { Agent, request as httpRequest } from "node:http";

/** What came back; status 0 with the error's text when nothing did. */
export interface HttpAnswer {
  readonly status: number;
  readonly body: string;
}

/** Keep-alive connections to one gateway. */
export interface HttpClient {
  /** Asks for one signature. Never rejects. */
  sign(pubkey: string, body: string): Promise<HttpAnswer>;
  /** Ends its connections. */
  close(): void;
}

/** Longer than the gateway takes for a signature (`--sign-timeout`, 5 s), so that its own answer is heard. */
const PATIENCE_MS = 6_000;

/** A client that has no connection yet. */
export const createHttpClient = (url: string, { socketsMax }: { socketsMax: number }): HttpClient => {
  const agent = new Agent({ keepAlive: true, maxSockets: socketsMax });
  return {
    sign: (pubkey, body) =>
      new Promise((resolve) => {
        const fail = (error: Error): void => resolve({ status: 0, body: error.message });
        const headers = {
          "content-type": "application/json",
          accept: "text/plain",
          "content-length": Buffer.byteLength(body),
        };
        const path = `${url}/api/v1/eth2/sign/${pubkey}`;
        const request = httpRequest(path, { method: "POST", headers, agent }, (response) => {
          let text = "";
          response.setEncoding("utf8");
          response.on("data", (part: string) => {
            text += part;
          });
          response.once("error", fail);
          response.once("end", () => resolve({ status: response.statusCode ?? 0, body: text }));
        });
        const timer = setTimeout(() => request.destroy(new Error(`no answer within ${PATIENCE_MS} ms`)), PATIENCE_MS);
        request.once("close", () => clearTimeout(timer));
        request.on("error", fail);
        request.end(body);
      }),
    close: () => agent.destroy(),
  };
};
