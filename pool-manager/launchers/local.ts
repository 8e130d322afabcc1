/**
 * Runs an enclave worker as a local process behind a mock vsock. For development and tests: nothing isolates it from
 * this machine.
 */

import { type ChildProcess, spawn } from "node:child_process";
import type { LogLevel } from "#protocol/log.ts";
import type { LaunchedEnclave, Launcher } from "./launcher.ts";

/** What local workers are started with. */
export interface LocalLauncherOptions {
  /** The worker's entry point, `enclave-worker/main.ts`. */
  readonly workerPath: string;
  readonly logLevel: LogLevel;
}

/** Starts workers with this very Node. */
export const createLocalLauncher = ({ workerPath, logLevel }: LocalLauncherOptions): Launcher => ({
  launch: ({ cid, path, preset }) => {
    const args = [workerPath, "--path", path, "--cid", String(cid), "--log-level", logLevel];
    const child = spawn(process.execPath, args, {
      // Its own process group: Ctrl-C in a terminal reaches `up` alone, which then drains in order.
      detached: true,
      // The channel carries nothing: its end tells the worker that its launcher is gone.
      stdio: ["ignore", "ignore", "inherit", "ipc"],
      env: { PATH: process.env.PATH, NODE_ENV: "production", LODESTAR_PRESET: preset },
    });
    return watch(child);
  },
});

const watch = (child: ChildProcess): LaunchedEnclave => {
  const exited = new Promise<string>((resolve) => {
    child.once("exit", (code, signal) => resolve(signal === null ? `exit code ${code}` : signal));
    child.once("error", (error) => resolve(`cannot start: ${error.message}`));
  });
  return {
    exited,
    kill: async () => {
      child.kill("SIGKILL");
      await exited;
    },
  };
};
