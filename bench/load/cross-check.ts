/**
 * The same load by autocannon, to see that our own driver does not flatter: whole rounds, one request in flight on each
 * connection. Slower, because autocannon builds and parses every message anew in JavaScript.
 */

import autocannon from "autocannon";
import type { OpenOrder, Order, WindowResult } from "./orders.ts";
import { serveOrders } from "./orders.ts";
import { createRecorder } from "./recorder.ts";
import { type Ask, createWorkload, type Workload } from "./workload.ts";

const TIMEOUT_SECONDS = 12;

interface Load {
  readonly order: OpenOrder;
  readonly workload: Workload;
  /** Of the last window; autocannon wants a number of requests. */
  perSecond: number;
}

let load: Load | undefined;

const saturate = async (current: Load, seconds: number): Promise<WindowResult> => {
  const { order, workload } = current;
  const recorder = createRecorder(order.publicKeys);
  const keys = order.publicKeys.length;
  const rounds = Math.max(1, Math.round((seconds * current.perSecond) / keys));
  const startedMs = performance.now();
  const instance = autocannon({
    url: order.url,
    connections: order.connections,
    amount: rounds * keys,
    timeout: TIMEOUT_SECONDS,
    requests: [
      {
        method: "POST",
        headers: { "content-type": "application/json", accept: "application/json" },
        setupRequest: (request, context) => {
          const ask = workload.next();
          context.ask = ask;
          context.startedMs = performance.now();
          return { ...request, path: `/api/v1/eth2/sign/${order.publicKeys[ask.key]}`, body: ask.message.body };
        },
        onResponse: (status, body, context) => {
          const micros = (performance.now() - (context.startedMs as number)) * 1_000;
          recorder.record(context.ask as Ask, { status, body }, micros);
        },
      },
    ],
  });
  const { errors, timeouts } = await instance;
  const elapsedMs = performance.now() - startedMs;
  const result = recorder.result(elapsedMs);
  current.perSecond = (1_000 * result.signatures) / elapsedMs;
  return { ...result, errors: result.errors + errors + timeouts };
};

serveOrders("autocannon", async (order: Order) => {
  if (order.kind === "open") {
    load = { order, workload: createWorkload(order.workload, { keys: order.publicKeys.length }), perSecond: 0 };
    return {};
  }
  if (load === undefined || order.kind === "arrive") throw new Error(`${order.kind}: autocannon is for closed loops`);
  return saturate(load, order.seconds);
});
