/**
 * Starts the enclave worker: `node enclave-worker/main.ts --path <hybrid socket> --cid <n> [--log-level L]`.
 * Everything else comes over the control port. The preset of the network must be in `LODESTAR_PRESET`.
 */

import { writeSync } from "node:fs";
import { parseArgs } from "node:util";
import { createLogger, describeError, type LogLevel } from "#protocol/log.ts";
import { createLogSink } from "#protocol/log-sink.ts";
import { connectHost } from "#protocol/transport/hybrid.ts";
import { createController } from "./control.ts";
import { serveEnclave } from "./server.ts";

const { values } = parseArgs({
  options: { path: { type: "string" }, cid: { type: "string" }, "log-level": { type: "string", default: "info" } },
});
const { path, cid } = values;
const FLUSH_MS = 500;
if (path === undefined || cid === undefined) {
  process.stderr.write("enclave: expected --path <hybrid socket> --cid <number>\n");
  process.exit(2);
}

const name = `enclave-${cid}`;
const sink = createLogSink({ fd: 2, process: name });
const logger = createLogger({ process: name, level: values["log-level"] as LogLevel, write: sink.write });
const controller = createController({
  connectParent: (port, options) => connectHost(path, port, options),
  logger,
  now: () => performance.now(),
  wallClock: () => Date.now(),
  random: Math.random,
});
const listener = await serveEnclave(path, controller, logger);

let stopping = false;
const stop = async (reason: string): Promise<void> => {
  if (stopping) return;
  stopping = true;
  logger.debug("stopping", { reason });
  await controller.drain();
  await listener.close();
  await controller.close();
  await sink.flush(FLUSH_MS);
  process.exit(0);
};
process.on("SIGTERM", () => void stop("SIGTERM"));
process.on("SIGINT", () => void stop("SIGINT"));
// The launcher's channel ends with the launcher, however it died: an orphan would hold keys that nobody watches.
if (process.channel !== undefined) process.on("disconnect", () => process.exit(1));
// A broken invariant ends the process at once, before anything else is signed; the pool replaces it.
process.on("uncaughtException", (error) => {
  const lastWord = createLogger({ process: name, level: "error", write: (line) => writeSync(2, line) });
  try {
    lastWord.error("defect, stopping", { reason: describeError(error) });
  } finally {
    process.exit(70);
  }
});
