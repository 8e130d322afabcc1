/**
 * Logs are JSON lines: `{"time":…,"level":…,"process":…,"event":…, fields}`. Fields are ids and counts, never payloads
 * or secrets. Our own twenty lines, because whatever logs inside the enclave is part of the trusted computing base.
 */

/** Levels from chatty to urgent. */
export const LOG_LEVELS = ["debug", "info", "warn", "error"] as const;
/** One of {@link LOG_LEVELS}. */
export type LogLevel = (typeof LOG_LEVELS)[number];

/** Values worth logging. */
export type LogFields = Readonly<Record<string, string | number | boolean | undefined>>;

/** Writes one event per call, in plain words first: `logger.info("enclave ready", { cid: 16 })`. */
export type Logger = Readonly<Record<LogLevel, (event: string, fields?: LogFields) => void>>;

/** What a logger needs. */
export interface LoggerOptions {
  /** Which process speaks: `gateway`, `pool-manager`, `enclave-16`. */
  readonly process: string;
  /** Events below this level are dropped. */
  readonly level: LogLevel;
  /** Takes a whole line with its newline. */
  readonly write: (line: string) => void;
}

/** Makes a {@link Logger}. */
export const createLogger = ({ process, level, write }: LoggerOptions): Logger => {
  const log =
    (at: LogLevel) =>
    (event: string, fields: LogFields = {}): void => {
      if (LOG_LEVELS.indexOf(at) < LOG_LEVELS.indexOf(level)) return;
      write(`${JSON.stringify({ time: new Date().toISOString(), level: at, process, event, ...fields })}\n`);
    };
  return { debug: log("debug"), info: log("info"), warn: log("warn"), error: log("error") };
};

/** The code and text of anything thrown, fit for a log line; no stack, no cause chain beyond the first. */
export const describeError = (error: unknown): string => {
  if (!(error instanceof Error)) return String(error);
  return error.cause instanceof Error ? `${error.message} (${error.cause.message})` : error.message;
};
