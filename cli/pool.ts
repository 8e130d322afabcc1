/** `testudo pool`: the pool-manager in the foreground. */

import { setTimeout as sleep } from "node:timers/promises";
import { Command } from "commander";
import { describeStore } from "#pool-manager/config.ts";
import { createLocalLauncher } from "#pool-manager/launchers/local.ts";
import { startPoolManager } from "#pool-manager/manager.ts";
import { WORKER_PATH } from "./enclave.ts";
import { notify, untilStopped } from "./lifetime.ts";
import { addPoolOptions, type PoolOptionValues, poolConfigOf, storePasswordOf } from "./options.ts";
import { createProcessLog } from "./process-log.ts";

/** Time that the other enclaves get after the first is ready, before the pool counts as ready without them. */
const COMPLETE_MS = 10_000;

/** The command. */
export const poolCommand = (): Command =>
  addPoolOptions(
    new Command("pool").description("Run the pool-manager: launch enclaves, give them keys, watch and replace them."),
  ).action(runPool);

const runPool = async (values: PoolOptionValues): Promise<void> => {
  const config = poolConfigOf(values);
  const { logger, exit } = createProcessLog("pool-manager", config.logLevel);
  const stopped = untilStopped();
  // Loaded here, so that a pool in development mode never holds the AWS SDK.
  const attested =
    values.keysFrom === undefined
      ? undefined
      : (await import("./attested-modules.ts")).openAttestedModules(values, logger);
  const manager = await startPoolManager(config, {
    launcher: createLocalLauncher({ workerPath: WORKER_PATH, logLevel: config.logLevel }),
    logger,
    storePassword: storePasswordOf(values),
    random: Math.random,
    onProgress: (progress) => notify({ kind: "opening", ...progress }),
    ...(attested !== undefined && { attested }),
  });
  const announce = async (): Promise<void> => {
    await manager.ready;
    await Promise.race([manager.complete, sleep(COMPLETE_MS)]);
    const { genesisValidatorsRootHex, settings } = manager;
    const { network, store, clockBoundEpochs } = settings;
    notify({ kind: "pool-ready", genesisValidatorsRootHex, network, store: describeStore(store), clockBoundEpochs });
  };
  try {
    await Promise.race([stopped, announce().then(() => stopped)]);
    logger.info("stopping", { reason: await stopped });
  } finally {
    await manager.stop();
    attested?.close();
  }
  await exit(0);
};
