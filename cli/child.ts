/** A Testudo process that `up` runs: started with this Node, its log lines passed on, ended in order. */

import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import type { Notice } from "./lifetime.ts";
import { readableLogLine } from "./output.ts";

const MAIN = fileURLToPath(new URL("./main.ts", import.meta.url));

/** Time for its last output: a frozen process that it started may hold the pipe open for ever. */
const OUTPUT_MS = 1_000;

/** How a child ended. */
export interface ChildEnd {
  /** For messages: `exit code 1`, `SIGKILL`. */
  readonly reason: string;
  /** Undefined when a signal ended it. */
  readonly code?: number;
}

/** A running child. */
export interface Child {
  /** Resolves when it ended, its output complete if that can be had. */
  readonly exited: Promise<ChildEnd>;
  /** Asks it to end, and ends it by force when it does not within the time. */
  stop(options: { timeoutMs: number }): Promise<void>;
}

/** Starts `testudo <args>`; `onNotice` hears what it reports. */
export const startChild = (args: readonly string[], onNotice: (notice: Notice) => void): Child => {
  const child = spawn(process.execPath, [MAIN, ...args], {
    // Its own process group: Ctrl-C reaches `up` alone, which stops its children in order.
    detached: true,
    stdio: ["ignore", "ignore", "pipe", "ipc"],
  });
  child.on("message", (message) => onNotice(message as Notice));
  passOnLog(child);
  const exited = new Promise<ChildEnd>((resolve) => {
    child.once("error", (error) => resolve({ reason: `cannot start: ${error.message}` }));
    const end = (code: number | null, signal: NodeJS.Signals | null): void =>
      resolve(code === null ? { reason: String(signal) } : { reason: `exit code ${code}`, code });
    child.once("exit", (code, signal) => {
      const timer = setTimeout(() => end(code, signal), OUTPUT_MS);
      child.once("close", () => {
        clearTimeout(timer);
        end(code, signal);
      });
    });
  });
  return {
    exited,
    stop: async ({ timeoutMs }) => {
      child.kill("SIGTERM");
      const timer = setTimeout(() => child.kill("SIGKILL"), timeoutMs);
      await exited;
      clearTimeout(timer);
    },
  };
};

/** People get readable lines, programs get JSON. */
const passOnLog = (child: ChildProcess): void => {
  if (child.stderr === null) return;
  const lines = createInterface({ input: child.stderr });
  lines.on("line", (line) => process.stderr.write(`${process.stderr.isTTY ? readableLogLine(line) : line}\n`));
};
