/** `testudo up`: everything on this machine, what `npm start` runs. */

import { setTimeout as sleep } from "node:timers/promises";
import { Command } from "commander";
import { describeStore } from "#pool-manager/config.ts";
import { SignerError } from "#protocol/errors.ts";
import { CID_FIRST } from "#protocol/limits.ts";
import { type Child, startChild } from "./child.ts";
import { addGatewayOptions, type GatewayOptionValues, gatewayArguments, gatewayConfigOf } from "./gateway.ts";
import { type Notice, untilStopped } from "./lifetime.ts";
import { addPoolOptions, networkOf, type PoolOptionValues, poolArguments, poolConfigOf } from "./options.ts";
import { createProgress } from "./output.ts";
import { welcome } from "./welcome.ts";

type UpOptionValues = PoolOptionValues & GatewayOptionValues;

/** The gateway's drain (6 s) and its end. */
const GATEWAY_STOP_MS = 10_000;
/** The enclaves' drain (12 s at most) and their end. */
const POOL_STOP_MS = 20_000;
const KEYS_POLL_MS = 50;

/** The command. */
export const upCommand = (): Command =>
  addGatewayOptions(
    addPoolOptions(
      new Command("up")
        .description("Run everything on this machine: pool-manager, enclaves (local processes) and gateway.")
        .addHelpText(
          "after",
          `
Examples:
  testudo up                                            16 development keys, SQLite, mainnet, http://127.0.0.1:9000
  testudo up --keys ./keystores --keys-password-file ./password.txt --network hoodi
  testudo up --store redis://127.0.0.1:6379 --enclaves 2 --port 9100`,
        ),
    ),
  ).action(runUp);

const runUp = async (values: UpOptionValues): Promise<void> => {
  // Wrong options end here, before anything is started.
  const network = networkOf(values);
  const config = poolConfigOf(values);
  gatewayConfigOf(values);

  const stopped = untilStopped();
  const progress = createProgress("opening keys");
  const poolReady = Promise.withResolvers<void>();
  const listening = Promise.withResolvers<Extract<Notice, { kind: "listening" }>>();
  const onNotice = (notice: Notice): void => {
    if (notice.kind === "opening") progress.update(notice.done, notice.total);
    if (notice.kind === "pool-ready") poolReady.resolve();
    if (notice.kind === "listening") listening.resolve(notice);
  };

  const pool = startChild(["pool", ...poolArguments(values)], onNotice);
  const gateway = startChild(["gateway", ...gatewayArguments(values)], onNotice);
  const ended = Promise.race([endOf("pool-manager", pool), endOf("gateway", gateway)]);
  ended.catch(() => undefined);

  const report = async (): Promise<void> => {
    const [{ url, metricsUrl }] = await Promise.all([listening.promise, poolReady.promise]);
    progress.end();
    const publicKeys = await fetchPublicKeys(url);
    const cids = Array.from({ length: values.enclaves }, (_, index) => CID_FIRST + index);
    const { dataPath } = config;
    const store = describeStore(config.store);
    const development = values.keys === undefined;
    const clockBound = config.clockBoundEpochs;
    process.stdout.write(
      welcome({ url, metricsUrl, network, publicKeys, cids, dataPath, store, development, clockBound }),
    );
  };

  try {
    await Promise.race([stopped, ended, report().then(() => stopped)]);
    process.stderr.write("testudo: draining …\n");
  } finally {
    progress.end();
    await gateway.stop({ timeoutMs: GATEWAY_STOP_MS });
    await pool.stop({ timeoutMs: POOL_STOP_MS });
  }
  process.stderr.write("testudo: stopped\n");
  process.exit(0);
};

/** Neither process ends by itself while Testudo is up. */
const endOf = async (name: string, child: Child): Promise<never> => {
  const reason = await child.exited;
  throw new SignerError("unavailable", `the ${name} ended (${reason}), see above; everything is stopped`);
};

/** The list as clients see it; the gateway hears of it a moment after the pool is ready. */
const fetchPublicKeys = async (url: string): Promise<string[]> => {
  for (;;) {
    const response = await fetch(`${url}/api/v1/eth2/publicKeys`);
    if (response.ok) return (await response.json()) as string[];
    await sleep(KEYS_POLL_MS);
  }
};
