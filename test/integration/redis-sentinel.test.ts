/** A primary that Sentinels name: a failover loses nothing, and nobody leads the store astray. */

import { randomBytes } from "node:crypto";
import { afterEach, expect, it } from "vitest";
import { createRedisStore, type RedisSlashingStore } from "#enclave/slashing/redis-store.ts";
import type { RedisAddress } from "#protocol/messages/control.ts";
import { freePort } from "../helpers/redis-ports.ts";
import { type RedisGroup, startRedisGroup } from "../helpers/redis-replicated.ts";
import { MASTER_NAME, type Sentinel, startSentinel } from "../helpers/redis-sentinel.ts";

const cleanups: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const start = async (replicas: number): Promise<{ group: RedisGroup; sentinel: Sentinel }> => {
  const group = await startRedisGroup(replicas);
  cleanups.push(() => group.close());
  const sentinel = await startSentinel(group.primary.address, { replicas });
  cleanups.push(() => sentinel.close());
  return { group, sentinel };
};

const openStore = (sentinels: readonly RedisAddress[], nodes: readonly RedisAddress[]): RedisSlashingStore => {
  const store = createRedisStore({
    connect: { sentinels: { addresses: sentinels, masterName: MASTER_NAME }, nodes },
    keyPrefix: "test",
    durability: "replicated:1",
    deadlineMs: 1_000,
    random: () => 0.9,
  });
  cleanups.push(() => store.close());
  return store;
};

const nodesOf = ({ primary, replicas }: RedisGroup): RedisAddress[] => [primary, ...replicas].map((one) => one.address);
const key = (): Buffer => randomBytes(48);
const value = (): Buffer => randomBytes(136);
const reasonAtFirst = async (store: RedisSlashingStore): Promise<string> => {
  const durability = await store.ready(600);
  return durability.ok ? "ok" : durability.reason;
};

it("a failover loses no acknowledged write, and signing goes on when both servers are back", async () => {
  const { group, sentinel } = await start(1);
  // A Sentinel that is gone is passed over.
  const store = openStore([{ host: "127.0.0.1", port: await freePort() }, sentinel.address], nodesOf(group));
  expect(await store.ready(10_000)).toEqual({ ok: true });
  const acknowledged = new Map<string, Buffer>();
  let killed: Promise<void> | undefined;
  const write = async (): Promise<void> => {
    for (;;) {
      const [name, next] = [key(), value()];
      if ((await store.compareAndSet(name, undefined, next)).kind !== "stored") return;
      acknowledged.set(name.toString("hex"), next);
      if (acknowledged.size === 300) killed = group.primary.kill();
    }
  };
  await Promise.all(Array.from({ length: 8 }, write));
  await killed;
  // The replica is promoted, but a write would be on one server alone: refused until the other is back.
  const { port } = group.replicas[0]?.address ?? { port: 0 };
  await expect
    .poll(() => sentinel.command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER_NAME), { timeout: 15_000 })
    .toContain(String(port));
  expect(await store.compareAndSet(key(), undefined, value())).toMatchObject({ kind: "unknown" });
  await group.primary.start();
  expect(await store.ready(25_000)).toEqual({ ok: true });
  const names = [...acknowledged.keys()].map((name) => Buffer.from(name, "hex"));
  const kept = await store.getMany(names);
  expect(kept.map((bytes) => bytes && Buffer.from(bytes))).toEqual([...acknowledged.values()]);
  const [name, first] = [key(), value()];
  expect(await store.compareAndSet(name, undefined, first)).toEqual({ kind: "stored" });
  expect(await group.replicas[0]?.command("EXISTS", `test:{${name.toString("hex")}}`)).toBe(":1\r\n");
});

it("a primary that the operator did not list is not reached", async () => {
  const { group, sentinel } = await start(1);
  const store = openStore([sentinel.address], [{ host: "127.0.0.1", port: 1 }]);
  const { host, port } = group.primary.address;
  expect(await reasonAtFirst(store)).toContain(
    `it announces ${host}:${port} as the primary, which may not be reached: add`,
  );
  expect(await group.primary.command("INFO", "commandstats")).not.toContain("cmdstat_eval");
});

it("a replica that is down, and that nobody counts, is refused: it may be promoted when it is back", async () => {
  const { group, sentinel } = await start(2);
  await group.replicas[1]?.kill();
  await expect.poll(() => group.primary.command("INFO", "replication")).toContain("connected_slaves:1");
  const store = openStore([sentinel.address], nodesOf(group));
  expect(await reasonAtFirst(store)).toMatch(
    /replicas: expected at most 1, it knows 2; .*replicated:2.*SENTINEL RESET slashing/,
  );
});

it("Sentinels that want to know who asks are told, and need two permissions", async () => {
  const { group, sentinel } = await start(1);
  const word = [">open sesame", "resetchannels", "-@all"];
  for (const server of [group.primary, ...group.replicas]) {
    await server.command("ACL", "SETUSER", "signer", "on", ...word, "~test:*", "+info", "+config|get", "+eval", "+get");
  }
  const allowed = ["+sentinel|get-master-addr-by-name", "+sentinel|replicas"];
  expect(await sentinel.command("ACL", "SETUSER", "signer", "on", ...word, ...allowed)).toBe("+OK\r\n");
  await sentinel.command("ACL", "SETUSER", "default", "off");
  const sentinels = { addresses: [sentinel.address], masterName: MASTER_NAME };
  const connect = { sentinels, nodes: nodesOf(group), username: "signer", password: "open sesame" };
  const store = createRedisStore({ connect, keyPrefix: "test", durability: "replicated:1" });
  cleanups.push(() => store.close());
  expect(await store.ready(5_000)).toEqual({ ok: true });
});

it("a Sentinel that knows no such primary says so", async () => {
  const { group, sentinel } = await start(1);
  const connect = { sentinels: { addresses: [sentinel.address], masterName: "other" }, nodes: nodesOf(group) };
  const store = createRedisStore({ connect, keyPrefix: "test", durability: "replicated:1" });
  cleanups.push(() => store.close());
  expect(await reasonAtFirst(store)).toMatch(/sentinel 127\.0\.0\.1:\d+: .*(no primary called other|No such master)/);
});
