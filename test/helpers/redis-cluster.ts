/** A real Redis Cluster of three primaries on loopback, for tests. */

import { SLOTS } from "#enclave/slashing/redis-slots.ts";
import type { RedisAddress } from "#protocol/messages/control.ts";
import { freePort, untilReply } from "./redis-ports.ts";
import { type GroupServer, startGroupServer } from "./redis-replicated.ts";

/** A running cluster. */
export interface TestCluster {
  readonly servers: readonly GroupServer[];
  readonly addresses: readonly RedisAddress[];
  /** The cluster's own name of a server. */
  idOf(server: GroupServer): Promise<string>;
  /** Ends all servers by SIGKILL at once. The data stays. */
  kill(): Promise<void>;
  /** Starts them again and waits until the cluster is whole. */
  start(): Promise<void>;
  close(): Promise<void>;
}

const SERVERS = 3;

/** Starts the cluster, its slots shared out evenly. */
export const startRedisCluster = async (): Promise<TestCluster> => {
  const servers: GroupServer[] = [];
  const cluster: TestCluster = {
    servers,
    get addresses() {
      return servers.map(({ address }) => address);
    },
    idOf: async (server) => (await server.command("CLUSTER", "MYID")).split("\r\n")[1] ?? "",
    kill: async () => {
      await Promise.all(servers.map((server) => server.kill()));
    },
    start: async () => {
      await Promise.all(servers.map((server) => server.start()));
      await untilWhole(servers);
    },
    close: async () => {
      await Promise.all(servers.map((server) => server.close()));
    },
  };
  try {
    while (servers.length < SERVERS) servers.push(await startClusterServer());
    await join(servers);
    await untilWhole(servers);
  } catch (error) {
    await cluster.close();
    throw error;
  }
  return cluster;
};

/** The bus gets a free port, too: the default, port + 10000, may not exist. */
const startClusterServer = async (): Promise<GroupServer> =>
  startGroupServer({
    "cluster-enabled": "yes",
    "cluster-announce-ip": "127.0.0.1",
    "cluster-port": String(await freePort()),
    "cluster-node-timeout": "1000",
  });

const join = async (servers: readonly GroupServer[]): Promise<void> => {
  for (const [index, server] of servers.entries()) {
    const first = Math.floor((index * SLOTS) / servers.length);
    const last = Math.floor(((index + 1) * SLOTS) / servers.length) - 1;
    await server.command("CLUSTER", "ADDSLOTSRANGE", String(first), String(last));
    await server.command("CLUSTER", "SET-CONFIG-EPOCH", String(index + 1));
    const [, bus] = /cluster-port\r\n\$\d+\r\n(\d+)/.exec(await server.command("CONFIG", "GET", "cluster-port")) ?? [];
    const { host, port } = server.address;
    await servers[0]?.command("CLUSTER", "MEET", host, String(port), String(bus));
  }
};

const untilWhole = async (servers: readonly GroupServer[]): Promise<void> => {
  for (const server of servers) {
    await untilReply(() => server.command("CLUSTER", "INFO"), /cluster_state:ok[\s\S]*cluster_known_nodes:3/);
  }
};
