/** The thread of `ticker.ts`: sleeps until a time, says so, waits for the next. */

import { parentPort } from "node:worker_threads";

const never = new Int32Array(new SharedArrayBuffer(4));

parentPort?.on("message", (atMs: number) => {
  const waitMs = atMs - (performance.timeOrigin + performance.now());
  if (waitMs > 0) Atomics.wait(never, 0, 0, waitMs);
  parentPort?.postMessage(undefined);
});
