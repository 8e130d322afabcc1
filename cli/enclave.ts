/** `testudo enclave`: one enclave worker as a local process, for a pool that is composed by hand. */

import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { Command, Option } from "commander";
import { LOG_LEVELS, type LogLevel } from "#protocol/log.ts";
import { integerBetween } from "./integers.ts";
import { untilStopped } from "./lifetime.ts";

/** Entry point of the enclave worker. */
export const WORKER_PATH = fileURLToPath(new URL("../enclave-worker/main.ts", import.meta.url));

/** The command. */
export const enclaveCommand = (): Command =>
  new Command("enclave")
    .description("Run one enclave worker behind a mock vsock; it waits for a pool-manager to configure it.")
    .requiredOption("--path <socket>", "hybrid vsock path to answer at")
    .option("--cid <n>", "context id", integerBetween(4, 0xffff_ffff), 16)
    .addOption(new Option("--preset <name>", "SSZ preset").choices(["mainnet", "minimal", "gnosis"]).default("mainnet"))
    .addOption(new Option("--log-level <level>", "least urgent events to log").choices(LOG_LEVELS).default("info"))
    .action(runEnclave);

interface EnclaveOptionValues {
  readonly path: string;
  readonly cid: number;
  readonly preset: string;
  readonly logLevel: LogLevel;
}

const runEnclave = async ({ path, cid, preset, logLevel }: EnclaveOptionValues): Promise<void> => {
  const stopped = untilStopped();
  const args = [WORKER_PATH, "--path", path, "--cid", String(cid), "--log-level", logLevel];
  const child = spawn(process.execPath, args, {
    // Its own process group: Ctrl-C reaches this process alone, which passes it on.
    detached: true,
    // The channel carries nothing: its end tells the worker that this process is gone, however it died.
    stdio: ["ignore", "inherit", "inherit", "ipc"],
    // Nothing of this environment is the enclave's business, as in pool-manager/launchers/local.ts.
    env: { PATH: process.env.PATH, NODE_ENV: "production", LODESTAR_PRESET: preset },
  });
  void stopped.then(() => child.kill("SIGTERM"));
  const code = await new Promise<number>((resolve, reject) => {
    child.once("error", reject);
    child.once("exit", (exitCode) => resolve(exitCode ?? 1));
  });
  process.exit(code);
};
