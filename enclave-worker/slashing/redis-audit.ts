/**
 * The durability level of one connection: what is asked of the server (and of its replicas) at each check, and what
 * proves each flush. The judgements themselves are in `redis-checks.ts`.
 *
 * At `replicated:N` each flush ends with a small write, the fence, and `WAIT N` on the same connection: it counts the
 * replicas that have taken everything up to this connection's last write, which is the fence. So not only the flush's
 * writes are proved, but also all that it read: without the fence, a record that another connection wrote and no replica
 * has yet could be read, lost in a failover, and then be missed as if a durable one were gone. A replica with `appendfsync always` has flushed by then: it sends its
 * acknowledgement, like every reply, after the fsync of the same turn of its event loop (`beforeSleep`, server.c). And
 * the flush asks once more which replicas there are, because `WAIT` counts any: one that was attached or exchanged since
 * the check might acknowledge in the place of one that is promoted later.
 */

import type { RedisAddress, RedisDurability } from "#protocol/messages/control.ts";
import type { Durability } from "#protocol/slashing/store.ts";
import {
  checkManaged,
  checkPrimary,
  checkReplica,
  fullSyncsOf,
  replicasOf,
  SETTING_NAMES,
  type ServerReplies,
} from "./redis-checks.ts";
import type { RedisWords } from "./redis-client.ts";
import { formatAddress } from "./redis-dial.ts";

/** Asks the connection's server; rejects when a question has no answer. */
export type Ask = (questions: readonly RedisWords[]) => Promise<readonly unknown[]>;

/** One connection's durability. */
export interface Audit {
  /** Asks and judges. Rejects as `ask` does. */
  check(ask: Ask, options: { readonly first: boolean }): Promise<Durability>;
  /** Sent behind the commands of each flush; none where their own replies are proof. */
  readonly proof: readonly RedisWords[];
  /** Why what was written and read is not durable; undefined when it is. */
  judgeProof(replies: readonly unknown[]): string | undefined;
}

/** What an audit needs. */
export interface AuditOptions {
  readonly durability: RedisDurability;
  /** The server is one of a cluster's. */
  readonly isCluster: boolean;
  /** Time that `WAIT` may take: less than a flush has. */
  readonly waitMs: number;
  /** Name of the key that the fence writes; it holds nothing of use. */
  readonly fenceKey: string;
  /** Asks a replica on a connection of its own. Rejects when its address is not one that may be reached. */
  readonly askReplica: (address: RedisAddress, questions: readonly RedisWords[]) => Promise<readonly unknown[]>;
}

/** How many replicas a level counts; undefined where the service answers for itself. */
export const replicaCount = (durability: RedisDurability): number | undefined => {
  if (durability === "managed") return undefined;
  return durability === "aof-always" ? 0 : Number(durability.slice("replicated:".length));
};

/** Makes the audit of one connection. */
export const createAudit = (options: AuditOptions): Audit => {
  const replicas = replicaCount(options.durability);
  if (replicas === undefined) return managedAudit(options);
  return replicas === 0 ? aofAudit() : replicatedAudit(replicas, options);
};

const SERVER_QUESTIONS: readonly RedisWords[] = [
  ["info", "replication"],
  ["info", "persistence"],
  ["info", "cluster"],
  ["info", "stats"],
  ...SETTING_NAMES.map((name) => ["config", "GET", name] as const),
];

const serverReplies = (replies: readonly unknown[]): ServerReplies & { readonly stats: string } => {
  const [replication, persistence, cluster, stats, ...settings] = replies;
  return {
    replication: String(replication),
    persistence: String(persistence),
    cluster: String(cluster),
    stats: String(stats),
    settings: settings.map((pair) => (Array.isArray(pair) ? pair.map(String) : [])),
  };
};

const aofAudit = (): Audit => ({
  check: async (ask, { first }) => checkPrimary(serverReplies(await ask(SERVER_QUESTIONS)), { first, replicas: 0 }),
  proof: [],
  judgeProof: () => undefined,
});

const replicatedAudit = (replicas: number, { waitMs, fenceKey, askReplica }: AuditOptions): Audit => {
  /** As of the last check that passed. */
  let names = "";
  let fullSyncs: string | undefined;

  const checkOne = async (address: RedisAddress, first: boolean): Promise<Durability> => {
    try {
      return checkReplica(serverReplies(await askReplica(address, SERVER_QUESTIONS)), { address, first });
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      return { ok: false, reason: `redis: replica ${formatAddress(address)}: ${reason}` };
    }
  };

  return {
    check: async (ask, { first }) => {
      const replies = serverReplies(await ask(SERVER_QUESTIONS));
      const primary = checkPrimary(replies, { first, replicas });
      if (!primary.ok) return primary;
      const addresses = replicasOf(replies.replication);
      // A replica that took a whole copy has no file that it could be restarted from before it is rewritten once.
      const afresh = first || fullSyncs !== fullSyncsOf(replies.stats) || names !== namesOf(addresses);
      const verdicts = await Promise.all(addresses.map((address) => checkOne(address, afresh)));
      const failed = verdicts.find(({ ok }) => !ok);
      if (failed !== undefined) return failed;
      fullSyncs = fullSyncsOf(replies.stats);
      names = namesOf(addresses);
      return { ok: true };
    },
    proof: [
      ["set", fenceKey, ""],
      ["wait", replicas, waitMs],
      ["info", "replication"],
    ],
    judgeProof: ([, acknowledged, replication]) => {
      if (acknowledged !== replicas) {
        return `WAIT: expected ${replicas} replicas to acknowledge within ${waitMs} ms, got ${String(acknowledged)}`;
      }
      return namesOf(replicasOf(String(replication))) === names
        ? undefined
        : "the replicas are others than at the check";
    },
  };
};

const managedAudit = ({ isCluster }: AuditOptions): Audit => ({
  check: async (ask) => {
    const sections: RedisWords[] = ["replication", "persistence", "cluster", "memory"].map((name) => ["info", name]);
    const replies = await ask(isCluster ? [...sections, ["cluster", "INFO"]] : sections);
    const [replication = "", persistence = "", cluster = "", memory = "", clusterState] = replies.map(String);
    return checkManaged({
      replication,
      persistence,
      cluster,
      memory,
      ...(clusterState !== undefined && { clusterState }),
    });
  },
  proof: [],
  judgeProof: () => undefined,
});

const namesOf = (addresses: readonly RedisAddress[]): string => addresses.map(formatAddress).sort().join(" ");
