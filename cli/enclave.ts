/** `testudo enclave`: one enclave worker as a local process, for a pool that is composed by hand. */

import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { Command, Option } from "commander";
import { LOG_LEVELS } from "#protocol/log.ts";
import { integerBetween } from "./options.ts";

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
    .action(({ path, cid, preset, logLevel }) => {
      const args = [WORKER_PATH, "--path", path, "--cid", String(cid), "--log-level", logLevel];
      const env = { ...process.env, LODESTAR_PRESET: preset };
      const child = spawn(process.execPath, args, { stdio: ["ignore", "inherit", "inherit", "ipc"], env });
      for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => child.kill(signal));
      child.once("exit", (code) => process.exit(code ?? 1));
    });
