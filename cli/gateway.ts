/** `testudo gateway`: one gateway process in the foreground. */

import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { Command, Option } from "commander";
import { type AuditLog, createAuditLog } from "#gateway/audit-log.ts";
import { GATEWAY_DEFAULTS, type GatewayConfig, parseGatewayConfig } from "#gateway/config.ts";
import { startGateway } from "#gateway/server.ts";
import { createPool } from "#pool";
import { managerSocketPath } from "#pool-manager/config.ts";
import { checkOwner, ensurePrivateFolder } from "#pool-manager/private-folder.ts";
import { LOG_LEVELS, type Logger, type LogLevel } from "#protocol/log.ts";
import { integerBetween } from "./integers.ts";
import { notify, untilStopped } from "./lifetime.ts";
import { runPathOf } from "./options.ts";
import { createProcessLog } from "./process-log.ts";

/** Values of {@link addGatewayOptions}. */
export interface GatewayOptionValues {
  readonly data: string;
  readonly host: string;
  readonly port: number;
  readonly metricsHost: string;
  readonly metricsPort: number;
  readonly metrics: boolean;
  readonly hostAllowlist: string;
  readonly insecure: boolean;
  readonly auditLog?: string;
  readonly signTimeout: number;
  readonly logLevel: LogLevel;
}

/** What a gateway needs besides its pool. */
export const addGatewayOptions = (command: Command): Command =>
  command
    .option("--host <address>", "address to listen on", GATEWAY_DEFAULTS.host)
    .option(
      "--port <n>",
      "port of the Web3Signer API; 0 picks a free one",
      integerBetween(0, 65_535),
      GATEWAY_DEFAULTS.port,
    )
    .option("--metrics-host <address>", "address of the metrics listener", GATEWAY_DEFAULTS.metricsHost)
    .option(
      "--metrics-port <n>",
      "port of /metrics; 0 picks a free one",
      integerBetween(0, 65_535),
      GATEWAY_DEFAULTS.metricsPort,
    )
    .option("--no-metrics", "do not serve /metrics")
    .option(
      "--host-allowlist <names>",
      "host names that clients may use, with commas; * for all",
      GATEWAY_DEFAULTS.hostAllowlist.join(","),
    )
    .option(
      "--sign-timeout <ms>",
      "longest time for one signature, 1..12000",
      integerBetween(1, 12_000),
      GATEWAY_DEFAULTS.signTimeoutMs,
    )
    .option(
      "--audit-log <file>",
      "file of refused requests, JSON lines; `off` for none (default: refusals.log in the data folder)",
    )
    .option("--insecure", "allow plain HTTP beyond loopback", false);

/** The names of `--host-allowlist`. */
export const hostAllowlistOf = ({ hostAllowlist }: Pick<GatewayOptionValues, "hostAllowlist">): string[] =>
  hostAllowlist.split(",").map((name) => name.trim());

/** Settings of the gateway. @throws SignerError `bad_request` */
export const gatewayConfigOf = (values: GatewayOptionValues): GatewayConfig =>
  parseGatewayConfig({
    host: values.host,
    port: values.port,
    metricsEnabled: values.metrics,
    metricsHost: values.metricsHost,
    metricsPort: values.metricsPort,
    hostAllowlist: hostAllowlistOf(values),
    metricsHostAllowlist: hostAllowlistOf(values),
    signTimeoutMs: values.signTimeout,
    insecure: values.insecure,
  });

/** The arguments of `testudo gateway` that give the same settings. */
export const gatewayArguments = (values: GatewayOptionValues): string[] => [
  ...["--data", values.data, "--host", values.host, "--port", String(values.port)],
  ...["--metrics-host", values.metricsHost, "--metrics-port", String(values.metricsPort)],
  ...(values.metrics ? [] : ["--no-metrics"]),
  ...["--host-allowlist", values.hostAllowlist, "--sign-timeout", String(values.signTimeout)],
  ...(values.insecure ? ["--insecure"] : []),
  ...(values.auditLog === undefined ? [] : ["--audit-log", values.auditLog]),
  ...["--log-level", values.logLevel],
];

/** The command. */
export const gatewayCommand = (): Command =>
  addGatewayOptions(
    new Command("gateway")
      .description("Run one gateway: the Web3Signer HTTP API in front of the pool.")
      .option("--data <dir>", "data folder of the pool-manager to follow", "./data")
      .addOption(new Option("--log-level <level>", "least urgent events to log").choices(LOG_LEVELS).default("info")),
  ).action(runGateway);

const runGateway = async (values: GatewayOptionValues): Promise<void> => {
  const config = gatewayConfigOf(values);
  const { logger, exit } = createProcessLog("gateway", values.logLevel);
  const stopped = untilStopped();
  const now = () => performance.now();
  const managerSocket = managerSocketPath(claimRunFolder(values.data));
  const pool = createPool({ managerSocketPath: managerSocket }, { logger, now, random: Math.random });
  const audit = auditLogOf(values, logger);
  const gateway = await startGateway(config, { pool, logger, audit, now });
  const { url, metricsUrl } = gateway;
  notify({ kind: "listening", url, ...(metricsUrl !== undefined && { metricsUrl }) });
  logger.info("stopping", { reason: await stopped });
  await gateway.drain();
  await pool.close();
  await audit?.close();
  await exit(0);
};

/** A gateway without a data folder beside it (mistyped, or another machine's) writes no file there. */
const auditLogOf = ({ auditLog, data }: GatewayOptionValues, logger: Logger): AuditLog | undefined => {
  if (auditLog === "off") return undefined;
  if (auditLog === undefined && !existsSync(resolve(data))) return undefined;
  return createAuditLog({ path: resolve(auditLog ?? join(data, "refusals.log")) }, { logger });
};

/**
 * The folder of the pool-manager's sockets. Made here when the gateway is first: in the temporary folder, whoever makes
 * it decides who answers there.
 */
const claimRunFolder = (dataPath: string): string => {
  const path = resolve(dataPath);
  if (existsSync(path)) checkOwner(path, "data folder");
  const runPath = runPathOf(path);
  ensurePrivateFolder(runPath, "run folder");
  return runPath;
};
