/** Options that several commands share, and their way into settings. */

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { availableParallelism, tmpdir, userInfo } from "node:os";
import { join, resolve } from "node:path";
import { type Command, Option } from "commander";
import { OPERATOR_KEY_BYTES } from "#enclave/operator/authority.ts";
import {
  DURABILITY_SYNTAX,
  parseDurability,
  redisSettingsProblem,
  uniqueAddresses,
} from "#enclave/slashing/redis-settings.ts";
import { enclaveSocketPath, type PoolManagerConfig, type StoreLocation } from "#pool-manager/config.ts";
import { readOperatorPublicKey } from "#pool-manager/operator-key.ts";
import { fromHex, quote, ROOT_BYTES, toHex } from "#protocol/bytes.ts";
import { SignerError } from "#protocol/errors.ts";
import { CID_FIRST, ENCLAVES_MAX } from "#protocol/limits.ts";
import { LOG_LEVELS, type LogLevel } from "#protocol/log.ts";
import type { RedisAddress, RedisTopology } from "#protocol/messages/control.ts";
import type { SignerChoice } from "#protocol/messages/signer.ts";
import { loadNetwork } from "#protocol/signing/load-network.ts";
import { type Network, networkToJson } from "#protocol/signing/network.ts";
import { checkSocketPath } from "#protocol/transport/hybrid.ts";
import {
  type AttestedOptionValues,
  addAttestedOptions,
  attestedArguments,
  attestedConfigOf,
} from "./attested-options.ts";
import { integerBetween } from "./integers.ts";

/** Values of {@link addPoolOptions}. */
export interface PoolOptionValues extends StoreOptionValues, AttestedOptionValues {
  readonly enclaves: number;
  readonly threads?: number;
  readonly requireNative?: boolean;
  readonly native: boolean;
  readonly keys?: string;
  readonly keysPasswordFile?: string;
  readonly clockBound: number | "off";
  readonly operatorKey?: string;
  readonly logLevel: LogLevel;
}

/** Values of {@link addStoreOptions}. */
export interface StoreOptionValues {
  readonly data: string;
  readonly store: string;
  readonly storePasswordFile?: string;
  readonly storeDurability?: string;
  readonly storeNodes?: string;
  readonly storeCa?: string;
  readonly network?: string;
  readonly preset?: string;
  readonly genesisValidatorsRoot?: string;
  readonly genesisTime?: number;
}

/** Where an installation lives and which chain it serves. */
export const addStoreOptions = (command: Command): Command =>
  command
    .option("--data <dir>", "data folder: development secrets, sealed keys, slashing protection", "./data")
    .option(
      "--store <where>",
      `slashing protection store: sqlite (in the data folder) or ${REDIS_SYNTAX}; rediss for TLS; ` +
        "also redis+sentinel://host,host/<master name>[/db] and redis+cluster://host,host (docs/redis.md)",
      "sqlite",
    )
    .option("--store-password-file <file>", "file with the Redis password")
    .option("--store-durability <level>", `of Redis: ${DURABILITY_SYNTAX} (default: aof-always)`)
    .option("--store-nodes <host:port,…>", "further Redis servers: every replica; with Sentinel the primary, too")
    .option("--store-ca <file>", "certificates in PEM that sign the Redis servers' (default: public ones)")
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
  addAttestedOptions(addStoreOptions(command))
    .option("--enclaves <n>", `enclaves to run, 1..${ENCLAVES_MAX}`, integerBetween(1, ENCLAVES_MAX), 3)
    .option(
      "--threads <n>",
      "signing threads of each enclave (default: cores shared out, at least 1)",
      integerBetween(1, 64),
    )
    .addOption(
      new Option(
        "--require-native",
        "no enclave gets ready without the native signer (npm run build:native)",
      ).conflicts("native"),
    )
    .option("--no-native", "sign with @chainsafe/blst even where the native signer was built")
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
    .option("--operator-key <0x…|file>", "the operator's public key (default: a development key in the data folder)")
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

/** Where the store is and how durable it has to be. @throws SignerError `bad_request` that names the option */
export const storeOf = (values: StoreOptionValues): StoreLocation => {
  const { storeDurability = "aof-always", storeNodes, storeCa } = values;
  const named = storeLocationOf(values.store);
  if (named.kind === "sqlite") {
    if (values.storeDurability === undefined && storeNodes === undefined && storeCa === undefined) return named;
    throw new SignerError("bad_request", "--store-durability, --store-nodes and --store-ca belong to a Redis --store");
  }
  const durability = parseDurability(storeDurability);
  if (durability === undefined) {
    throw new SignerError(
      "bad_request",
      `--store-durability: expected ${DURABILITY_SYNTAX}, got ${quote(storeDurability)}`,
    );
  }
  if (storeCa !== undefined && named.tls === undefined) {
    throw new SignerError("bad_request", "--store-ca: expected with TLS alone, that is with rediss in --store");
  }
  const nodes =
    storeNodes === undefined ? [] : parseAddresses(storeNodes, { option: "--store-nodes", port: REDIS_PORT });
  const { addresses, ...route } = named.route;
  const location = {
    ...named,
    durability,
    route: { ...route, addresses: uniqueAddresses([...addresses, ...nodes]) },
    ...(storeCa !== undefined && { tls: { ca: readStoreCa(storeCa) } }),
  };
  const problem = redisSettingsProblem(location);
  if (problem !== undefined) throw new SignerError("bad_request", problem);
  return location;
};

/**
 * Reads `--store` alone, which is enough to call the store by its name; {@link storeOf} has everything.
 * @throws SignerError `bad_request`
 */
export const storeLocationOf = (text: string): StoreLocation => {
  if (text === "sqlite") return { kind: "sqlite" };
  const wrong = (problem: string): SignerError =>
    new SignerError("bad_request", `--store: ${problem}; expected sqlite or ${REDIS_SYNTAX}, see docs/redis.md`);
  const parts = REDIS_URL.exec(text)?.groups;
  if (parts === undefined) throw wrong("not understood");
  const { secure, topology = "single", user = "", hosts = "", path = "" } = parts;
  if (user.includes(":")) throw wrong("a password on the command line is seen by everybody, use --store-password-file");
  const isSentinel = topology === "sentinel";
  const names = path.split("/").slice(1);
  const masterName = isSentinel ? names.shift() : undefined;
  const database = names[0] === undefined || names[0] === "" ? "0" : names[0];
  if (names.length > 1 || !/^\d{1,4}$/.test(database) || (isSentinel && !masterName)) throw wrong("not understood");
  const port = isSentinel ? SENTINEL_PORT : REDIS_PORT;
  const addresses = uniqueAddresses(parseAddresses(hosts, { option: "--store", port }));
  return {
    kind: "redis",
    ...(addresses[0] as RedisAddress),
    route: {
      topology: topology as RedisTopology,
      addresses,
      seeds: addresses.length,
      ...(masterName !== undefined && { masterName }),
    },
    durability: "aof-always",
    ...(secure !== undefined && { tls: {} }),
    database: Number(database),
    ...(user !== "" && { username: decodeUser(user) }),
  };
};

const REDIS_SYNTAX = "redis://[user@]host[:port][/db]";
const REDIS_URL =
  /^redis(?<secure>s)?(?:\+(?<topology>sentinel|cluster))?:\/\/(?:(?<user>[^@/]*)@)?(?<hosts>[^@/?#]+)(?<path>(?:\/[^?#]*)?)$/;
/** Ports that Redis and its Sentinels listen on by default. */
const REDIS_PORT = 6379;
const SENTINEL_PORT = 26_379;

const decodeUser = (text: string): string => {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new SignerError("bad_request", "--store: the user is not URL-encoded");
  }
};

/** `host[:port],…`; an IPv6 address stands in brackets. */
const parseAddresses = (text: string, { option, port }: { option: string; port: number }): RedisAddress[] =>
  text.split(",").map((part) => {
    const [, bracketed, plain, digits] =
      /^(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]{1,253}))(?::(\d{1,5}))?$/.exec(part) ?? [];
    const host = bracketed ?? plain;
    const number = digits === undefined ? port : Number(digits);
    if (host !== undefined && number >= 1 && number <= 65_535) return { host, port: number };
    throw new SignerError("bad_request", `${option}: expected host:port, got ${quote(part)}`);
  });

const readStoreCa = (file: string): string => {
  try {
    return readFileSync(file, "utf8");
  } catch (cause) {
    throw new SignerError("bad_request", `--store-ca ${file}: cannot be read`, { cause });
  }
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
  if (values.keysFrom !== undefined) refuseSealedSettings(values);
  return {
    dataPath: resolve(values.data),
    runPath: runPathOf(values.data),
    enclaves: values.enclaves,
    threads: values.threads ?? Math.max(1, Math.floor(availableParallelism() / values.enclaves)),
    signer: signerOf(values),
    network: networkToJson(network),
    store: storeOf(values),
    ...(values.clockBound !== "off" && { clockBoundEpochs: values.clockBound }),
    ...(values.keys !== undefined && { keysPath: resolve(values.keys) }),
    ...(values.operatorKey !== undefined && { operatorKeyHex: operatorKeyHexOf(values.operatorKey) }),
    ...(values.keysPasswordFile !== undefined && { keysPasswordPath: resolve(values.keysPasswordFile) }),
    ...attestedConfigOf(values),
    logLevel: values.logLevel,
  };
};

/** What the authority has signed cannot be said again by whoever starts the pool. */
const refuseSealedSettings = (values: PoolOptionValues): void => {
  const given = {
    "--keys": values.keys,
    "--network": values.network,
    "--preset": values.preset,
    "--genesis-validators-root": values.genesisValidatorsRoot,
    "--genesis-time": values.genesisTime,
    "--store": values.store === "sqlite" ? undefined : values.store,
    "--store-password-file": values.storePasswordFile,
    "--store-durability": values.storeDurability,
    "--store-nodes": values.storeNodes,
    "--store-ca": values.storeCa,
  };
  const stray = Object.entries(given).find(([, value]) => value !== undefined);
  if (stray === undefined) return;
  throw new SignerError("bad_request", `${stray[0]}: comes with the sealed configuration of --keys-from aws`);
};

/** The arguments of `testudo pool` that give the same settings: `up` starts it so. No secret is among them. */
export const poolArguments = (values: PoolOptionValues): string[] => {
  const named = {
    data: values.data,
    store: values.store,
    "store-password-file": values.storePasswordFile,
    "store-durability": values.storeDurability,
    "store-nodes": values.storeNodes,
    "store-ca": values.storeCa,
    network: values.network,
    preset: values.preset,
    "genesis-validators-root": values.genesisValidatorsRoot,
    "genesis-time": values.genesisTime,
    enclaves: values.enclaves,
    threads: values.threads,
    keys: values.keys,
    "keys-password-file": values.keysPasswordFile,
    "clock-bound": values.clockBound,
    "operator-key": values.operatorKey,
    "log-level": values.logLevel,
    ...attestedArguments(values),
  };
  const flags = [...(values.requireNative ? ["--require-native"] : []), ...(values.native ? [] : ["--no-native"])];
  return Object.entries(named)
    .flatMap(([name, value]) => (value === undefined ? [] : [`--${name}`, String(value)]))
    .concat(flags);
};

const signerOf = ({ requireNative, native }: PoolOptionValues): SignerChoice => {
  if (!native) return "portable";
  return requireNative ? "native" : "auto";
};

/** Hex of a root for people, or what is known of it. */
export const describeRoot = (root: Uint8Array | undefined): string =>
  root === undefined ? "unknown: the first one that a request carries is pinned" : toHex(root);

const operatorKeyHexOf = (text: string): string =>
  text.startsWith("0x") ? toHex(fromHex(text, OPERATOR_KEY_BYTES, "--operator-key")) : readOperatorPublicKey(text);
