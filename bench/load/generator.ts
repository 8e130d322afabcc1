/** The load generator, a process of its own: keeps connections open and sends what a workload says. */

import { Histogram } from "../measure/histogram.ts";
import { arrivalTimes } from "./arrivals.ts";
import { type Connection, openConnection } from "./connection.ts";
import {
  type ArriveOrder,
  type OpenOrder,
  type Order,
  type SaturateOrder,
  serveOrders,
  type WindowResult,
} from "./orders.ts";
import { createRecorder, type Recorder } from "./recorder.ts";
import { startTicker } from "./ticker.ts";
import { type Ask, createWorkload, type Workload } from "./workload.ts";

/** Longest time to wait for the last answers: the signer's own deadline is 12 s. */
const LAST_ANSWERS_MS = 15_000;
interface Load {
  readonly idle: Connection[];
  readonly heads: readonly string[];
  readonly publicKeys: readonly string[];
  readonly workload: Workload;
}

let load: Load | undefined;

const open = async ({ url, publicKeys, connections, workload }: OpenOrder): Promise<object> => {
  for (const connection of load?.idle ?? []) connection.close();
  const { hostname, port, host } = new URL(url);
  const idle = await Promise.all(Array.from({ length: connections }, () => openConnection(hostname, Number(port))));
  const heads = publicKeys.map((publicKey) =>
    [
      `POST /api/v1/eth2/sign/${publicKey} HTTP/1.1`,
      `Host: ${host}`,
      "Content-Type: application/json",
      "Accept: application/json",
      "Content-Length: ",
    ].join("\r\n"),
  );
  load = { idle, heads, publicKeys, workload: createWorkload(workload, { keys: publicKeys.length }) };
  return {};
};

/** Sends one request on a connection, and records it. */
const send = (
  { heads }: Load,
  connection: Connection,
  options: { ask: Ask; sinceMs: number; record: Recorder["record"]; onAnswer: () => void },
): void => {
  const { ask, sinceMs, record, onAnswer } = options;
  connection.send(`${heads[ask.key]}${ask.message.tail}`, (answer) => {
    record(ask, answer, (performance.now() - sinceMs) * 1_000);
    onAnswer();
  });
};

const saturate = async (current: Load, { seconds }: SaturateOrder): Promise<WindowResult> => {
  const recorder = createRecorder(current.publicKeys);
  const startedMs = performance.now();
  const endsMs = startedMs + seconds * 1_000;
  const { workload } = current;
  let isOver = false;
  const drive = (connection: Connection, onEnd: () => void): void => {
    const nowMs = performance.now();
    isOver ||= nowMs >= endsMs && workload.isBetweenRounds;
    if (isOver) {
      onEnd();
      return;
    }
    const onAnswer = (): void => drive(connection, onEnd);
    send(current, connection, { ask: workload.next(), sinceMs: nowMs, record: recorder.record, onAnswer });
  };
  await Promise.all(current.idle.map((connection) => new Promise<void>((resolve) => drive(connection, resolve))));
  return recorder.result(performance.now() - startedMs);
};

const arrive = async (current: Load, { ratePerSecond, seconds, seed }: ArriveOrder): Promise<WindowResult> => {
  const recorder = createRecorder(current.publicKeys);
  const lateness = new Histogram();
  const times = arrivalTimes({ ratePerSecond, seconds, seed });
  const free = [...current.idle];
  const done = Promise.withResolvers<void>();
  const ticker = startTicker();
  let arrived = 0;
  let sent = 0;
  let answered = 0;
  const startedMs = performance.now();
  /** Sends what has arrived, as far as connections are free: the rest waits, and its clock runs. */
  const pump = (): void => {
    const nowMs = performance.now();
    for (; arrived < times.length && startedMs + (times[arrived] as number) <= nowMs; arrived += 1) {
      lateness.record((nowMs - startedMs - (times[arrived] as number)) * 1_000);
    }
    while (sent < arrived) {
      const connection = free.pop();
      if (connection === undefined) break;
      const sinceMs = startedMs + (times[sent] as number);
      sent += 1;
      const onAnswer = (): void => {
        answered += 1;
        free.push(connection);
        if (answered === times.length) done.resolve();
        else if (sent < arrived) pump();
      };
      send(current, connection, { ask: current.workload.next(), sinceMs, record: recorder.record, onAnswer });
    }
    if (arrived < times.length) ticker.wakeAt(startedMs + (times[arrived] as number));
  };
  ticker.onWake(pump);
  pump();
  const limitMs = seconds * 1_000 + LAST_ANSWERS_MS;
  const timer = setTimeout(() => done.reject(new Error(`no answers ${limitMs} ms after the start`)), limitMs);
  try {
    if (times.length > 0) await done.promise;
    return { ...recorder.result(performance.now() - startedMs), lateness: lateness.toData() };
  } finally {
    clearTimeout(timer);
    await ticker.close();
  }
};

serveOrders("generator", async (order: Order) => {
  if (order.kind === "open") return open(order);
  if (load === undefined) throw new Error(`${order.kind}: nothing is open`);
  return order.kind === "saturate" ? saturate(load, order) : arrive(load, order);
});
