import { describe, expect, it } from "vitest";
import { parseDurability, type RedisSettings, redisSettingsProblem } from "#enclave/slashing/redis-settings.ts";

const at = (count: number, port = 6379) =>
  Array.from({ length: count }, (_, index) => ({ host: `redis-${index}.internal`, port }));
const SINGLE: RedisSettings = {
  route: { topology: "single", addresses: at(1), seeds: 1 },
  durability: "aof-always",
  database: 3,
};
const REPLICATED: RedisSettings = {
  ...SINGLE,
  route: { topology: "single", addresses: at(3), seeds: 1 },
  durability: "replicated:2",
};
const SENTINEL: RedisSettings = {
  ...SINGLE,
  route: { topology: "sentinel", addresses: [...at(3, 26_379), ...at(2)], seeds: 3, masterName: "slashing" },
  durability: "replicated:1",
};
const CLUSTER: RedisSettings = {
  route: { topology: "cluster", addresses: at(16), seeds: 2 },
  durability: "managed",
  database: 0,
};

describe("redisSettingsProblem", () => {
  it.each([
    ["one server", SINGLE],
    ["one managed server", { ...SINGLE, durability: "managed" }],
    ["a primary with replicas", REPLICATED],
    ["Sentinels", SENTINEL],
    ["a cluster", CLUSTER],
    ["TLS with public authorities", { ...SINGLE, tls: {} }],
    ["an IPv6 address", { ...SINGLE, route: { ...SINGLE.route, addresses: [{ host: "fd00::1", port: 1 }] } }],
  ] as [string, RedisSettings][])("takes %s", (_, settings) => {
    expect(redisSettingsProblem(settings)).toBeUndefined();
  });

  it.each([
    ["a cluster that is not managed", { ...CLUSTER, durability: "aof-always" }, /expected managed with a cluster/],
    ["a replicated cluster", { ...CLUSTER, durability: "replicated:1" }, /expected managed with a cluster/],
    ["a database in a cluster", { ...CLUSTER, database: 1 }, /expected database 0/],
    ["Sentinels without replicas", { ...SENTINEL, durability: "aof-always" }, /expected replicated:N with Sentinel/],
    ["managed Sentinels", { ...SENTINEL, durability: "managed" }, /expected replicated:N with Sentinel/],
    ["a node too few with Sentinel", { ...SENTINEL, durability: "replicated:2" }, /expected 3 \(the primary and/],
    ["a replica that is not counted", { ...REPLICATED, durability: "replicated:1" }, /expected 1 .*got 2/],
    ["a replica that is not listed", { ...REPLICATED, durability: "replicated:3" }, /expected 3 .*got 2/],
    ["replicas at aof-always", { ...REPLICATED, durability: "aof-always" }, /expected none with aof-always, got 2/],
    ["no address", { ...SINGLE, route: { ...SINGLE.route, addresses: [] } }, /expected 1\.\.16/],
    ["too many addresses", { ...CLUSTER, route: { ...CLUSTER.route, addresses: at(17) } }, /expected 1\.\.16/],
    ["an address twice", { ...CLUSTER, route: { ...CLUSTER.route, addresses: [...at(2), ...at(1)] } }, /each once/],
    ["two single servers", { ...SINGLE, route: { ...REPLICATED.route, seeds: 3 } }, /expected one address/],
    ["more seeds than addresses", { ...SINGLE, route: { ...SINGLE.route, seeds: 2 } }, /expected an address/],
    ["port 0", { ...SINGLE, route: { ...SINGLE.route, addresses: at(1, 0) } }, /expected host:port/],
    ["a name for one server", { ...SINGLE, route: { ...SINGLE.route, masterName: "x" } }, /master name/],
    ["a name with a space", { ...SENTINEL, route: { ...SENTINEL.route, masterName: "a b" } }, /master name/],
    ["a CA that is none", { ...SINGLE, tls: { ca: "hello" } }, /--store-ca: expected certificates in PEM/],
  ] as [string, RedisSettings, RegExp][])("refuses %s", (_, settings, problem) => {
    expect(redisSettingsProblem(settings)).toMatch(problem);
  });
});

describe("parseDurability", () => {
  it.each(["aof-always", "managed", "replicated:1", "replicated:14"])("takes %s", (text) => {
    expect(parseDurability(text)).toBe(text);
  });
  it.each(["", "replicated", "replicated:0", "replicated:15", "replicated:01", "Managed", 5, undefined])(
    "refuses %j",
    (text) => {
      expect(parseDurability(text)).toBeUndefined();
    },
  );
});
