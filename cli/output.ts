/** What people read: errors that say what to do, progress on a terminal or in a log, log lines made readable. */

import { styleText } from "node:util";
import { SignerError } from "#protocol/errors.ts";

/** Exit code for wrong usage: options, files and folders that do not fit. */
export const EXIT_USAGE = 2;

/** Ends the process with a message; code 2 for wrong usage, 1 for everything else. */
export const exitWithError = (error: unknown): never => {
  process.stderr.write(`${styleText("red", "testudo:")} ${explain(error)}\n`);
  process.exit(error instanceof SignerError && error.code === "bad_request" ? EXIT_USAGE : 1);
};

/** A stack is for defects: what the system refuses (no space, no rights, port in use) says enough by its message. */
const explain = (error: unknown): string => {
  if (error instanceof SignerError) return error.detail;
  if (!(error instanceof Error)) return String(error);
  return "syscall" in error ? error.message : (error.stack ?? error.message);
};

/** Shows how far a long task is: a bar on a terminal, a line every tenth elsewhere. */
export interface Progress {
  update(done: number, total: number): void;
  /** Ends the bar's line. */
  end(): void;
}

const BAR_WIDTH = 30;

/** Makes a progress display on standard error. Ours, because prompt libraries take the keyboard and Ctrl-C with them. */
export const createProgress = (label: string, stream: NodeJS.WriteStream = process.stderr): Progress => {
  // A bar appears at once; a log gets no line for nothing.
  let shown = stream.isTTY ? -1 : 0;
  let open = false;
  return {
    update: (done, total) => {
      const share = total === 0 ? 1 : done / total;
      const step = Math.floor(share * (stream.isTTY ? 1000 : 10));
      if (step === shown) return;
      shown = step;
      const counts = `${done.toLocaleString("en")} of ${total.toLocaleString("en")}`;
      if (!stream.isTTY) {
        stream.write(`${label}: ${counts}\n`);
        return;
      }
      const filled = Math.round(share * BAR_WIDTH);
      const bar = `${"█".repeat(filled)}${"░".repeat(BAR_WIDTH - filled)}`;
      stream.write(`\r${label} ${styleText("green", bar)} ${counts} `);
      open = true;
    },
    end: () => {
      if (open) stream.write("\n");
      open = false;
    },
  };
};

const LEVEL_STYLES = { debug: "gray", info: "cyan", warn: "yellow", error: "red" } as const;

/** A JSON log line as people read it; anything else comes back as it is. */
export const readableLogLine = (line: string): string => {
  try {
    const { time, level, process: name, event, ...fields } = JSON.parse(line) as Record<string, unknown>;
    const style = LEVEL_STYLES[level as keyof typeof LEVEL_STYLES];
    if (style === undefined || typeof event !== "string") return line;
    const details = Object.entries(fields).map(([key, value]) => styleText("gray", `${key}=`) + String(value));
    const clock = String(time).slice(11, 23);
    return [styleText("gray", clock), styleText(style, String(level).padEnd(5)), `${name}:`, event, ...details].join(
      " ",
    );
  } catch {
    return line;
  }
};
