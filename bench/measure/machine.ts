/** What a number was measured on. */

import { execFileSync } from "node:child_process";
import { cpus, release, type as systemName, totalmem } from "node:os";
import { fileURLToPath } from "node:url";

/** The machine, for people who compare. */
export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly kernel: string;
  readonly memoryGiB: number;
}

/** What was measured. */
export interface Source {
  /** Git commit; `unknown` outside a repository. */
  readonly commit: string;
  /** Whether files differed from it. */
  readonly isDirty: boolean;
}

/** This machine. */
export const describeMachine = (): Machine => {
  const cores = cpus();
  return {
    cpu: cores[0]?.model.trim() ?? "unknown",
    cores: cores.length,
    kernel: `${systemName()} ${release()}`,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
  };
};

/** What is run, by the endings of its files: results and reports that a bench writes do not make a tree dirty. */
const SOURCES = ["*.ts", "*.mjs", "*.c", "*.h", "*.lua", "package.json", "package-lock.json"];

/** This working tree. */
export const describeSource = (): Source => {
  const cwd = fileURLToPath(new URL("../../", import.meta.url));
  const git = (...args: string[]): string =>
    execFileSync("git", args, { cwd, encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).trim();
  try {
    const changed = git("status", "--porcelain", "--untracked-files=all", "--", ...SOURCES);
    return { commit: git("rev-parse", "HEAD"), isDirty: changed !== "" };
  } catch {
    return { commit: "unknown", isDirty: false };
  }
};
