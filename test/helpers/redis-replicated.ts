/** A primary with replicas, all as durable as `replicated:N` requires, unless the settings say otherwise. */

import type { RedisAddress } from "#protocol/messages/control.ts";
import { freePort, untilReply } from "./redis-ports.ts";
import { type RedisServer, startRedisServer } from "./redis-server.ts";

/** One server of a group, with its TCP address. */
export interface GroupServer extends RedisServer {
  readonly address: RedisAddress;
}

/** A primary and its replicas. */
export interface RedisGroup {
  readonly primary: GroupServer;
  readonly replicas: readonly GroupServer[];
  /** Starts one more replica, and waits until it has everything. */
  addReplica(settings?: Readonly<Record<string, string>>): Promise<GroupServer>;
  close(): Promise<void>;
}

/** A server on a port of its own. */
export const startGroupServer = async (settings: Readonly<Record<string, string>> = {}): Promise<GroupServer> => {
  const port = await freePort();
  const server = await startRedisServer({ port, settings: { "repl-diskless-sync-delay": "0", ...settings } });
  return Object.assign(server, { address: { host: "127.0.0.1", port } });
};

/** Starts a group and waits until every replica has everything, on its disk too. */
export const startRedisGroup = async (
  replicaCount: number,
  settings: Readonly<Record<string, string>> = {},
): Promise<RedisGroup> => {
  const primary = await startGroupServer(settings);
  const replicas: GroupServer[] = [];
  const group: RedisGroup = {
    primary,
    replicas,
    addReplica: async (own = {}) => {
      const replicaof = `127.0.0.1 ${primary.address.port}`;
      const replica = await startGroupServer({ replicaof, ...settings, ...own });
      replicas.push(replica);
      await untilReply(() => replica.command("INFO", "replication"), /master_link_status:up/);
      await untilReply(() => replica.command("INFO", "persistence"), /aof_rewrite_in_progress:0/);
      // It counts as online before its first acknowledgement, up to a second later, starts the stream of commands.
      await primary.command("SET", "probe", replica.path);
      await untilReply(() => replica.command("GET", "probe"), new RegExp(replica.path));
      return replica;
    },
    close: async () => {
      await Promise.all([primary, ...replicas].map((server) => server.close()));
    },
  };
  try {
    while (replicas.length < replicaCount) await group.addReplica();
  } catch (error) {
    await group.close();
    throw error;
  }
  return group;
};
