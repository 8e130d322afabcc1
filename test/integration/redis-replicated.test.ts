/** Level `replicated:N` over real replicas: what it promises when servers die, stall, join or are weaker than they should be. */

import { randomBytes } from "node:crypto";
import { afterEach, describe, expect, it } from "vitest";
import { createRedisStore, type RedisSlashingStore, type RedisStoreOptions } from "#enclave/slashing/redis-store.ts";
import { ask, attestation, resultOf, validator, watchedGuard } from "../helpers/guarded.ts";
import { untilReply } from "../helpers/redis-ports.ts";
import { type RedisGroup, startRedisGroup } from "../helpers/redis-replicated.ts";

const cleanups: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const startGroup = async (replicas: number): Promise<RedisGroup> => {
  const group = await startRedisGroup(replicas);
  cleanups.push(() => group.close());
  return group;
};

const openStore = (options: Partial<RedisStoreOptions>): RedisSlashingStore => {
  const store = createRedisStore({ connect: {}, keyPrefix: "test", durability: "aof-always", ...options });
  cleanups.push(() => store.close());
  return store;
};

/** A store that counts the group's replicas, all of which it may reach. */
const openReplicated = async (group: RedisGroup, options: Partial<RedisStoreOptions> = {}) => {
  const nodes = group.replicas.map(({ address }) => address);
  const durability = `replicated:${nodes.length}` as const;
  const store = openStore({ connect: { ...group.primary.address, nodes }, durability, ...options });
  expect(await store.ready(10_000)).toEqual({ ok: true });
  return store;
};

const key = (): Buffer => randomBytes(48);
const value = (): Buffer => randomBytes(136);
const reasonOf = async (store: RedisSlashingStore): Promise<string> => {
  const durability = await store.durability();
  return durability.ok ? "ok" : durability.reason;
};

describe("a write that was acknowledged", () => {
  it("is on the replica that is promoted when the primary is killed", async () => {
    const group = await startGroup(1);
    const [replica] = group.replicas;
    const store = await openReplicated(group);
    const acknowledged = new Map<string, Buffer>();
    let killed: Promise<void> | undefined;
    const write = async (): Promise<void> => {
      for (;;) {
        const [name, next] = [key(), value()];
        if ((await store.compareAndSet(name, undefined, next)).kind !== "stored") return;
        acknowledged.set(name.toString("hex"), next);
        if (acknowledged.size === 500) killed = group.primary.kill();
      }
    };
    await Promise.all(Array.from({ length: 16 }, write));
    await killed;
    // Its disk has them, too.
    await replica?.kill();
    await replica?.start();
    await replica?.command("REPLICAOF", "NO", "ONE");
    const successor = openStore({ connect: { path: replica?.path } });
    expect(await successor.ready(10_000)).toEqual({ ok: true });
    const names = [...acknowledged.keys()].map((name) => Buffer.from(name, "hex"));
    const kept = await successor.getMany(names);
    expect(kept.map((bytes) => bytes && Buffer.from(bytes))).toEqual([...acknowledged.values()]);
  });

  it("costs one round trip with all others of the same moment", async () => {
    const store = await openReplicated(await startGroup(2));
    const results = await Promise.all(
      Array.from({ length: 200 }, () => store.compareAndSet(key(), undefined, value())),
    );
    expect(new Set(results.map(({ kind }) => kind))).toEqual(new Set(["stored"]));
    expect([store.operations, store.roundTrips]).toEqual([200, 1]);
  });
});

describe("a replica that stalls", () => {
  it("makes writes unknown; the same one again succeeds when the replica has it", async () => {
    const group = await startGroup(1);
    const store = await openReplicated(group, { deadlineMs: 450 });
    const [name, first] = [key(), value()];
    group.replicas[0]?.signal("SIGSTOP");
    try {
      const result = await store.compareAndSet(name, undefined, first);
      expect(result).toMatchObject({ kind: "unknown", detail: expect.stringMatching(/WAIT: expected 1 .*got 0/) });
      await expect.poll(() => reasonOf(store)).toMatch(/replica 127\.0\.0\.1:\d+: no answer within 450 ms/);
      // Nothing is sent meanwhile: there is nothing to gain.
      const { roundTrips } = store;
      expect(await store.compareAndSet(key(), undefined, value())).toMatchObject({ kind: "unknown" });
      expect(store.roundTrips).toBe(roundTrips);
    } finally {
      group.replicas[0]?.signal("SIGCONT");
    }
    await expect.poll(() => reasonOf(store), { timeout: 5_000 }).toBe("ok");
    const again = await store.compareAndSet(name, undefined, value());
    expect(again.kind === "conflict" && Buffer.from(again.actual ?? [])).toEqual(first);
    expect(await store.compareAndSet(name, first, first)).toEqual({ kind: "stored" });
  });

  it("hides what it lacks: nobody reads a record that a failover would lose", async () => {
    const group = await startGroup(1);
    const impatient = { deadlineMs: 600 };
    const [writer, reader] = [await openReplicated(group, impatient), await openReplicated(group, impatient)];
    const [name, first, second] = [key(), value(), value()];
    expect(await writer.compareAndSet(name, undefined, first)).toEqual({ kind: "stored" });
    await group.replicas[0]?.kill();
    expect(await writer.compareAndSet(name, first, second)).toMatchObject({ kind: "unknown" });
    await expect(reader.getMany([name])).rejects.toMatchObject({ code: "unavailable" });
    await group.replicas[0]?.start();
    const read = async (): Promise<string> => {
      const [bytes] = await reader.getMany([name]).catch(() => []);
      return Buffer.from(bytes ?? []).toString("hex");
    };
    // The replica has the second value by now, so that it may be believed.
    await expect.poll(read, { timeout: 10_000 }).toBe(second.toString("hex"));
  });
});

it("the same root that met an unknown outcome is signed once the store has it durably", async () => {
  const group = await startGroup(1);
  const store = await openReplicated(group, { deadlineMs: 450 });
  const { guard } = watchedGuard(store);
  const pubkey = validator(7);
  await guard.track([{ pubkey, registered: false }]);
  const duty = { pubkey, candidate: attestation(1, 2, 0xaa) };
  group.replicas[0]?.signal("SIGSTOP");
  try {
    expect(await resultOf(ask(guard, duty))).toBe("unknown_outcome");
    // Another message for the same target is refused or unknown, but never signed.
    expect(await resultOf(ask(guard, { pubkey, candidate: attestation(1, 2, 0xbb) }))).not.toBe("signed");
  } finally {
    group.replicas[0]?.signal("SIGCONT");
  }
  await expect.poll(() => resultOf(ask(guard, duty)), { timeout: 5_000 }).toBe("signed");
  expect(await resultOf(ask(guard, { pubkey, candidate: attestation(1, 2, 0xbb) }))).toBe("double_vote");
});

describe("refused is", () => {
  it("a replica that is not counted", async () => {
    const group = await startGroup(2);
    const nodes = group.replicas.slice(0, 1).map(({ address }) => address);
    const store = openStore({ connect: { ...group.primary.address, nodes }, durability: "replicated:1" });
    const durability = await store.ready(500);
    expect(durability.ok ? "" : durability.reason).toMatch(
      /connected_slaves: expected 1, got 2; mend with: redis-cli -h .* REPLICAOF NO ONE, or .*replicated:2/,
    );
    expect(await store.compareAndSet(key(), undefined, value())).toMatchObject({ kind: "unknown" });
  });

  it("a write that such a replica may have acknowledged since the last check", async () => {
    const group = await startGroup(1);
    const store = await openReplicated(group, { checkIntervalMs: 600_000 });
    await group.addReplica();
    expect(await store.compareAndSet(key(), undefined, value())).toMatchObject({ kind: "unknown" });
    await expect.poll(() => reasonOf(store)).toContain("connected_slaves: expected 1, got 2");
  });

  it("a primary that lacks a replica", async () => {
    const group = await startGroup(1);
    const store = await openReplicated(group, { checkIntervalMs: 50 });
    await group.replicas[0]?.kill();
    await expect.poll(() => reasonOf(store)).toMatch(/connected_slaves: expected 1, got 0; .*bring the missing/);
    await group.replicas[0]?.start();
    await expect.poll(() => reasonOf(store), { timeout: 10_000 }).toBe("ok");
    expect(await store.compareAndSet(key(), undefined, value())).toEqual({ kind: "stored" });
  });

  it.each([
    ["appendfsync", "everysec", "always"],
    ["maxmemory-policy", "allkeys-lru", "noeviction"],
    ["replica-read-only", "no", "yes"],
  ])("a replica with %s %s, until it is mended", async (setting, weak, good) => {
    const group = await startGroup(1);
    const [replica] = group.replicas;
    const store = await openReplicated(group);
    await replica?.command("CONFIG", "SET", setting, weak);
    const { host, port } = replica?.address ?? { host: "", port: 0 };
    const mend = `redis-cli -h ${host} -p ${port} CONFIG SET ${setting} ${good}`;
    const reason = await reasonOf(store);
    expect(reason).toContain(`redis: replica ${host}:${port}: `);
    expect(reason).toContain(mend);
    expect(await store.compareAndSet(key(), undefined, value())).toMatchObject({ kind: "unknown" });
    await replica?.command("CONFIG", "SET", setting, good);
    await expect.poll(() => reasonOf(store), { timeout: 5_000 }).toBe("ok");
  });

  it("a replica whose own replica nobody counts", async () => {
    const group = await startGroup(1);
    const store = await openReplicated(group);
    const { host, port } = group.replicas[0]?.address ?? { host: "", port: 0 };
    const second = await startRedisGroup(0, { replicaof: `${host} ${port}` });
    cleanups.push(() => second.close());
    await untilReply(() => second.primary.command("INFO", "replication"), /master_link_status:up/);
    expect(await reasonOf(store)).toContain("connected_slaves: expected 0, got 1");
  });

  it("a replica that the operator did not list", async () => {
    const group = await startGroup(1);
    const nodes = [{ host: "127.0.0.1", port: 1 }];
    const store = openStore({ connect: { ...group.primary.address, nodes }, durability: "replicated:1" });
    const durability = await store.ready(500);
    expect(durability.ok ? "" : durability.reason).toMatch(
      /replica 127\.0\.0\.1:\d+: it may not be reached: add it to --store-nodes/,
    );
  });

  it("a server of a cluster, at any level but managed", async () => {
    const single = await startRedisGroup(0, { "cluster-enabled": "yes" });
    cleanups.push(() => single.close());
    const store = openStore({ connect: single.primary.address });
    const durability = await store.ready(500);
    expect(durability.ok ? "" : durability.reason).toContain("--store redis+cluster://… --store-durability managed");
  });
});
