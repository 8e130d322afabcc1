/** `testudo up`: everything on this machine, what `npm start` runs. */

import { setTimeout as sleep } from "node:timers/promises";
import { Command } from "commander";
import { fromHex, ROOT_BYTES } from "#protocol/bytes.ts";
import { CID_FIRST } from "#protocol/limits.ts";
import { createLogger } from "#protocol/log.ts";
import { networkFromJson } from "#protocol/signing/network.ts";
import { startChild } from "./child.ts";
import {
  addGatewayOptions,
  type GatewayOptionValues,
  gatewayArguments,
  gatewayConfigOf,
  hostAllowlistOf,
} from "./gateway.ts";
import { fetchPublicKeys, usableUrl } from "./gateway-address.ts";
import { type Notice, untilStopped } from "./lifetime.ts";
import { addPoolOptions, type PoolOptionValues, poolArguments, poolConfigOf } from "./options.ts";
import { createProgress, readableLogLine } from "./output.ts";
import { supervise } from "./supervisor.ts";
import { welcome } from "./welcome.ts";

type UpOptionValues = PoolOptionValues & GatewayOptionValues;

/** The gateway's drain (6 s) and its end. */
const GATEWAY_STOP_MS = 10_000;
/** The enclaves' drain (12 s at most) and their end. */
const POOL_STOP_MS = 20_000;
/** Time for the gateway to list the keys once the pool is ready: it hears of them within milliseconds. */
const KEYS_LISTED_MS = 30_000;

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
  const config = poolConfigOf(values);
  gatewayConfigOf(values);

  const stopped = untilStopped();
  const progress = createProgress("opening keys");
  const poolReady = Promise.withResolvers<Extract<Notice, { kind: "pool-ready" }>>();
  const listening = Promise.withResolvers<Listening>();
  const onNotice = (notice: Notice): void => {
    if (notice.kind === "opening") progress.update(notice.done, notice.total);
    if (notice.kind === "pool-ready") poolReady.resolve(notice);
    if (notice.kind === "listening") {
      address ??= notice;
      listening.resolve(notice);
    }
  };
  /** Where the gateway listens; its successors have to listen there too. */
  let address: Listening | undefined;
  let isUp = false;

  const logger = createLogger({ process: "up", level: values.logLevel, write: writeLog });
  const modules = { mayRestart: () => isUp, logger, now: () => performance.now(), sleep: sleepUnlessAborted };
  const startPool = () => startChild(["pool", ...poolArguments(values)], onNotice);
  const startGateway = () => startChild(["gateway", ...gatewayArguments(withPorts(values, address))], onNotice);
  const pool = supervise("pool-manager", { ...modules, start: startPool });
  const gateway = supervise("gateway", { ...modules, start: startGateway });

  const report = async (): Promise<void> => {
    const [{ url, metricsUrl }, { genesisValidatorsRootHex: pinned, network, store, clockBoundEpochs }] =
      await Promise.all([listening.promise, poolReady.promise]);
    progress.end();
    const hostAllowlist = hostAllowlistOf(values);
    const publicKeys = await fetchPublicKeys(url, { hostAllowlist, timeoutMs: KEYS_LISTED_MS });
    isUp = true;
    process.stdout.write(
      welcome({
        url: usableUrl(url, hostAllowlist),
        listensAt: url,
        metricsUrl: metricsUrl && usableUrl(metricsUrl, hostAllowlist),
        network: {
          ...networkFromJson(network),
          ...(pinned && { genesisValidatorsRoot: fromHex(pinned, ROOT_BYTES, "chain") }),
        },
        publicKeys,
        cids: Array.from({ length: values.enclaves }, (_, index) => CID_FIRST + index),
        dataPath: config.dataPath,
        store,
        development: values.keys === undefined && values.keysFrom === undefined,
        attested: values.keysFrom !== undefined,
        clockBound: clockBoundEpochs,
      }),
    );
  };

  try {
    await Promise.race([stopped, pool.failed, gateway.failed, report().then(() => stopped)]);
    process.stderr.write("testudo: draining …\n");
  } finally {
    progress.end();
    await gateway.stop({ timeoutMs: GATEWAY_STOP_MS });
    await pool.stop({ timeoutMs: POOL_STOP_MS });
  }
  process.stderr.write("testudo: stopped\n");
  process.exit(0);
};

type Listening = Extract<Notice, { kind: "listening" }>;

/** Free ports that the first gateway picked are given to its successors. */
const withPorts = (values: UpOptionValues, address: Listening | undefined): UpOptionValues => {
  const picked = (port: number, url: string | undefined): number =>
    port === 0 && url !== undefined ? Number(new URL(url).port) : port;
  return {
    ...values,
    port: picked(values.port, address?.url),
    metricsPort: picked(values.metricsPort, address?.metricsUrl),
  };
};

const writeLog = (line: string): void => {
  process.stderr.write(process.stderr.isTTY ? `${readableLogLine(line.trimEnd())}\n` : line);
};

const sleepUnlessAborted = (ms: number, signal: AbortSignal): Promise<void> =>
  sleep(ms, undefined, { signal }).catch(() => undefined);
