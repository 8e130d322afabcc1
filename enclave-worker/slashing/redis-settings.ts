/**
 * Which Redis settings belong together: checked by the command line, which names its options, and by the enclave, which
 * believes nobody. Pure.
 */

import { REDIS_ADDRESSES_MAX } from "#protocol/limits.ts";
import type { RedisAddress, RedisDurability, RedisRoute, RedisTls } from "#protocol/messages/control.ts";
import { replicaCount } from "./redis-audit.ts";
import { formatAddress } from "./redis-dial.ts";

/** What is judged. */
export interface RedisSettings {
  readonly route: RedisRoute;
  readonly durability: RedisDurability;
  readonly database: number;
  readonly tls?: RedisTls | undefined;
}

/** What a durability level looks like, for messages. */
export const DURABILITY_SYNTAX = "aof-always, replicated:N or managed";

/** Reads a durability level; undefined when it is none. N is 1..14: with the primary and a Sentinel they fit the list. */
export const parseDurability = (text: unknown): RedisDurability | undefined =>
  typeof text === "string" && /^(aof-always|managed|replicated:([1-9]|1[0-4]))$/.test(text)
    ? (text as RedisDurability)
    : undefined;

/** What is wrong with the settings, by the names of the command line's options; undefined: nothing. */
export const redisSettingsProblem = (settings: RedisSettings): string | undefined =>
  addressesProblem(settings.route) ?? levelProblem(settings) ?? nodesProblem(settings) ?? tlsProblem(settings.tls);

/** Longest CA file: a bundle of all public roots has 220 KiB. */
const CA_BYTES_MAX = 256 * 1024;
/** A DNS name or an IP address without brackets. */
const HOST = /^[A-Za-z0-9._:-]{1,253}$/;
/** Names that Sentinel takes (sentinel.c: `[A-z0-9.-_]`). */
const MASTER_NAME = /^[A-Za-z0-9._-]{1,64}$/;

const addressesProblem = ({ addresses, seeds, topology, masterName }: RedisRoute): string | undefined => {
  const wrong = addresses.find(
    ({ host, port }) => !HOST.test(host) || !Number.isSafeInteger(port) || port < 1 || port > 65_535,
  );
  if (wrong !== undefined) return `address: expected host:port, got ${formatAddress(wrong).slice(0, 60)}`;
  if (addresses.length < 1 || addresses.length > REDIS_ADDRESSES_MAX) {
    return `addresses: expected 1..${REDIS_ADDRESSES_MAX} in --store and --store-nodes, got ${addresses.length}`;
  }
  if (new Set(addresses.map(formatAddress)).size !== addresses.length) return "addresses: expected each once";
  if (!Number.isSafeInteger(seeds) || seeds < 1 || seeds > addresses.length) return "--store: expected an address";
  if (topology === "single" && seeds !== 1) return `--store: expected one address, got ${seeds}`;
  if ((topology === "sentinel") !== (masterName !== undefined)) return "--store: expected /<master name> with Sentinel";
  if (masterName !== undefined && !MASTER_NAME.test(masterName)) {
    return `--store: master name: expected ${MASTER_NAME.source}`;
  }
  return undefined;
};

const levelProblem = ({ route, durability, database }: RedisSettings): string | undefined => {
  if (route.topology === "sentinel" && !durability.startsWith("replicated:")) {
    return `--store-durability: expected replicated:N with Sentinel, got ${durability}: a failover loses what was not replicated`;
  }
  if (route.topology !== "cluster") return undefined;
  if (durability !== "managed") {
    return `--store-durability: expected managed with a cluster, got ${durability}: only a service such as MemoryDB can promise that its failovers lose nothing`;
  }
  return database === 0 ? undefined : `--store: expected database 0 with a cluster, got ${database}`;
};

/** Every server that may be the primary or a replica is listed, and no other: one that is not counted may be promoted. */
const nodesProblem = ({ route, durability }: RedisSettings): string | undefined => {
  if (route.topology === "cluster") return undefined;
  const nodes = route.addresses.length - route.seeds;
  const expected = (replicaCount(durability) ?? 0) + (route.topology === "sentinel" ? 1 : 0);
  if (nodes === expected) return undefined;
  const what = route.topology === "sentinel" ? "the primary and every replica" : "every replica";
  return `--store-nodes: expected ${expected === 0 ? "none" : `${expected} (${what})`} with ${durability}, got ${nodes}`;
};

const tlsProblem = (tls: RedisTls | undefined): string | undefined => {
  if (tls?.ca === undefined) return undefined;
  const { ca } = tls;
  if (ca.length <= CA_BYTES_MAX && ca.includes("-----BEGIN CERTIFICATE-----")) return undefined;
  return `--store-ca: expected certificates in PEM, at most ${CA_BYTES_MAX} bytes`;
};

/** The addresses without repetitions, in their order. */
export const uniqueAddresses = (addresses: readonly RedisAddress[]): RedisAddress[] => [
  ...new Map(addresses.map((address) => [formatAddress(address), address])).values(),
];
