/** One Redis primary at `aof-always`, behind a proxy. */

import { freePort } from "../../helpers/redis-ports.ts";
import { type RedisServer, startRedisServer } from "../../helpers/redis-server.ts";
import type { Fault } from "../fault.ts";
import type { Monitor } from "../monitor.ts";
import { networkFaults } from "../network-faults.ts";
import { startProxy } from "../proxy.ts";
import type { SetUp } from "../set-up.ts";
import { takesWrites } from "./redis-probe.ts";

/** Starts the server and the proxy. */
export const openRedis = async (): Promise<SetUp> => {
  const port = await freePort();
  const server = await startRedisServer({ port });
  const proxy = await startProxy({ port });
  return {
    description: "Redis, one primary, aof-always",
    args: ["--store", `redis://127.0.0.1:${proxy.port}`],
    isSafe: true,
    faults: ({ monitor }) => [
      ...serverFaults({ monitor, name: "the Redis primary", pick: async () => server }),
      ...networkFaults({ monitor, proxies: () => [proxy] }),
    ],
    isWritable: () => takesWrites(server),
    skipped: [],
    close: async () => {
      await proxy.close();
      await server.close();
    },
  };
};

/** `kill -9` and SIGSTOP of a server; a killed one is started again on the same data. */
export const serverFaults = ({
  monitor,
  name,
  pick,
  stopMs = [200, 4_000],
  broken = new Set(),
}: {
  readonly monitor: Monitor;
  readonly name: string;
  /** The server to break now; undefined: none can be. */
  readonly pick: () => Promise<RedisServer | undefined>;
  /** How long it is frozen. */
  readonly stopMs?: readonly [min: number, max: number];
  /** Servers that are broken now, whoever did it, and are left alone. */
  readonly broken?: Set<RedisServer>;
}): Fault[] => {
  const fault = (
    kind: string,
    durationMs: readonly [number, number],
    [breakIt, mendIt]: readonly [(server: RedisServer) => Promise<void>, (server: RedisServer) => Promise<void>],
  ): Fault => ({
    kind: `${kind} of ${name}`,
    scope: "service",
    durationMs,
    apply: async () => {
      const server = await pick();
      if (server === undefined || broken.has(server)) return undefined;
      broken.add(server);
      const unblock = monitor.block();
      await breakIt(server);
      return {
        detail: server.path,
        undo: async () => {
          await mendIt(server);
          broken.delete(server);
          unblock();
        },
      };
    },
  });
  return [
    fault("kill -9", [200, 6_000], [(server) => server.kill(), (server) => server.start()]),
    fault("SIGSTOP", stopMs, [async (server) => server.signal("SIGSTOP"), async (server) => server.signal("SIGCONT")]),
  ];
};
