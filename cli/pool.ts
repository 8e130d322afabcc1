/** `testudo pool`: the pool-manager in the foreground. */

import { Command } from "commander";
import { createLocalLauncher } from "#pool-manager/launchers/local.ts";
import { startPoolManager } from "#pool-manager/manager.ts";
import { createLogger } from "#protocol/log.ts";
import { WORKER_PATH } from "./enclave.ts";
import { notify, untilStopped } from "./lifetime.ts";
import { addPoolOptions, type PoolOptionValues, poolConfigOf, storePasswordOf } from "./options.ts";

/** The command. */
export const poolCommand = (): Command =>
  addPoolOptions(
    new Command("pool").description("Run the pool-manager: launch enclaves, give them keys, watch and replace them."),
  ).action(runPool);

const runPool = async (values: PoolOptionValues): Promise<void> => {
  const config = poolConfigOf(values);
  const logger = createLogger({
    process: "pool-manager",
    level: config.logLevel,
    write: (line) => process.stderr.write(line),
  });
  const stopped = untilStopped();
  const manager = await startPoolManager(config, {
    launcher: createLocalLauncher({ workerPath: WORKER_PATH, logLevel: config.logLevel }),
    logger,
    storePassword: storePasswordOf(values),
    random: Math.random,
    onProgress: (progress) => notify({ kind: "opening", ...progress }),
  });
  manager.ready.then(
    () => notify({ kind: "pool-ready" }),
    () => undefined, // raced below
  );
  try {
    await Promise.race([stopped, manager.ready.then(() => stopped)]);
    logger.info("stopping", { reason: await stopped });
  } finally {
    await manager.stop();
  }
  process.exit(0);
};
