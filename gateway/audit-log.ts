/**
 * The audit log: one JSON line for each request that was refused or met a suspect store, in a file of its own. What was
 * refused, by which rule, under which request id; never a body. Bounded: one file and its predecessor. Refusals protect, the
 * file only tells: whatever happens to it, they go on, and the ordinary log says how many lines are missing.
 */

import { createWriteStream, existsSync, renameSync, statSync, type WriteStream } from "node:fs";
import type { Logger } from "#protocol/log.ts";
import { createLimitedLog } from "./limited-log.ts";

/** One refusal. */
export interface Refused {
  readonly requestId: string;
  /** Public key that the client named, as it named it. */
  readonly identifier: string;
  /** Duty, sniffed from the body; a hint. */
  readonly type: string;
  /** Rule of the refusal, or `store_suspect`. */
  readonly rule: string;
  readonly detail: string;
}

/** Where refusals are written down. */
export interface AuditLog {
  record(refused: Refused): void;
  /** Ends when all lines are in the file. */
  close(): Promise<void>;
}

/** Size at which the file becomes `<path>.1`: about 200,000 refusals. */
const FILE_BYTES_MAX = 64 * 1024 * 1024;
/** Lines that may wait for the disk; beyond, refusals are only counted. */
const WAITING_BYTES_MAX = 1024 * 1024;

/** Appends to the file at `path`, mode 600. */
export const createAuditLog = (
  { path, fileBytesMax = FILE_BYTES_MAX }: { readonly path: string; readonly fileBytesMax?: number },
  { logger }: { readonly logger: Logger },
): AuditLog => {
  let bytes = existsSync(path) ? statSync(path).size : 0;
  let stream = open(path, logger);

  /** Why the last missing line is missing. */
  let reason = "";
  const missing = createLimitedLog({
    linesMax: 0,
    write: () => undefined,
    writeSuppressed: ({ suppressed }) =>
      logger.error("refusals missing in the audit log", { path, refusals: suppressed, reason }),
  });

  /** Makes room for another line; says why it cannot. */
  const rotate = (): string | undefined => {
    try {
      if (existsSync(path)) renameSync(path, `${path}.1`); // else somebody has moved it
    } catch (error) {
      return (error as Error).message;
    }
    stream.end();
    stream = open(path, logger);
    bytes = 0;
    return undefined;
  };

  /** Takes a line; says why it cannot. */
  const write = (line: string): string | undefined => {
    if (stream.destroyed) return "the file cannot be written";
    if (stream.writableLength > WAITING_BYTES_MAX) return "the disk is too slow";
    const lineBytes = Buffer.byteLength(line);
    const problem = bytes > 0 && bytes + lineBytes > fileBytesMax ? rotate() : undefined;
    if (problem !== undefined) return problem;
    bytes += lineBytes;
    stream.write(line);
    return undefined;
  };

  return {
    record: (refused) => {
      const problem = write(`${JSON.stringify({ time: new Date().toISOString(), ...refused })}\n`);
      if (problem === undefined) return;
      reason = problem;
      missing.write({});
    },
    close: () => {
      missing.close();
      return new Promise((resolve) => (stream.destroyed ? resolve() : stream.end(() => resolve())));
    },
  };
};

const open = (path: string, logger: Logger): WriteStream => {
  const stream = createWriteStream(path, { flags: "a", mode: 0o600 });
  stream.on("error", (error) => logger.error("audit log not written", { path, reason: error.message }));
  return stream;
};
