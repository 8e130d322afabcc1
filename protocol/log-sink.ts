/**
 * Where log lines leave the process, without ever making it wait: a terminal that was stopped (Ctrl-S) or a pipe that
 * nobody reads holds up the writing of lines and nothing else. Lines wait in a bounded buffer; beyond it they are
 * dropped, and a line that says how many follows when there is room again.
 *
 * One write is in flight at a time, of whole lines and at most {@link ATOMIC_WRITE_BYTES}, so that lines of processes that
 * share a pipe do not mix. What it does not do: format lines (`log.ts`), or write what must not be lost. After the last
 * line, a program that ends itself waits for `flush`.
 */

import { constants, fstatSync, openSync, write as writeFile } from "node:fs";
import { Socket } from "node:net";

/** A sink of log lines; it lives as long as its process. */
export interface LogSink {
  /** Takes a whole line with its newline; returns at once, and never throws. */
  write(line: string): void;
  /** Resolves when everything taken so far and since is written or given up, at the latest after the time. */
  flush(timeoutMs: number): Promise<void>;
}

/** What a sink needs. */
export interface LogSinkOptions {
  /** Open file descriptor: 2 for standard error. */
  readonly fd: number;
  /** Bytes of lines that may wait. Default: 1 MiB, some 5,000 lines. */
  readonly bytesMax?: number;
  /** Name of the process in the line about dropped lines, as `createLogger` has it. */
  readonly process?: string;
}

const BYTES_MAX = 1024 * 1024;
/** A pipe takes writes up to this size whole or not at all (pipe(7), PIPE_BUF on Linux). */
const ATOMIC_WRITE_BYTES = 4096;
/** Pause before a full pipe is tried again: what a person does not notice, and a hundredth of a percent of a core. */
const RETRY_MS = 50;

/** Makes a sink on an open file descriptor. */
export const createLogSink = ({ fd, bytesMax = BYTES_MAX, process }: LogSinkOptions): LogSink => {
  const target = openTarget(fd);
  const waiting: Buffer[] = [];
  let waitingBytes = 0; // with what is being written
  let dropped = 0;
  let writing = false;
  let ended = false;
  const flushing = new Set<() => void>();

  const put = (line: string): boolean => {
    const bytes = Buffer.from(line);
    if (waitingBytes + bytes.length > bytesMax) return false;
    waiting.push(bytes);
    waitingBytes += bytes.length;
    return true;
  };
  const reportDropped = (): void => {
    const time = new Date().toISOString();
    const report = { time, level: "warn", process, event: "log lines dropped", lines: dropped };
    if (dropped > 0 && put(`${JSON.stringify(report)}\n`)) dropped = 0;
  };
  const end = (): void => {
    ended = true;
    writing = false;
    waiting.length = 0;
    for (const resolve of flushing) resolve();
  };

  const writeNext = (): void => {
    if (writing || ended) return;
    reportDropped();
    if (waiting.length === 0) {
      for (const resolve of flushing) resolve();
      return;
    }
    writing = true;
    writeRest(takeBatch(waiting));
  };
  const writeRest = (bytes: Buffer): void =>
    writeFile(target.fd, bytes, (error, written) => {
      if (error?.code === "EAGAIN") {
        setTimeout(() => writeRest(bytes), RETRY_MS).unref();
        return;
      }
      if (error !== null) return end(); // EPIPE: nobody will read any more, and there is nowhere to say so
      waitingBytes -= written;
      if (written < bytes.length) return writeRest(bytes.subarray(written));
      writing = false;
      writeNext();
    });

  return {
    write: (line) => {
      if (ended) return;
      reportDropped(); // before the line, for it was dropped before
      if (dropped > 0 || !put(line)) dropped += 1;
      writeNext();
    },
    flush: (timeoutMs) =>
      new Promise((resolve) => {
        if (ended || (!writing && waiting.length === 0)) return resolve();
        const settle = (): void => {
          clearTimeout(timer);
          flushing.delete(settle);
          resolve();
        };
        const timer = setTimeout(settle, timeoutMs);
        flushing.add(settle);
      }),
  };
};

/** Whole lines from the front, together at most {@link ATOMIC_WRITE_BYTES}; a longer line alone. */
const takeBatch = (waiting: Buffer[]): Buffer => {
  let bytes = 0;
  let count = 0;
  for (const line of waiting) {
    if (count > 0 && bytes + line.length > ATOMIC_WRITE_BYTES) break;
    bytes += line.length;
    count += 1;
  }
  return Buffer.concat(waiting.splice(0, count));
};

interface Target {
  readonly fd: number;
  /** Kept because its collection would close the descriptor. */
  readonly owner?: Socket;
}

/**
 * A descriptor of the same file whose writes do not wait where that can be had: a write that waits holds a thread of
 * Node's pool, and `process.exit` waits for the thread. A terminal or pipe is opened once more, because the flag would
 * otherwise be that of everybody who shares it; a socket (children of `spawn` have one) cannot be, and Node sets the
 * flag on it by taking it as a stream. A file never waits.
 */
const openTarget = (fd: number): Target => {
  try {
    const stat = fstatSync(fd);
    if (stat.isSocket()) return { fd, owner: new Socket({ fd, readable: false, writable: true }) };
    if (!stat.isFIFO() && !stat.isCharacterDevice()) return { fd };
    return { fd: openSync(`/proc/self/fd/${fd}`, constants.O_WRONLY | constants.O_NONBLOCK | constants.O_NOCTTY) };
  } catch {
    return { fd }; // no /proc, or a terminal of another user: writes may hold one thread, nothing else
  }
};
