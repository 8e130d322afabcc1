/**
 * A Redis Cluster of three primaries with a replica each, for availability alone: replication is asynchronous, so that a
 * promotion may lose acknowledged writes. `managed` is a promise that a plain cluster does not keep.
 */

import { freePort, untilReply } from "../../helpers/redis-ports.ts";
import { type RedisServer, startRedisServer } from "../../helpers/redis-server.ts";
import { createRandom } from "../../simulation/random.ts";
import { networkFaults } from "../network-faults.ts";
import { type ChaosProxy, startProxy } from "../proxy.ts";
import type { SetUp } from "../set-up.ts";
import { serverFaults } from "./redis.ts";
import { askServer, takesWrites } from "./redis-probe.ts";

const SLOTS = 16_384;
const PRIMARIES = 3;
/** A primary that is silent for so long is replaced by its replica. */
const NODE_TIMEOUT_MS = 1_000;

interface Node {
  readonly server: RedisServer;
  readonly proxy: ChaosProxy;
  readonly busPort: number;
}

/** Starts six servers, their proxies, and makes a cluster of them. */
export const openCluster = async (): Promise<SetUp> => {
  const nodes: Node[] = [];
  while (nodes.length < 2 * PRIMARIES) nodes.push(await startNode());
  await form(nodes);
  const random = createRandom(nodes.length);
  /** Every server that ever was a primary. */
  const seen = new Set<Node>(nodes.slice(0, PRIMARIES));
  const addresses = nodes.map(({ proxy }) => `127.0.0.1:${proxy.port}`);
  const primaries = async (): Promise<Node[]> => {
    const replies = await Promise.all(nodes.map(({ server }) => askServer(server, "INFO", "replication")));
    const found = nodes.filter((_, index) => replies[index]?.includes("role:master"));
    for (const node of found) seen.add(node);
    return found;
  };
  return {
    description: "Redis Cluster of 3 + 3, managed (availability alone)",
    args: [
      ...["--store", `redis+cluster://${addresses.slice(0, 3).join(",")}`, "--store-nodes", addresses.join(",")],
      ...["--store-durability", "managed"],
    ],
    isSafe: false,
    faults: ({ monitor }) => [
      ...serverFaults({
        monitor,
        name: "a cluster primary",
        pick: async () => {
          const found = await primaries();
          return found.length === 0 ? undefined : random.pick(found).server;
        },
        // Shorter than a promotion takes: a primary that wakes up replaced acknowledges what waited, and loses it.
        stopMs: [200, NODE_TIMEOUT_MS / 2],
      }),
      ...networkFaults({ monitor, proxies: () => nodes.map(({ proxy }) => proxy) }),
    ],
    isWritable: async () => {
      const found = await primaries();
      const states = await Promise.all(found.map(({ server }) => isWhole(server)));
      return found.length === PRIMARIES && states.every(Boolean);
    },
    notes: () => [`${seen.size - PRIMARIES} of ${PRIMARIES} replicas promoted at least once`],
    skipped: [],
    close: async () => {
      for (const { proxy, server } of nodes) {
        await proxy.close();
        await server.close();
      }
    },
  };
};

const startNode = async (): Promise<Node> => {
  const [port, busPort] = [await freePort(), await freePort()];
  const proxy = await startProxy({ port });
  const server = await startRedisServer({
    port,
    settings: {
      "cluster-enabled": "yes",
      "cluster-port": String(busPort),
      "cluster-announce-ip": "127.0.0.1",
      "cluster-announce-port": String(proxy.port),
      "cluster-announce-bus-port": String(busPort),
      "cluster-node-timeout": String(NODE_TIMEOUT_MS),
      "repl-diskless-sync-delay": "0",
    },
  });
  return { server, proxy, busPort };
};

const form = async (nodes: readonly Node[]): Promise<void> => {
  const [first] = nodes;
  for (const [index, { server, proxy, busPort }] of nodes.entries()) {
    await server.command("CLUSTER", "SET-CONFIG-EPOCH", String(index + 1));
    await first?.server.command("CLUSTER", "MEET", "127.0.0.1", String(proxy.port), String(busPort));
    if (index >= PRIMARIES) continue;
    const start = Math.floor((index * SLOTS) / PRIMARIES);
    const end = Math.floor(((index + 1) * SLOTS) / PRIMARIES) - 1;
    await server.command("CLUSTER", "ADDSLOTSRANGE", String(start), String(end));
  }
  for (const [index, { server }] of nodes.entries()) {
    await untilReply(() => server.command("CLUSTER", "INFO"), /cluster_known_nodes:6/);
    if (index < PRIMARIES) continue;
    const primary = nodes[index - PRIMARIES] as Node;
    const [, id = ""] = (await primary.server.command("CLUSTER", "MYID")).split("\r\n");
    await untilReply(() => server.command("CLUSTER", "REPLICATE", id), /^\+OK/);
    await untilReply(() => server.command("INFO", "replication"), /master_link_status:up/);
  }
  for (const { server } of nodes) await untilReply(() => server.command("CLUSTER", "INFO"), /cluster_state:ok/);
};

/** Whether a primary is in touch with the cluster. Only the owner of the probe's slot takes the probe's write. */
const isWhole = async (server: RedisServer): Promise<boolean> => {
  if (!(await askServer(server, "CLUSTER", "INFO")).includes("cluster_state:ok")) return false;
  return (await takesWrites(server)) || (await askServer(server, "SET", "chaos:probe", "1")).startsWith("-MOVED");
};
