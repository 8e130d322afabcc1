/** A process that never loads the native signer in its main thread: two threads do, one after the other. */

import { once } from "node:events";
import { Worker } from "node:worker_threads";

const run = async (data: object): Promise<Record<string, unknown>> => {
  const worker = new Worker(new URL("./leaving-thread.ts", import.meta.url), { workerData: data });
  const [[message]] = await Promise.all([once(worker, "message"), once(worker, "exit")]);
  return message;
};

const first = await run({});
const second = await run({ handle: first.handle });
process.stdout.write(JSON.stringify({ first, second }));
