/** The thread that owns the SQLite file: it answers one request after the other, so that disk waits block nobody else. */

import { parentPort, workerData } from "node:worker_threads";
import { assertNever, SignerError } from "#protocol/errors.ts";
import type { SqliteAnswer, SqliteRequest } from "./sqlite-messages.ts";
import { SqliteRegisters } from "./sqlite-registers.ts";

const answer = (registers: SqliteRegisters, request: SqliteRequest): unknown => {
  switch (request.kind) {
    case "batch":
      return registers.applyBatch(request.operations);
    case "getMany":
      return registers.getMany(request.keys);
    case "scanPage":
      return registers.scanPage(request.afterKey, request.limit);
    case "marker":
      return registers.marker();
    case "durability":
      return registers.durability();
    case "close":
      return registers.close();
    default:
      return assertNever(request);
  }
};

const failed = (error: unknown): SqliteAnswer =>
  error instanceof SignerError
    ? { ok: false, code: error.code, detail: error.detail }
    : { ok: false, code: "unavailable", detail: `sqlite: ${error instanceof Error ? error.message : "unknown error"}` };

const run = (port: NonNullable<typeof parentPort>, path: string): void => {
  const registers = new SqliteRegisters(path);
  port.on("message", (request: SqliteRequest) => {
    let reply: SqliteAnswer;
    try {
      reply = { ok: true, value: answer(registers, request) };
    } catch (error) {
      reply = failed(error);
    }
    port.postMessage(reply);
    if (request.kind === "close") port.close();
  });
  port.postMessage({ ok: true, value: undefined } satisfies SqliteAnswer);
};

if (parentPort !== null) {
  try {
    run(parentPort, (workerData as { path: string }).path);
  } catch (error) {
    parentPort.postMessage(failed(error));
  }
}
