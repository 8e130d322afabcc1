/** A relay in front of a DynamoDB that counts calls and answers some of them itself: faults that dynalite has not. */

import { createServer, type IncomingMessage, request, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/** What happens to a call. */
export type Verdict =
  /** It goes through. */
  | "pass"
  /** It is never answered. */
  | "hang"
  /** It is carried out, and the connection is cut instead of the answer. */
  | "cut"
  | { readonly status: number; readonly body: unknown };

/** One call as the relay sees it. */
export interface SeenCall {
  /** `Query`, `PutItem`, … */
  readonly operation: string;
  /** Number among the calls of that operation, from 1. */
  readonly number: number;
  readonly input: Record<string, unknown>;
}

/** A running relay. */
export interface DynamoProxy {
  readonly url: string;
  calls(operation: string): number;
  /** Decides on every call from now on. */
  judge(verdict: (call: SeenCall) => Verdict): void;
  close(): Promise<void>;
}

/** The body of an error as DynamoDB sends it. */
export const dynamoError = (name: string, status = 400): Verdict => ({
  status,
  body: { __type: `com.amazonaws.dynamodb.v20120810#${name}`, message: "by the relay" },
});

/** Starts it in front of `target`, a URL. */
export const startDynamoProxy = async (target: string): Promise<DynamoProxy> => {
  const counts = new Map<string, number>();
  let judge: (call: SeenCall) => Verdict = () => "pass";
  const server: Server = createServer((incoming, response) => {
    void readBody(incoming).then((body) => {
      const operation = String(incoming.headers["x-amz-target"]).split(".")[1] ?? "";
      const number = (counts.get(operation) ?? 0) + 1;
      counts.set(operation, number);
      const verdict = judge({ operation, number, input: JSON.parse(body.toString()) as Record<string, unknown> });
      if (verdict === "hang") return;
      if (verdict === "pass" || verdict === "cut") relay({ incoming, response, body, target, cut: verdict === "cut" });
      else response.writeHead(verdict.status, { "content-type": JSON_TYPE }).end(JSON.stringify(verdict.body));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    calls: (operation) => counts.get(operation) ?? 0,
    judge: (verdict) => {
      counts.clear();
      judge = verdict;
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
};

const JSON_TYPE = "application/x-amz-json-1.0";

const readBody = async (stream: AsyncIterable<Buffer>): Promise<Buffer> => {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks);
};

const relay = (call: {
  incoming: IncomingMessage;
  response: ServerResponse;
  body: Buffer;
  target: string;
  cut: boolean;
}): void => {
  const { incoming, response, body, target, cut } = call;
  const outgoing = request(target, { method: "POST", headers: incoming.headers }, (answer) => {
    void readBody(answer).then((bytes) => {
      if (cut) response.destroy();
      else response.writeHead(answer.statusCode ?? 500, answer.headers).end(bytes);
    });
  });
  outgoing.once("error", () => response.destroy());
  outgoing.end(body);
};
