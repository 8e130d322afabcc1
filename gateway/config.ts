/**
 * Settings of the gateway: their defaults, their ranges and how they relate. A setting that is out of range or unknown
 * stops the start; nothing is corrected silently.
 */

import { BlockList, isIPv4, isIPv6 } from "node:net";
import { quote } from "#protocol/bytes.ts";
import { SignerError } from "#protocol/errors.ts";
import { BODY_BYTES_MAX, SIGN_DEADLINE_MS_MAX } from "#protocol/limits.ts";

/** Checked settings; make them with {@link parseGatewayConfig}. */
export interface GatewayConfig {
  /** Address to listen on: an IP address, or `localhost` for 127.0.0.1. Names are not resolved. */
  readonly host: string;
  /** 0..65535; 0 picks a free port. */
  readonly port: number;
  /** Whether `/metrics` is served at all. */
  readonly metricsEnabled: boolean;
  /** Address of the metrics listener, as `host`. */
  readonly metricsHost: string;
  /** 0..65535; 0 picks a free port. */
  readonly metricsPort: number;
  /** Host names that a `Host` header may carry, besides the listen host; `*` allows all. A guard against DNS rebinding. */
  readonly hostAllowlist: readonly string[];
  /** The same for the metrics listener. */
  readonly metricsHostAllowlist: readonly string[];
  /** Allows plain HTTP beyond loopback. */
  readonly insecure: boolean;
  /** Longest body of a signing request, at most {@link BODY_BYTES_MAX}; beyond: 413. */
  readonly bodyBytesMax: number;
  /** Bytes of all bodies that may be held at once; beyond: 503. */
  readonly bodyBytesInFlightMax: number;
  /** Signing requests that may be in flight at once; beyond: 503. */
  readonly inFlightMax: number;
  /** Open connections; a further one is dropped. */
  readonly connectionsMax: number;
  /** Time a signing request may take from its last byte to the answer, at most {@link SIGN_DEADLINE_MS_MAX}. */
  readonly signTimeoutMs: number;
  /** Time in which a request, headers and body, must have arrived; beyond: 408. */
  readonly requestTimeoutMs: number;
  /** Silence after which a connection with an unfinished request is cut. */
  readonly connectionTimeoutMs: number;
  /** Silence after which an idle connection is closed. */
  readonly keepAliveTimeoutMs: number;
  /** Time that `drain` gives to the requests in flight. */
  readonly drainTimeoutMs: number;
}

/** The settings of a gateway that was told nothing; addresses and ports are Web3Signer's. */
export const GATEWAY_DEFAULTS: GatewayConfig = {
  host: "127.0.0.1",
  port: 9000,
  metricsEnabled: true,
  metricsHost: "127.0.0.1",
  metricsPort: 9001,
  hostAllowlist: ["localhost", "127.0.0.1", "[::1]"],
  metricsHostAllowlist: ["localhost", "127.0.0.1", "[::1]"],
  insecure: false,
  bodyBytesMax: BODY_BYTES_MAX,
  // 256 bodies of the largest size, or 400,000 attestations of 650 bytes.
  bodyBytesInFlightMax: 256 * BODY_BYTES_MAX,
  // As many as one data connection carries (`IN_FLIGHT_PER_CONNECTION_MAX`): about three seconds of work for one core.
  inFlightMax: 8192,
  connectionsMax: 16_384,
  // Teku gives up after 5 s (`--validators-external-signer-timeout`), the others later.
  signTimeoutMs: 5_000,
  requestTimeoutMs: 10_000,
  connectionTimeoutMs: 30_000,
  // Longer than any client keeps a connection in its pool (Lighthouse: 20 s) and than a network load balancer's usual
  // 60 s, so that it is never the server that closes while a request is on its way (lighthouse#4439).
  keepAliveTimeoutMs: 75_000,
  drainTimeoutMs: 6_000,
};

type NumberSetting = { [K in keyof GatewayConfig]: GatewayConfig[K] extends number ? K : never }[keyof GatewayConfig];

const MINUTE_MS = 60_000;

/** Lowest and highest value of each number. */
const RANGES = {
  port: [0, 65_535],
  metricsPort: [0, 65_535],
  bodyBytesMax: [1024, BODY_BYTES_MAX],
  bodyBytesInFlightMax: [1024, 16 * 1024 * BODY_BYTES_MAX],
  inFlightMax: [1, 1_000_000],
  connectionsMax: [1, 1_000_000],
  signTimeoutMs: [1, SIGN_DEADLINE_MS_MAX],
  requestTimeoutMs: [100, MINUTE_MS],
  // Above every sign deadline: a client that waits in silence for its signature must not be cut.
  connectionTimeoutMs: [SIGN_DEADLINE_MS_MAX + 1000, 10 * MINUTE_MS],
  keepAliveTimeoutMs: [65_000, 60 * MINUTE_MS],
  drainTimeoutMs: [1, 10 * MINUTE_MS],
} satisfies Record<NumberSetting, readonly [number, number]>;

/**
 * The defaults with `overrides` over them, checked.
 * @throws SignerError `bad_request` naming the setting
 */
export const parseGatewayConfig = (overrides: Partial<GatewayConfig> = {}): GatewayConfig => {
  for (const name of Object.keys(overrides)) {
    if (!Object.hasOwn(GATEWAY_DEFAULTS, name)) throw badSetting(name, "a known setting", name);
  }
  const merged = { ...GATEWAY_DEFAULTS, ...overrides };
  const config = { ...merged, host: toAddress(merged.host), metricsHost: toAddress(merged.metricsHost) };
  checkNumbers(config);
  checkTypes(config);
  checkListeners(config);
  return Object.freeze(config);
};

const checkNumbers = (config: GatewayConfig): void => {
  for (const [name, [lowest, highest]] of Object.entries(RANGES)) {
    const value = config[name as NumberSetting];
    if (!Number.isSafeInteger(value) || value < lowest || value > highest) {
      throw badSetting(name, `${lowest}..${highest}`, value);
    }
  }
  if (config.bodyBytesInFlightMax < config.bodyBytesMax) {
    throw badSetting("bodyBytesInFlightMax", "at least bodyBytesMax", config.bodyBytesInFlightMax);
  }
};

const checkTypes = (config: GatewayConfig): void => {
  for (const name of ["metricsEnabled", "insecure"] as const) {
    if (typeof config[name] !== "boolean") throw badSetting(name, "a boolean", config[name]);
  }
  for (const name of ["hostAllowlist", "metricsHostAllowlist"] as const) {
    const list: unknown = config[name];
    if (!Array.isArray(list) || !list.every((entry) => typeof entry === "string" && entry !== "")) {
      throw badSetting(name, "a list of host names", list);
    }
  }
};

const checkListeners = (config: GatewayConfig): void => {
  for (const name of ["host", "metricsHost"] as const) {
    const host = config[name];
    if (!isIPv4(host) && !isIPv6(host)) throw badSetting(name, "an IP address or localhost", host);
    if (name === "metricsHost" && !config.metricsEnabled) continue;
    if (!config.insecure && !isLoopback(host)) {
      throw badSetting(name, "a loopback address (plain HTTP beyond it needs --insecure)", host);
    }
  }
};

const isLoopback = (host: string): boolean => {
  const loopback = new BlockList();
  loopback.addSubnet("127.0.0.0", 8, "ipv4"); // RFC 1122, 3.2.1.3
  loopback.addAddress("::1", "ipv6"); // RFC 4291, 2.5.3
  return loopback.check(host, isIPv4(host) ? "ipv4" : "ipv6");
};

const toAddress = (host: unknown): string => (host === "localhost" ? "127.0.0.1" : String(host));

const badSetting = (name: string, expected: string, got: unknown): SignerError =>
  new SignerError("bad_request", `gateway ${name}: expected ${expected}, got ${quote(got)}`);
