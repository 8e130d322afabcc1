/** The slashing protection stores that the bench runs over, as an operator would set them up. */

import { freePort } from "../test/helpers/redis-ports.ts";
import { startRedisGroup } from "../test/helpers/redis-replicated.ts";
import { startRedisServer } from "../test/helpers/redis-server.ts";

/** Names of all. */
export const STORES = ["sqlite", "redis", "redis-everysec", "redis-replicated"] as const;
/** One of {@link STORES}. */
export type StoreName = (typeof STORES)[number];

/** A store that runs. */
export interface Store {
  readonly name: StoreName;
  /** What it promises when it acknowledges. */
  readonly durability: string;
  /** Arguments of `testudo up`. */
  readonly args: readonly string[];
  /** Its own processes; none where the pool-manager is the store. */
  readonly pids: readonly number[];
  /** False: Testudo must refuse it. */
  readonly isAccepted: boolean;
  /** Unix socket of the Redis server that is written to. */
  readonly socketPath?: string;
  close(): Promise<void>;
}

/** Starts a store. */
export const openStore = (name: StoreName): Promise<Store> => OPENERS[name]();

const openSqlite = async (): Promise<Store> => ({
  name: "sqlite",
  durability: "WAL, synchronous=FULL",
  args: ["--store", "sqlite"],
  pids: [],
  isAccepted: true,
  close: async () => undefined,
});

const openRedis = async (name: StoreName, fsync: "always" | "everysec"): Promise<Store> => {
  const port = await freePort();
  const server = await startRedisServer({ port, settings: { appendfsync: fsync } });
  return {
    name,
    durability: `appendfsync ${fsync}`,
    args: ["--store", `redis://127.0.0.1:${port}`],
    pids: [await pidOf(server)],
    // A second of acknowledged records can be lost.
    isAccepted: fsync === "always",
    socketPath: server.path,
    close: () => server.close(),
  };
};

const openReplicated = async (): Promise<Store> => {
  const group = await startRedisGroup(1);
  const servers = [group.primary, ...group.replicas];
  const [primary, ...replicas] = servers.map(({ address }) => `${address.host}:${address.port}`);
  return {
    name: "redis-replicated",
    durability: "appendfsync always, replicated:1",
    args: [
      ...["--store", `redis://${primary}`],
      ...["--store-nodes", replicas.join(","), "--store-durability", "replicated:1"],
    ],
    pids: await Promise.all(servers.map(pidOf)),
    isAccepted: true,
    socketPath: group.primary.path,
    close: () => group.close(),
  };
};

const OPENERS = {
  sqlite: openSqlite,
  redis: () => openRedis("redis", "always"),
  "redis-everysec": () => openRedis("redis-everysec", "everysec"),
  "redis-replicated": openReplicated,
} satisfies Record<StoreName, () => Promise<Store>>;

const pidOf = async (server: { command(...words: string[]): Promise<string> }): Promise<number> => {
  const [, pid] = /^process_id:(\d+)/m.exec(await server.command("INFO", "server")) ?? [];
  if (pid === undefined) throw new Error("redis-server does not tell its process id");
  return Number(pid);
};
