/** The log of a long-running process: bounded and never in the way (`#protocol/log-sink.ts`), flushed at its end. */

import { createLogger, type Logger, type LogLevel } from "#protocol/log.ts";
import { createLogSink } from "#protocol/log-sink.ts";

/** A process's log and its way out. */
export interface ProcessLog {
  readonly logger: Logger;
  /** Ends the process when its last lines are out, or cannot be. */
  exit(code: number): Promise<never>;
}

const FLUSH_MS = 500;
const STDERR = 2;

/** Logs to standard error under this name. */
export const createProcessLog = (name: string, level: LogLevel): ProcessLog => {
  const sink = createLogSink({ fd: STDERR, process: name });
  return {
    logger: createLogger({ process: name, level, write: sink.write }),
    exit: async (code) => {
      await sink.flush(FLUSH_MS);
      return process.exit(code);
    },
  };
};
