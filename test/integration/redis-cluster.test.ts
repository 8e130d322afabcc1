/** A real cluster at level `managed`: keys find their server, also while slots move; nothing is sent twice blindly. */

import { randomBytes } from "node:crypto";
import { afterAll, afterEach, beforeAll, expect, it } from "vitest";
import { slotOf } from "#enclave/slashing/redis-slots.ts";
import { createRedisStore, type RedisSlashingStore } from "#enclave/slashing/redis-store.ts";
import type { RedisAddress } from "#protocol/messages/control.ts";
import { startRedisCluster, type TestCluster } from "../helpers/redis-cluster.ts";
import { untilReply } from "../helpers/redis-ports.ts";
import type { GroupServer } from "../helpers/redis-replicated.ts";

let cluster: TestCluster;
const stores: RedisSlashingStore[] = [];
beforeAll(async () => {
  cluster = await startRedisCluster();
});
afterAll(() => cluster?.close());
afterEach(async () => {
  for (const store of stores.splice(0)) await store.close();
});

const openStore = (addresses: { seeds?: readonly RedisAddress[]; nodes?: readonly RedisAddress[] } = {}) => {
  const store = createRedisStore({
    connect: { cluster: addresses.seeds ?? cluster.addresses.slice(0, 1), nodes: addresses.nodes ?? cluster.addresses },
    keyPrefix: "test",
    durability: "managed",
    deadlineMs: 1_000,
  });
  stores.push(store);
  return store;
};

const readyStore = async (): Promise<RedisSlashingStore> => {
  const store = openStore();
  expect(await store.ready(10_000)).toEqual({ ok: true });
  return store;
};

const nameOf = (key: Buffer): string => `test:{${key.toString("hex")}}`;
const value = (): Buffer => randomBytes(136);
const at = (index: number): GroupServer => cluster.servers[index] as GroupServer;

/** A key of a server's first slot range. */
const keyOn = (index: number): Buffer => {
  for (;;) {
    const key = randomBytes(48);
    if (Math.floor((slotOf(nameOf(key)) * cluster.servers.length) / 16_384) === index) return key;
  }
};

const callsOf = async (server: GroupServer): Promise<number> => {
  const [, calls] = /cmdstat_eval:calls=(\d+)/.exec(await server.command("INFO", "commandstats")) ?? [];
  return Number(calls ?? 0);
};

it("sends each key to the server that has its slot, from any one address", async () => {
  const store = await readyStore();
  for (const [index, server] of cluster.servers.entries()) {
    const key = keyOn(index);
    expect(await server.command("CLUSTER", "KEYSLOT", nameOf(key))).toBe(`:${slotOf(nameOf(key))}\r\n`);
    expect(await store.compareAndSet(key, undefined, value())).toEqual({ kind: "stored" });
    expect(await server.command("EXISTS", nameOf(key))).toBe(":1\r\n");
  }
});

it("follows a slot that was moved: what met MOVED was not done, and is done once", async () => {
  const store = await readyStore();
  const key = keyOn(0);
  const slot = String(slotOf(nameOf(key)));
  const owner = await cluster.idOf(at(1));
  for (const server of [at(1), at(0), at(2)]) await server.command("CLUSTER", "SETSLOT", slot, "NODE", owner);
  const before = await callsOf(at(1));
  const first = value();
  expect(await store.compareAndSet(key, undefined, first)).toEqual({ kind: "stored" });
  expect(await store.compareAndSet(key, first, value())).toEqual({ kind: "stored" });
  expect((await callsOf(at(1))) - before).toBe(2);
  expect(store.operations).toBe(3);
});

it("does not follow ASK: a slot on its way is unknown until it has arrived", async () => {
  const store = await readyStore();
  const key = keyOn(1);
  const slot = String(slotOf(nameOf(key)));
  const [from, to] = [await cluster.idOf(at(1)), await cluster.idOf(at(2))];
  await at(2).command("CLUSTER", "SETSLOT", slot, "IMPORTING", from);
  await at(1).command("CLUSTER", "SETSLOT", slot, "MIGRATING", to);
  const result = await store.compareAndSet(key, undefined, value());
  expect(result).toMatchObject({ kind: "unknown", detail: expect.stringContaining("ASK ") });
  expect(await at(2).command("EXISTS", nameOf(key))).not.toBe(":1\r\n");
  for (const server of [at(2), at(1), at(0)]) await server.command("CLUSTER", "SETSLOT", slot, "NODE", to);
  expect(await store.compareAndSet(key, undefined, value())).toEqual({ kind: "stored" });
});

it("is unknown while a server is gone, and goes on when it is back", async () => {
  const store = await readyStore();
  const key = keyOn(2);
  const first = value();
  await store.compareAndSet(key, undefined, first);
  await at(2).kill();
  await expect.poll(() => store.compareAndSet(key, first, first)).toMatchObject({ kind: "unknown" });
  await expect.poll(() => store.durability()).toMatchObject({ ok: false });
  await at(2).start();
  await expect.poll(() => store.durability(), { timeout: 15_000 }).toEqual({ ok: true });
  expect(await store.compareAndSet(key, first, value())).toEqual({ kind: "stored" });
});

it("refuses a cluster with a server that the operator did not list", async () => {
  const store = openStore({ seeds: cluster.addresses.slice(0, 2), nodes: [] });
  const { host, port } = at(2).address;
  const durability = await store.ready(500);
  expect(durability.ok ? "" : durability.reason).toContain(
    `it names ${host}:${port}, which may not be reached: add it to --store-nodes`,
  );
  expect(await store.compareAndSet(keyOn(0), undefined, value())).toMatchObject({ kind: "unknown" });
});

it("refuses a server that evicts, and one that is no cluster", async () => {
  await at(1).command("CONFIG", "SET", "maxmemory-policy", "allkeys-lru");
  const evicting = await openStore().ready(500);
  await at(1).command("CONFIG", "SET", "maxmemory-policy", "noeviction");
  expect(evicting.ok ? "" : evicting.reason).toContain("maxmemory-policy: expected noeviction, got allkeys-lru");
  await untilReply(() => at(1).command("CLUSTER", "INFO"), /cluster_state:ok/);
});
