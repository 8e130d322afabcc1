/** Options that several commands share, and their way into settings. */

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { availableParallelism, tmpdir, userInfo } from "node:os";
import { join, resolve } from "node:path";
import { type Command, InvalidArgumentError, Option } from "commander";
import { enclaveSocketPath, type PoolManagerConfig, type StoreLocation } from "#pool-manager/config.ts";
import { fromHex, ROOT_BYTES, toHex } from "#protocol/bytes.ts";
import { SignerError } from "#protocol/errors.ts";
import { CID_FIRST, ENCLAVES_MAX } from "#protocol/limits.ts";
import { LOG_LEVELS, type LogLevel } from "#protocol/log.ts";
import { loadNetwork } from "#protocol/signing/load-network.ts";
import { type Network, networkToJson } from "#protocol/signing/network.ts";
import { checkSocketPath } from "#protocol/transport/hybrid.ts";

/** Values of {@link addPoolOptions}. */
export interface PoolOptionValues extends StoreOptionValues {
  readonly enclaves: number;
  readonly threads?: number;
  readonly keys?: string;
  readonly keysPasswordFile?: string;
  readonly clockBound: number | "off";
  readonly logLevel: LogLevel;
}

/** Values of {@link addStoreOptions}. */
export interface StoreOptionValues {
  readonly data: string;
  readonly store: string;
  readonly storePasswordFile?: string;
  readonly network?: string;
  readonly preset?: string;
  readonly genesisValidatorsRoot?: string;
  readonly genesisTime?: number;
}

/** A parser of whole numbers in a range, for commander. */
export const integerBetween =
  (min: number, max: number) =>
  (text: string): number => {
    const value = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
    if (value >= min && value <= max) return value;
    throw new InvalidArgumentError(`expected a whole number ${min}..${max}`);
  };

/** Where an installation lives and which chain it serves. */
export const addStoreOptions = (command: Command): Command =>
  command
    .option("--data <dir>", "data folder: development secrets, sealed keys, slashing protection", "./data")
    .option(
      "--store <where>",
      "slashing protection store: sqlite (in the data folder) or redis://[user@]host[:port][/db]",
      "sqlite",
    )
    .option("--store-password-file <file>", "file with the Redis password")
    .option(
      "--network <name|file>",
      "mainnet, hoodi, sepolia, gnosis, chiado, minimal, or a consensus config.yaml (default: mainnet)",
    )
    .addOption(
      new Option("--preset <name>", "SSZ preset; it follows from the network").choices([
        "mainnet",
        "minimal",
        "gnosis",
      ]),
    )
    .option(
      "--genesis-validators-root <0x…>",
      "of a custom network; without it the first root that a request carries is pinned",
    )
    .option(
      "--genesis-time <seconds>",
      "unix time of slot 0 of a custom network, for the clock bound",
      integerBetween(0, Number.MAX_SAFE_INTEGER),
    );

/** Everything a pool-manager needs. */
export const addPoolOptions = (command: Command): Command =>
  addStoreOptions(command)
    .option("--enclaves <n>", `enclaves to run, 1..${ENCLAVES_MAX}`, integerBetween(1, ENCLAVES_MAX), 3)
    .option(
      "--threads <n>",
      "signing threads of each enclave (default: cores shared out, at least 1)",
      integerBetween(1, 64),
    )
    .option(
      "--keys <path>",
      "folder of EIP-2335 keystores, or text file with one 0x secret key a line (development only)",
    )
    .option("--keys-password-file <path>", "one password file for all keystores, or a folder with <keystore name>.txt")
    .option(
      "--clock-bound <epochs>",
      "refuse blocks and attestations later than now + this many epochs, or `off`; needs a known genesis time",
      (text) => (text === "off" ? "off" : integerBetween(0, 1000)(text)),
      1,
    )
    .addOption(new Option("--log-level <level>", "least urgent events to log").choices(LOG_LEVELS).default("info"));

/** Resolves the network of the options. @throws SignerError `bad_request` */
export const networkOf = (values: StoreOptionValues): Network =>
  loadNetwork({
    network:
      values.network ?? (values.preset === "minimal" ? "minimal" : values.preset === "gnosis" ? "gnosis" : "mainnet"),
    preset: values.preset,
    ...(values.genesisValidatorsRoot !== undefined && {
      genesisValidatorsRoot: fromHex(values.genesisValidatorsRoot, ROOT_BYTES, "--genesis-validators-root"),
    }),
    ...(values.genesisTime !== undefined && { genesisTimeSeconds: values.genesisTime }),
    readFile: (path) => readFileSync(path, "utf8"),
  });

/** Reads `--store`. @throws SignerError `bad_request` */
export const storeLocationOf = (text: string): StoreLocation => {
  if (text === "sqlite") return { kind: "sqlite" };
  const wrong = (problem: string): SignerError =>
    new SignerError("bad_request", `--store: ${problem}; expected sqlite or redis://[user@]host[:port][/db]`);
  if (text.startsWith("rediss://")) throw wrong("TLS to Redis is not there yet");
  if (!text.startsWith("redis://") || !URL.canParse(text)) throw wrong("not understood");
  const url = new URL(text);
  if (url.password !== "")
    throw wrong("a password on the command line is seen by everybody, use --store-password-file");
  const database = url.pathname.length <= 1 ? "0" : url.pathname.slice(1);
  if (url.hostname === "" || !/^\d{1,4}$/.test(database) || url.search !== "") throw wrong("not understood");
  return {
    kind: "redis",
    host: url.hostname.replace(/^\[(.*)\]$/, "$1"),
    port: url.port === "" ? 6379 : Number(url.port),
    database: Number(database),
    ...(url.username !== "" && { username: decodeURIComponent(url.username) }),
  };
};

/** The Redis password of `--store-password-file`; empty without one. The file's last newline is not part of it. */
export const storePasswordOf = ({ storePasswordFile }: StoreOptionValues): Uint8Array => {
  if (storePasswordFile === undefined) return new Uint8Array();
  try {
    const password = readFileSync(storePasswordFile);
    const end = password.at(-1) === 0x0a ? -1 : undefined;
    return password.subarray(0, end);
  } catch (cause) {
    throw new SignerError("bad_request", `--store-password-file ${storePasswordFile}: cannot be read`, { cause });
  }
};

/**
 * Folder of an installation's sockets: beside the data, or in the temporary folder under a name made of the data
 * folder's path when that is too long for a socket.
 */
export const runPathOf = (dataPath: string): string => {
  const beside = join(resolve(dataPath), "run");
  try {
    checkSocketPath(enclaveSocketPath(beside, CID_FIRST));
    return beside;
  } catch {
    const name = createHash("sha256").update(resolve(dataPath)).digest("hex").slice(0, 16);
    return join(tmpdir(), `testudo-${userInfo().uid}-${name}`);
  }
};

/** Settings of the pool-manager. @throws SignerError `bad_request` */
export const poolConfigOf = (values: PoolOptionValues): PoolManagerConfig => {
  const network = networkOf(values);
  return {
    dataPath: resolve(values.data),
    runPath: runPathOf(values.data),
    enclaves: values.enclaves,
    threads: values.threads ?? Math.max(1, Math.floor(availableParallelism() / values.enclaves)),
    network: networkToJson(network),
    store: storeLocationOf(values.store),
    ...(values.clockBound !== "off" && { clockBoundEpochs: values.clockBound }),
    ...(values.keys !== undefined && { keysPath: resolve(values.keys) }),
    ...(values.keysPasswordFile !== undefined && { keysPasswordPath: resolve(values.keysPasswordFile) }),
    logLevel: values.logLevel,
  };
};

/** The arguments of `testudo pool` that give the same settings: `up` starts it so. No secret is among them. */
export const poolArguments = (values: PoolOptionValues): string[] => {
  const named = {
    data: values.data,
    store: values.store,
    "store-password-file": values.storePasswordFile,
    network: values.network,
    preset: values.preset,
    "genesis-validators-root": values.genesisValidatorsRoot,
    "genesis-time": values.genesisTime,
    enclaves: values.enclaves,
    threads: values.threads,
    keys: values.keys,
    "keys-password-file": values.keysPasswordFile,
    "clock-bound": values.clockBound,
    "log-level": values.logLevel,
  };
  return Object.entries(named).flatMap(([name, value]) => (value === undefined ? [] : [`--${name}`, String(value)]));
};

/** Hex of a root for people, or what is known of it. */
export const describeRoot = (root: Uint8Array | undefined): string =>
  root === undefined ? "unknown: the first one that a request carries is pinned" : toHex(root);
