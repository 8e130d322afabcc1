/**
 * The audit log: one JSON line for each request that was refused or met a suspect store, in a file of its own. What was
 * refused, by which rule, under which request id; never a body. Bounded: one file and its predecessor.
 */

import { createWriteStream, existsSync, renameSync, statSync, type WriteStream } from "node:fs";
import type { Logger } from "#protocol/log.ts";

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
/** Lines that may wait for the disk; beyond, refusals are only in the ordinary log. */
const WAITING_BYTES_MAX = 1024 * 1024;

/** Appends to the file at `path`, mode 600. */
export const createAuditLog = (
  { path, fileBytesMax = FILE_BYTES_MAX }: { readonly path: string; readonly fileBytesMax?: number },
  { logger }: { readonly logger: Logger },
): AuditLog => {
  let bytes = existsSync(path) ? statSync(path).size : 0;
  let stream = open(path, logger);

  const rotate = (): void => {
    stream.end();
    renameSync(path, `${path}.1`);
    stream = open(path, logger);
    bytes = 0;
  };

  return {
    record: (refused) => {
      const line = `${JSON.stringify({ time: new Date().toISOString(), ...refused })}\n`;
      if (stream.destroyed || stream.writableLength > WAITING_BYTES_MAX) return;
      if (bytes > 0 && bytes + line.length > fileBytesMax) rotate();
      bytes += Buffer.byteLength(line);
      stream.write(line);
    },
    close: () => new Promise((resolve) => (stream.destroyed ? resolve() : stream.end(() => resolve()))),
  };
};

const open = (path: string, logger: Logger): WriteStream => {
  const stream = createWriteStream(path, { flags: "a", mode: 0o600 });
  // Refusals go on without it: they protect, the file only tells.
  stream.on("error", (error) => logger.error("audit log not written", { path, reason: error.message }));
  return stream;
};
