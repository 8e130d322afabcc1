/**
 * A primary and a replica at `replicated:1` with a Sentinel that promotes. Each server is known to everybody (Sentinel,
 * the other server, Testudo) by its proxy's address alone, so that a cut is a partition.
 */

import { freePort, untilReply } from "../../helpers/redis-ports.ts";
import { MASTER_NAME, type Sentinel, startSentinel } from "../../helpers/redis-sentinel.ts";
import { type RedisServer, startRedisServer } from "../../helpers/redis-server.ts";
import { networkFaults } from "../network-faults.ts";
import { type ChaosProxy, startProxy } from "../proxy.ts";
import type { SetUp } from "../set-up.ts";
import { serverFaults } from "./redis.ts";
import { askServer, takesWrites } from "./redis-probe.ts";

interface Node {
  readonly server: RedisServer;
  readonly proxy: ChaosProxy;
}

/** Starts two servers, their proxies and a Sentinel. */
export const openSentinel = async (): Promise<SetUp> => {
  const first = await startNode();
  const second = await startNode(["127.0.0.1", String(first.proxy.port)].join(" "));
  const nodes = [first, second];
  await untilReply(() => second.server.command("INFO", "replication"), /master_link_status:up/);
  await untilReply(() => second.server.command("INFO", "persistence"), /aof_rewrite_in_progress:0/);
  const sentinel = await startSentinel({ host: "127.0.0.1", port: first.proxy.port }, { replicas: 1 });
  const names: Node[] = [first];
  const primary = async (): Promise<Node | undefined> => {
    const named = await primaryOf(nodes, sentinel);
    if (named !== undefined && named !== names.at(-1)) names.push(named);
    return named;
  };
  /** Shared, for the roles change. */
  const broken = new Set<RedisServer>();
  const replica = async () => {
    const named = await primary();
    return nodes.find((node) => named !== undefined && node !== named);
  };
  return {
    description: "Redis, primary and replica with Sentinel, replicated:1",
    args: [
      ...["--store", `redis+sentinel://127.0.0.1:${sentinel.address.port}/${MASTER_NAME}`],
      ...["--store-nodes", nodes.map(({ proxy }) => `127.0.0.1:${proxy.port}`).join(",")],
      ...["--store-durability", "replicated:1"],
    ],
    isSafe: true,
    faults: ({ monitor }) => [
      ...serverFaults({ monitor, name: "the Redis primary", pick: async () => (await primary())?.server, broken }),
      ...serverFaults({ monitor, name: "the Redis replica", pick: async () => (await replica())?.server, broken }),
      ...networkFaults({ monitor, proxies: () => nodes.map(({ proxy }) => proxy) }),
    ],
    isWritable: async () => {
      const [named, other] = [await primary(), await replica()];
      return named !== undefined && other !== undefined && isPair(named.server, other.server);
    },
    notes: () => [`${names.length - 1} promotions`],
    skipped: [],
    close: async () => {
      await sentinel.close();
      for (const { proxy, server } of nodes) {
        await proxy.close();
        await server.close();
      }
    },
  };
};

const startNode = async (replicaof?: string): Promise<Node> => {
  const port = await freePort();
  const proxy = await startProxy({ port });
  const server = await startRedisServer({
    port,
    settings: {
      "repl-diskless-sync-delay": "0",
      "replica-announce-ip": "127.0.0.1",
      "replica-announce-port": String(proxy.port),
      ...(replicaof !== undefined && { replicaof }),
    },
  });
  return { server, proxy };
};

/** Whom the Sentinel names. */
const primaryOf = async (nodes: readonly Node[], sentinel: Sentinel): Promise<Node | undefined> => {
  const reply = await askServer(sentinel, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER_NAME);
  const port = Number(reply.split("\r\n")[4]);
  return nodes.find(({ proxy }) => proxy.port === port);
};

/** Whether a write to `primary` is taken by both: what `replicated:1` asks for. */
const isPair = async (primary: RedisServer, replica: RedisServer): Promise<boolean> => {
  const [upper, lower, persistence] = await Promise.all([
    askServer(primary, "INFO", "replication"),
    askServer(replica, "INFO", "replication"),
    askServer(replica, "INFO", "persistence"),
  ]);
  return (
    /role:master/.test(upper) &&
    /connected_slaves:1\r\nslave0:\S*state=online/.test(upper) &&
    /role:slave[\s\S]*master_link_status:up/.test(lower) &&
    // A replica that took a whole copy writes its file first.
    /aof_rewrite_in_progress:0\r\naof_rewrite_scheduled:0/.test(persistence) &&
    takesWrites(primary)
  );
};
