/** Settings of the pool-manager, made by the command line. */

import type { LogLevel } from "#protocol/log.ts";
import type { RedisDurability, RedisRoute, RedisTls } from "#protocol/messages/control.ts";
import type { SignerChoice } from "#protocol/messages/signer.ts";
import type { NetworkJson } from "#protocol/signing/network.ts";

/** Where the slashing store is. */
export type StoreLocation = { readonly kind: "sqlite" } | RedisLocation;

/** One Redis server, a primary that Sentinels name, or a cluster. */
export interface RedisLocation {
  readonly kind: "redis";
  /** The first address of {@link RedisLocation.route}. */
  readonly host: string;
  readonly port: number;
  /** Every address that enclaves may reach. */
  readonly route: RedisRoute;
  readonly durability: RedisDurability;
  /** Undefined: no TLS. */
  readonly tls?: RedisTls;
  readonly database: number;
  readonly username?: string;
}

/** Everything but secrets; travels as JSON to the pool-manager's process. */
export interface PoolManagerConfig {
  readonly dataPath: string;
  /** Folder of the sockets; short, see `SOCKET_PATH_BYTES_MAX`. */
  readonly runPath: string;
  /** 1..ENCLAVES_MAX. */
  readonly enclaves: number;
  /** Signing threads of each enclave. */
  readonly threads: number;
  readonly signer: SignerChoice;
  readonly network: NetworkJson;
  readonly store: StoreLocation;
  /** Epochs after the present that may be signed; undefined: no bound. */
  readonly clockBoundEpochs?: number;
  /** Folder of keystores or text file; undefined: development keys of the data folder. */
  readonly keysPath?: string;
  readonly keysPasswordPath?: string;
  /** Ed25519 public key of the operator, 32 bytes of hex; undefined: the development key of the data folder. */
  readonly operatorKeyHex?: string;
  /** Of an attested pool only. */
  readonly kms?: KmsLocation;
  /** Pause in seconds between two readings of the table of an attested pool; undefined: 60. */
  readonly keysPollSeconds?: number;
  readonly logLevel: LogLevel;
}

/** Where KMS is, when it is not AWS's own. */
export interface KmsLocation {
  /** `https://host[:port]` of a simulator. */
  readonly endpoint?: string;
  /** CA of its certificate in PEM. */
  readonly ca?: string;
}

/** Development keys made at the first start without `--keys`. */
export const DEVELOPMENT_KEYS = 16;
/** In front of every register's name in Redis, before a colon. */
export const REDIS_KEY_PREFIX = "testudo";

/** How an {@link StoreLocation} is called in the data folder and in messages; no credentials. */
export const describeStore = (store: StoreLocation): string => {
  if (store.kind === "sqlite") return "sqlite";
  const scheme = store.tls === undefined ? "redis" : "rediss";
  // Sentinels come and go; the name of what they watch stays.
  const { topology, masterName } = store.route;
  if (topology === "sentinel") return `${scheme}+sentinel://${masterName}/${store.database}`;
  const where = `${store.host}:${store.port}`;
  return topology === "cluster" ? `${scheme}+cluster://${where}` : `${scheme}://${where}/${store.database}`;
};

/** Unix socket at which gateways follow the pool. */
export const managerSocketPath = (runPath: string): string => `${runPath}/manager.sock`;
/** Hybrid vsock path of an enclave. */
export const enclaveSocketPath = (runPath: string, cid: number): string => `${runPath}/enclave-${cid}.sock`;
/** Unix socket at which the command line reaches the embedded store while the pool-manager owns it. */
export const storeSocketPath = (runPath: string): string => `${runPath}/store.sock`;
