/** From the command line to the enclave: what `--store` and its companions mean, and where each address leads. */

import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parseEnclaveConfig } from "#enclave/config.ts";
import { connectOptionsOf } from "#enclave/slashing/redis-channel.ts";
import { describeStore } from "#pool-manager/config.ts";
import { createRedisEgress } from "#pool-manager/egress/redis-egress.ts";
import { SignerError } from "#protocol/errors.ts";
import { PORT_EGRESS_REDIS } from "#protocol/limits.ts";
import { NAMED_NETWORKS } from "#protocol/signing/named-networks.ts";
import { type StoreOptionValues, storeLocationOf, storeOf } from "../../cli/options.ts";

const folder = mkdtempSync(join(tmpdir(), "testudo-options-"));
const caFile = join(folder, "ca.pem");
beforeAll(() => writeFileSync(caFile, "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const values = (store: string, more: Partial<StoreOptionValues> = {}): StoreOptionValues => ({
  data: folder,
  store,
  ...more,
});
const outcome = (options: StoreOptionValues): string => {
  try {
    storeOf(options);
    return "accepted";
  } catch (error) {
    return error instanceof SignerError ? `${error.code}: ${error.detail}` : `defect: ${String(error)}`;
  }
};

describe("the options of a Redis store", () => {
  it("name one server", () => {
    expect(storeOf(values("redis://a%20b@[fd00::1]:7000/3"))).toEqual({
      kind: "redis",
      host: "fd00::1",
      port: 7000,
      route: { topology: "single", addresses: [{ host: "fd00::1", port: 7000 }], seeds: 1 },
      durability: "aof-always",
      database: 3,
      username: "a b",
    });
    const plain = storeOf(values("redis://localhost"));
    expect(plain).toMatchObject({ host: "localhost", port: 6379, database: 0 });
    expect(plain).not.toHaveProperty("tls");
  });

  it("name a primary and its replicas, with TLS", () => {
    const location = storeOf(
      values("rediss://a:1", { storeDurability: "replicated:2", storeNodes: "b:2,c,a:1", storeCa: caFile }),
    );
    expect(location).toMatchObject({
      durability: "replicated:2",
      tls: { ca: expect.stringContaining("BEGIN CERTIFICATE") },
      route: {
        seeds: 1,
        addresses: [
          { host: "a", port: 1 },
          { host: "b", port: 2 },
          { host: "c", port: 6379 },
        ],
      },
    });
  });

  it("name Sentinels, and a cluster", () => {
    const sentinel = storeOf(
      values("redis+sentinel://u@s1,s2:5/slashing/4", { storeDurability: "replicated:1", storeNodes: "a,b" }),
    );
    expect(sentinel).toMatchObject({
      username: "u",
      database: 4,
      route: {
        topology: "sentinel",
        masterName: "slashing",
        seeds: 2,
        addresses: [{ host: "s1", port: 26_379 }, { port: 5 }, { host: "a" }, { host: "b" }],
      },
    });
    const cluster = storeOf(values("rediss+cluster://a,b:5", { storeDurability: "managed", storeNodes: "c" }));
    expect(cluster).toMatchObject({ tls: {}, route: { topology: "cluster", seeds: 2 } });
  });

  it.each([
    ["redis://h:7/2", "redis://h:7/2"],
    ["rediss://u@h", "rediss://h:6379/0"],
    ["redis+sentinel://a,b/slashing/1", "redis+sentinel://slashing/1"],
    ["redis+sentinel://b/slashing/1", "redis+sentinel://slashing/1"],
    ["redis+cluster://a,b", "redis+cluster://a:6379"],
    ["sqlite", "sqlite"],
  ])("%s is called %s", (store, name) => {
    expect(describeStore(storeLocationOf(store))).toBe(name);
  });

  it.each([
    [values("sqlite"), /^accepted$/],
    [values("sqlite", { storeDurability: "managed" }), /belong to a Redis --store/],
    [values("sqlite", { storeNodes: "a" }), /belong to a Redis --store/],
    [values("redis://u:p@h"), /a password on the command line is seen by everybody/],
    [values("redis://h/x"), /not understood/],
    [values("redis://h/1/2"), /not understood/],
    [values("redis://h?x=1"), /not understood/],
    [values("redis://"), /not understood/],
    [values("redis+other://h"), /not understood/],
    [values("redis+sentinel://h"), /not understood/],
    [values("redis://a,b"), /expected one address, got 2/],
    [values("redis://h:70000"), /expected host:port, got "h:70000"/],
    [values("redis://%zz@h"), /not URL-encoded/],
    [
      values("redis://h", { storeDurability: "everysec" }),
      /--store-durability: expected aof-always, replicated:N or man/,
    ],
    [values("redis://h", { storeNodes: "a b" }), /--store-nodes: expected host:port, got "a b"/],
    [values("redis://h", { storeNodes: "a" }), /--store-nodes: expected none with aof-always, got 1/],
    [values("redis://h", { storeCa: "/no/such" }), /--store-ca: expected with TLS alone/],
    [values("rediss://h", { storeCa: "/no/such" }), /--store-ca \/no\/such: cannot be read/],
    [values("redis+cluster://h"), /expected managed with a cluster/],
    [values("redis+cluster://h/1", { storeDurability: "managed" }), /expected database 0/],
  ])("%j is judged", (options, expected) => {
    expect(outcome(options)).toMatch(expected);
  });
});

describe("the enclave", () => {
  const settings = (store: object): unknown => ({
    cid: 16,
    network: { name: "mainnet", ...NAMED_NETWORKS.mainnet },
    storeIdHex: "ab".repeat(16),
    operatorKeyHex: "ab".repeat(32),
    store: { kind: "redis", database: 0, keyPrefix: "testudo", ...store },
    initialiseStore: false,
    threads: 1,
    signer: "auto",
  });
  const route = { topology: "single", addresses: [{ host: "h", port: 1 }], seeds: 1 };

  it("takes what the command line makes", () => {
    for (const options of [
      values("rediss://u@h", { storeCa: caFile }),
      values("redis+sentinel://s/slashing", { storeDurability: "replicated:1", storeNodes: "a,b" }),
      values("redis+cluster://a,b", { storeDurability: "managed", storeNodes: "c" }),
    ]) {
      const location = storeOf(options);
      if (location.kind !== "redis") throw new Error("expected Redis");
      const { host: _host, port: _port, ...store } = location;
      expect(parseEnclaveConfig(settings(store)).store).toEqual({ keyPrefix: "testudo", ...store });
    }
  });

  it.each([
    [{ durability: "none" }, /store\.durability: expected aof-always/],
    [{ durability: "managed" }, /store\.route: expected one/],
    [{ route: 5 }, /store\.route\.topology/],
    [{ route: { ...route, addresses: "h:1" } }, /store\.route\.addresses: expected a list/],
    [{ route: { ...route, addresses: [{ host: 5, port: 1 }] } }, /addresses\.host: expected text/],
    [{ route: { ...route, addresses: [{ host: "h", port: "1" }] } }, /addresses\.port/],
    [{ route: { ...route, addresses: [{ host: "h\n", port: 1 }] } }, /expected host:port/],
    [{ route: { ...route, seeds: 17 } }, /store\.route\.seeds/],
    [{ route: { ...route, masterName: 5 } }, /masterName: expected text/],
    [{ route: { ...route, topology: "cluster" } }, /expected managed with a cluster/],
    [{ route, durability: "replicated:1" }, /--store-nodes: expected 1/],
    [{ route, tls: { ca: 5 } }, /store\.tls\.ca: expected text/],
    [{ route, tls: { ca: "" } }, /--store-ca: expected certificates/],
  ])("refuses %j", (store, expected) => {
    expect(() => parseEnclaveConfig(settings(store))).toThrow(expected);
  });
});

describe("the way out", () => {
  it("has one port for each address, and each leads to that address alone", async () => {
    const accepted: number[] = [];
    const targets = [0, 1].map((index) =>
      createServer((socket) => {
        accepted.push(index);
        socket.destroy();
      }).listen(0, "127.0.0.1"),
    );
    await Promise.all(targets.map((target) => once(target, "listening")));
    const addresses = targets.map((target) => ({
      host: "127.0.0.1",
      port: (target.address() as { port: number }).port,
    }));
    const quiet = () => undefined;
    const egress = createRedisEgress(
      { topology: "cluster", addresses, seeds: 1 },
      { debug: quiet, info: quiet, warn: quiet, error: quiet },
    );
    expect(egress.map(({ port }) => port)).toEqual([PORT_EGRESS_REDIS, PORT_EGRESS_REDIS + 1]);
    const enclave = createServer((socket: Socket) => egress[1]?.onConnection(socket)).listen(0, "127.0.0.1");
    await once(enclave, "listening");
    const socket = connect({ host: "127.0.0.1", port: (enclave.address() as { port: number }).port });
    await once(socket, "close");
    expect(accepted).toEqual([1]);
    for (const server of [...targets, enclave]) server.close();
  });

  it("gives the store the roles of the addresses", () => {
    const [a, b] = [
      { host: "a", port: 1 },
      { host: "b", port: 2 },
    ] as const;
    expect(connectOptionsOf({ topology: "single", addresses: [a, b], seeds: 1 })).toEqual({ ...a, nodes: [b] });
    expect(connectOptionsOf({ topology: "sentinel", addresses: [a, b], seeds: 1, masterName: "m" })).toEqual({
      sentinels: { addresses: [a], masterName: "m" },
      nodes: [b],
    });
    expect(connectOptionsOf({ topology: "cluster", addresses: [a, b], seeds: 1 })).toEqual({
      cluster: [a],
      nodes: [b],
    });
  });
});
