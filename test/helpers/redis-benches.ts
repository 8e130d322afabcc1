/** Redis set-ups, opened, crashed and removed for the contract of a slashing store. */

import { randomBytes } from "node:crypto";
import { createRedisStore, type RedisSlashingStore, type RedisStoreOptions } from "#enclave/slashing/redis-store.ts";
import type { SlashingStore } from "#protocol/slashing/store.ts";
import { startRedisCluster } from "./redis-cluster.ts";
import { startRedisGroup } from "./redis-replicated.ts";
import { startRedisServer } from "./redis-server.ts";

/** How the contract opens, crashes and removes one kind of store. */
export interface RedisBench {
  open(): Promise<SlashingStore>;
  /** Crashes the servers amid writes of values 1, 2, 3, … (u32); answers each key's last acknowledged number. */
  crashAmidWrites(): Promise<Map<string, number>>;
  remove(): Promise<void>;
}

const WRITERS = 16;
const WRITES_BEFORE_CRASH = 500;
const READY_MS = 15_000;

/** One server at `aof-always`, killed. */
export const openServerBench = async (): Promise<RedisBench> => {
  const server = await startRedisServer();
  return bench({
    connect: { path: server.path },
    durability: "aof-always",
    kill: () => server.kill(),
    start: () => server.start(),
    remove: () => server.close(),
  });
};

/** A primary and one replica at `replicated:1`; both are killed at the same time. */
export const openReplicatedBench = async (): Promise<RedisBench> => {
  const group = await startRedisGroup(1);
  const servers = [group.primary, ...group.replicas];
  return bench({
    connect: { ...group.primary.address, nodes: group.replicas.map(({ address }) => address) },
    durability: "replicated:1",
    kill: async () => void (await Promise.all(servers.map((server) => server.kill()))),
    start: async () => void (await Promise.all(servers.map((server) => server.start()))),
    remove: () => group.close(),
  });
};

/** Three servers at `managed`, all killed at the same time. */
export const openClusterBench = async (): Promise<RedisBench> => {
  const cluster = await startRedisCluster();
  const { kill, start } = cluster;
  const connect = { cluster: cluster.addresses };
  return bench({ connect, durability: "managed", kill, start, remove: () => cluster.close() });
};

const bench = (
  servers: Pick<RedisStoreOptions, "connect" | "durability"> &
    Record<"kill" | "start", () => Promise<void>> & { remove: () => Promise<void> },
): RedisBench => {
  const { connect, durability } = servers;
  const open = async (): Promise<RedisSlashingStore> => {
    const store = createRedisStore({ connect, durability, keyPrefix: "contract" });
    const ready = await store.ready(READY_MS);
    if (!ready.ok) throw new Error(ready.reason);
    return store;
  };
  return {
    open,
    crashAmidWrites: async () => {
      const store = await open();
      const acknowledged = new Map<string, number>();
      let writes = 0;
      let killed: Promise<void> | undefined;
      const write = async (): Promise<void> => {
        const key = randomBytes(48);
        let expected: Uint8Array | undefined;
        for (let count = 1; ; count += 1) {
          const next = randomBytes(136);
          next.writeUInt32BE(count);
          const result = await store.compareAndSet(key, expected, next);
          if (result.kind === "conflict") throw new Error("a conflict on a key of one writer");
          if (result.kind === "unknown") return;
          acknowledged.set(key.toString("hex"), count);
          expected = next;
          writes += 1;
          if (writes === WRITES_BEFORE_CRASH) killed = servers.kill();
        }
      };
      await Promise.all(Array.from({ length: WRITERS }, write));
      await killed;
      await store.close();
      await servers.start();
      return acknowledged;
    },
    remove: servers.remove,
  };
};
