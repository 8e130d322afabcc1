/** A Testudo process that `up` runs: started with this Node, its log lines passed on, ended in order. */

import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import type { Notice } from "./lifetime.ts";
import { readableLogLine } from "./output.ts";

const MAIN = fileURLToPath(new URL("./main.ts", import.meta.url));

/** A running child. */
export interface Child {
  /** Resolves with a description when it ended. */
  readonly exited: Promise<string>;
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
  const exited = new Promise<string>((resolve) => {
    child.once("error", (error) => resolve(`cannot start: ${error.message}`));
    child.once("close", (code, signal) => resolve(signal ?? `exit code ${code}`));
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
