/**
 * A log of one kind of event that a client can cause as often as it likes: so many lines a second, and one line that says
 * how many more there were. Keeps a counter and a timer, whatever comes.
 */

import type { LogFields } from "#protocol/log.ts";

/** Events of one kind. */
export interface LimitedLog {
  /** Writes the event, or counts it. */
  write(fields: LogFields): void;
  /** Writes what is counted, and ends the timer. */
  close(): void;
}

/** Bounds of a {@link LimitedLog}. */
export interface LimitedLogOptions {
  /** Lines within {@link WINDOW_MS}, without the one that counts the rest; 0: that one alone. */
  readonly linesMax: number;
  /** Writes one event. */
  readonly write: (fields: LogFields) => void;
  /** Says how many were left out within the last {@link WINDOW_MS}. */
  readonly writeSuppressed: (fields: { readonly suppressed: number }) => void;
}

/** Time over which lines are counted; it begins with a line. */
export const WINDOW_MS = 1_000;

/** A log that has written nothing yet. */
export const createLimitedLog = (options: LimitedLogOptions): LimitedLog => {
  let lines = 0;
  let suppressed = 0;
  let timer: NodeJS.Timeout | undefined;

  const end = (): void => {
    clearTimeout(timer);
    timer = undefined;
    const left = suppressed;
    lines = 0;
    suppressed = 0;
    if (left > 0) options.writeSuppressed({ suppressed: left });
  };

  return {
    write: (fields) => {
      timer ??= setTimeout(end, WINDOW_MS);
      if (lines >= options.linesMax) {
        suppressed += 1;
        return;
      }
      lines += 1;
      options.write(fields);
    },
    close: end,
  };
};
