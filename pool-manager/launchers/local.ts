/**
 * Runs an enclave worker as a local process behind a mock vsock. For development and tests: nothing isolates it from
 * this machine.
 */

import { type ChildProcess, spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { LogLevel } from "#protocol/log.ts";
import type { LaunchedEnclave, Launcher } from "./launcher.ts";

const WORKER = fileURLToPath(new URL("../../enclave-worker/main.ts", import.meta.url));

/** Starts workers with this very Node. */
export const createLocalLauncher = ({ logLevel }: { logLevel: LogLevel }): Launcher => ({
  launch: ({ cid, path, preset }) => {
    const child = spawn(process.execPath, [WORKER, "--path", path, "--cid", String(cid), "--log-level", logLevel], {
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
