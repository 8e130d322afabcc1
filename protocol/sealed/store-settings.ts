/**
 * Reads the store settings of a configuration document, strictly: an unknown member is refused, at every level, because
 * it may be a misspelt one that was meant to protect. Which values belong together (levels, replicas, Sentinels) the
 * enclave judges besides, with the rules that it has for the command line's settings.
 */

import { REDIS_ADDRESSES_MAX } from "../limits.ts";
import {
  REDIS_TOPOLOGIES,
  type RedisAddress,
  type RedisDurability,
  type RedisRoute,
  type RedisTls,
  type StoreSettings,
} from "../messages/control.ts";
import { ownMember, readObject, refuse } from "../signing/json.ts";

/** A Redis database number (`databases` of redis.conf is 16 by default; more than 1024 nobody has). */
const DATABASE_MAX = 1023;
const PORT_MAX = 65_535;
/** A certificate bundle of all public roots has 220 KiB. */
const CA_CHARACTERS_MAX = 256 * 1024;
/** A DNS name or an IP address without brackets. */
const HOST = /^[A-Za-z0-9._:-]{1,253}$/;
const KEY_PREFIX = /^[A-Za-z0-9:_-]{1,64}$/;
/** Names that Sentinel takes (sentinel.c). */
const MASTER_NAME = /^[A-Za-z0-9._-]{1,64}$/;
/** An ACL user: anything printable without blanks (Redis ACL documentation). */
const USERNAME = /^[\x21-\x7e]{1,128}$/;
/** N as in `replicated:N`: with the primary and a Sentinel at most 16 addresses. */
const DURABILITY = /^(?:aof-always|managed|replicated:(?:[1-9]|1[0-4]))$/;

/** @throws SignerError `bad_request` naming the member */
export const storeSettingsFromJson = (json: unknown, path: string): StoreSettings => {
  const kind = ownMember(readObject(json, path), "kind");
  if (kind === "sqlite") {
    readMembers(json, path, ["kind"]);
    return { kind: "sqlite" };
  }
  if (kind !== "redis") return refuse(`${path}.kind`, "sqlite or redis", kind);
  const members = readMembers(json, path, ["kind", "username", "database", "keyPrefix", "route", "durability", "tls"]);
  return {
    kind: "redis",
    ...(members.username !== undefined && {
      username: readText(members.username, `${path}.username`, USERNAME),
    }),
    database: readInteger(members.database, `${path}.database`, { min: 0, max: DATABASE_MAX }),
    keyPrefix: readText(members.keyPrefix, `${path}.keyPrefix`, KEY_PREFIX),
    route: readRoute(members.route, `${path}.route`),
    durability: readText(members.durability, `${path}.durability`, DURABILITY) as RedisDurability,
    ...(members.tls !== undefined && { tls: readTls(members.tls, `${path}.tls`) }),
  };
};

/** The members of an object that may have these and no others. @throws SignerError `bad_request` naming the other one */
export const readMembers = <Name extends string>(
  json: unknown,
  path: string,
  names: readonly Name[],
): Readonly<Partial<Record<Name, unknown>>> => {
  const members = readObject(json, path);
  for (const key of Object.keys(members)) {
    if (!(names as readonly string[]).includes(key)) refuse(path, `only ${names.join(", ")}`, key);
  }
  return members as Readonly<Partial<Record<Name, unknown>>>;
};

/** @throws SignerError `bad_request` unless it is a whole number in the range */
export const readInteger = (json: unknown, path: string, { min, max }: { min: number; max: number }): number =>
  Number.isSafeInteger(json) && (json as number) >= min && (json as number) <= max
    ? (json as number)
    : refuse(path, `a whole number ${min}..${max}`, json);

const readRoute = (json: unknown, path: string): RedisRoute => {
  const { topology, addresses, seeds, masterName } = readMembers(json, path, [
    "topology",
    "addresses",
    "seeds",
    "masterName",
  ]);
  const known =
    REDIS_TOPOLOGIES.find((name) => name === topology) ??
    refuse(`${path}.topology`, REDIS_TOPOLOGIES.join(", "), topology);
  if (!Array.isArray(addresses) || addresses.length < 1 || addresses.length > REDIS_ADDRESSES_MAX) {
    return refuse(`${path}.addresses`, `an array of 1..${REDIS_ADDRESSES_MAX}`, addresses);
  }
  if ((known === "sentinel") !== (masterName !== undefined)) {
    refuse(`${path}.masterName`, known === "sentinel" ? "a name" : "none without Sentinel", masterName);
  }
  return {
    topology: known,
    addresses: readAddresses(addresses, `${path}.addresses`),
    seeds: readInteger(seeds, `${path}.seeds`, { min: 1, max: addresses.length }),
    ...(masterName !== undefined && { masterName: readText(masterName, `${path}.masterName`, MASTER_NAME) }),
  };
};

const readAddresses = (json: readonly unknown[], path: string): RedisAddress[] => {
  const seen = new Set<string>();
  return json.map((element, index) => {
    const at = `${path}[${index}]`;
    const members = readMembers(element, at, ["host", "port"]);
    const host = readText(members.host, `${at}.host`, HOST);
    const port = readInteger(members.port, `${at}.port`, { min: 1, max: PORT_MAX });
    const name = `${host} ${port}`;
    if (seen.has(name)) refuse(at, "each address once", `${host}:${port}`);
    seen.add(name);
    return { host, port };
  });
};

const readTls = (json: unknown, path: string): RedisTls => {
  const { ca } = readMembers(json, path, ["ca"]);
  if (ca === undefined) return {};
  if (typeof ca === "string" && ca.length <= CA_CHARACTERS_MAX && ca.includes("-----BEGIN CERTIFICATE-----")) {
    return { ca };
  }
  return refuse(`${path}.ca`, `certificates in PEM, at most ${CA_CHARACTERS_MAX} characters`, ca);
};

const readText = (json: unknown, path: string, pattern: RegExp): string =>
  typeof json === "string" && pattern.test(json) ? json : refuse(path, pattern.source, json);
