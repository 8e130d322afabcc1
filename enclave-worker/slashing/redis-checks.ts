/**
 * Whether Redis servers keep what they acknowledge, judged by what they say about themselves. Pure: `redis-audit.ts` asks.
 *
 * - `aof-always`: one primary that fsyncs its append-only file before every reply, and evicts nothing. A replica would
 *   only be something to fail over to with writes missing, so there must be none.
 * - `replicated:N`: the same on the primary and on each of exactly N replicas. One more would be counted by `WAIT` in
 *   the place of one that is promoted later.
 * - `managed`: the service's promise; only what contradicts it is noticed.
 * Source: https://redis.io/docs/latest/operate/oss_and_stack/management/persistence/
 */

import type { RedisAddress } from "#protocol/messages/control.ts";
import type { Durability } from "#protocol/slashing/store.ts";

/** Settings that are asked for by `CONFIG GET`, the value each must have, and why. */
const REQUIRED_SETTINGS = {
  appendonly: "yes",
  appendfsync: "always",
  /** With `yes`, `appendfsync always` is not honoured while the file is being rewritten (redis.conf; aof.c). */
  "no-appendfsync-on-rewrite": "no",
  "maxmemory-policy": "noeviction",
} as const;

/** Names of the settings to ask for, in the order in which {@link ServerReplies} has their replies. */
export const SETTING_NAMES = Object.keys(REQUIRED_SETTINGS) as (keyof typeof REQUIRED_SETTINGS)[];

/** What a server said. */
export interface ServerReplies {
  /** Reply of `INFO replication`. */
  readonly replication: string;
  /** Reply of `INFO persistence`. */
  readonly persistence: string;
  /** Reply of `CONFIG GET` for each of {@link SETTING_NAMES}: `[name, value]`, or empty when the server has none. */
  readonly settings: readonly (readonly string[])[];
  /** Reply of `INFO cluster`. */
  readonly cluster?: string;
}

/** What a managed service said; it does not answer `CONFIG`. */
export interface ManagedReplies extends Omit<ServerReplies, "settings"> {
  /** Reply of `INFO memory`. */
  readonly memory: string;
  /** Reply of `CLUSTER INFO`; undefined: it is not spoken to as a cluster. */
  readonly clusterState?: string;
}

/**
 * Judges the only server, or the primary; a reason ends with the command that mends it.
 * @param options.replicas how many there must be: 0 for `aof-always`
 * @param options.first true for the first check on a connection and for those after a failed one. Then a rewrite of the
 *   file must not be running: after `CONFIG SET appendonly yes` the file is no good before its first rewrite is done,
 *   and the server does not say which rewrite that is.
 */
export const checkPrimary = (
  replies: ServerReplies,
  { first, replicas }: { first: boolean; replicas: number },
): Durability => {
  const persistence = parseInfo(replies.persistence);
  return verdict(
    checkLoading(persistence) ??
      checkStandalone(replies.cluster) ??
      checkSettings(replies.settings, CLI) ??
      checkReplication(parseInfo(replies.replication), replicas) ??
      checkPersistence(persistence, CLI) ??
      (first ? checkRewrite(persistence) : undefined),
  );
};

/** Judges a replica of a primary at `replicated:N`. `first` also after each full resynchronisation: see above. */
export const checkReplica = (
  replies: ServerReplies,
  { address, first }: { address: RedisAddress; first: boolean },
): Durability => {
  const persistence = parseInfo(replies.persistence);
  const cli = `${CLI} -h ${address.host} -p ${address.port}`;
  return verdict(
    checkLoading(persistence) ??
      checkSettings(replies.settings, cli) ??
      checkFollower(parseInfo(replies.replication), cli) ??
      checkPersistence(persistence, cli) ??
      (first ? checkRewrite(persistence) : undefined),
    `replica ${address.host}:${address.port}: `,
  );
};

/** Judges a managed service, which is believed unless it contradicts itself. */
export const checkManaged = (replies: ManagedReplies): Durability =>
  verdict(
    checkLoading(parseInfo(replies.persistence)) ??
      (replies.clusterState === undefined ? checkStandalone(replies.cluster) : checkCluster(replies.clusterState)) ??
      checkRole(parseInfo(replies.replication)) ??
      checkEviction(parseInfo(replies.memory)),
  );

/** The replicas that a primary's `INFO replication` lists, by the address at which each may be asked. */
export const replicasOf = (replication: string): RedisAddress[] => {
  const info = parseInfo(replication);
  const count = Number(info.get("connected_slaves") ?? 0);
  return Array.from({ length: Math.min(count, REPLICAS_LISTED_MAX) }, (_, index) => {
    const fields = replicaFields(info, index);
    return { host: fields.get("ip") ?? "", port: Number(fields.get("port") ?? 0) };
  });
};

/** How often the primary has sent a whole copy of its data to a replica: `sync_full` of `INFO stats`. */
export const fullSyncsOf = (stats: string): string => parseInfo(stats).get("sync_full") ?? "";

/** Far more than may be counted: a server that lists more is refused by their number. */
const REPLICAS_LISTED_MAX = 64;
const CLI = "redis-cli";

const verdict = (problem: string | undefined, where = ""): Durability =>
  problem === undefined ? { ok: true } : { ok: false, reason: `redis: ${where}${problem}` };

const checkLoading = (persistence: Info): string | undefined => {
  const loading = persistence.get("loading");
  return loading === "0" ? undefined : `loading: expected 0, got ${shown(loading)}; wait: redis-cli INFO persistence`;
};

/** A cluster moves slots as it likes, and fails over to replicas that lack writes: no level but `managed` covers it. */
const checkStandalone = (cluster: string | undefined): string | undefined =>
  cluster !== undefined && parseInfo(cluster).get("cluster_enabled") === "1"
    ? "cluster_enabled: expected 0, got 1; mend with: --store redis+cluster://… --store-durability managed"
    : undefined;

const checkSettings = (settings: ServerReplies["settings"], cli: string): string | undefined => {
  for (const [index, name] of SETTING_NAMES.entries()) {
    const expected = REQUIRED_SETTINGS[name];
    const [, actual] = settings[index] ?? [];
    if (actual !== expected) {
      const mend = `${cli} CONFIG SET ${name} ${expected} (and ${cli} CONFIG REWRITE to keep it)`;
      return `${name}: expected ${expected}, got ${shown(actual)}; mend with: ${mend}`;
    }
  }
  return undefined;
};

const checkRole = (replication: Info): string | undefined => {
  const role = replication.get("role");
  return role === "master"
    ? undefined
    : `role: expected master, got ${shown(role)}; mend with: redis-cli REPLICAOF NO ONE`;
};

const checkReplication = (replication: Info, replicas: number): string | undefined => {
  const wrongRole = checkRole(replication);
  if (wrongRole !== undefined) return wrongRole;
  const connected = replication.get("connected_slaves");
  const problem = `connected_slaves: expected ${replicas}, got ${shown(connected)}`;
  if (connected === undefined) return problem;
  if (Number(connected) < replicas) {
    return `${problem}; wait, or bring the missing replica back: redis-cli INFO replication`;
  }
  if (connected !== String(replicas)) {
    const fields = replicaFields(replication, 0);
    const address = `-h ${fields.get("ip") ?? "<replica>"} -p ${fields.get("port") ?? "<port>"}`;
    const orCount = replicas === 0 ? "" : `, or count every one: --store-durability replicated:${shown(connected)}`;
    return `${problem}; mend with: redis-cli ${address} REPLICAOF NO ONE${orCount}`;
  }
  for (let index = 0; index < replicas; index += 1) {
    const state = replicaFields(replication, index).get("state");
    if (state !== "online")
      return `slave${index}: expected online, got ${shown(state)}; wait: redis-cli INFO replication`;
  }
  return undefined;
};

/** `slave0:ip=10.0.0.7,port=6380,state=online,offset=42,lag=0` */
const replicaFields = (replication: Info, index: number): Info =>
  new Map((replication.get(`slave${index}`) ?? "").split(",").map((field) => splitOnce(field, "=")));

/** A replica that follows, that nobody else writes to, and that has no replicas which nobody counts. */
const checkFollower = (replication: Info, cli: string): string | undefined => {
  const expected = [
    ["role", "slave", `look at: ${cli} INFO replication`],
    ["master_link_status", "up", `wait: ${cli} INFO replication`],
    ["slave_read_only", "1", `mend with: ${cli} CONFIG SET replica-read-only yes`],
    ["connected_slaves", "0", `let every replica follow the primary itself; look at: ${cli} INFO replication`],
  ] as const;
  for (const [name, value, mend] of expected) {
    const actual = replication.get(name);
    if (actual !== value) return `${name}: expected ${value}, got ${shown(actual)}; ${mend}`;
  }
  return undefined;
};

const checkPersistence = (persistence: Info, cli: string): string | undefined => {
  const enabled = persistence.get("aof_enabled");
  if (enabled !== "1") {
    return `aof_enabled: expected 1, got ${shown(enabled)}; mend with: ${cli} CONFIG SET appendonly yes`;
  }
  const status = persistence.get("aof_last_write_status");
  if (status === "ok") return undefined;
  const mend = `free space on its disk, then ${cli} BGREWRITEAOF`;
  return `aof_last_write_status: expected ok, got ${shown(status)}; mend with: ${mend}`;
};

const checkCluster = (clusterState: string): string | undefined => {
  const state = parseInfo(clusterState).get("cluster_state");
  return state === "ok"
    ? undefined
    : `cluster_state: expected ok, got ${shown(state)}; look at: redis-cli CLUSTER INFO`;
};

const checkEviction = (memory: Info): string | undefined => {
  const policy = memory.get("maxmemory_policy");
  if (policy === undefined || policy === "noeviction") return undefined;
  return `maxmemory-policy: expected noeviction, got ${shown(policy)}; set it in the service's parameter group`;
};

const checkRewrite = (persistence: Info): string | undefined => {
  for (const name of ["aof_rewrite_in_progress", "aof_rewrite_scheduled"]) {
    const value = persistence.get(name);
    if (value !== "0") return `${name}: expected 0, got ${shown(value)}; wait: redis-cli INFO persistence`;
  }
  const status = persistence.get("aof_last_bgrewrite_status");
  if (status === "ok") return undefined;
  return `aof_last_bgrewrite_status: expected ok, got ${shown(status)}; mend with: redis-cli BGREWRITEAOF`;
};

type Info = ReadonlyMap<string, string>;

/** `name:value` lines of an `INFO` reply; anything else in it is skipped. */
const parseInfo = (text: string): Info =>
  new Map(
    text
      .split("\r\n")
      .filter((line) => line.includes(":"))
      .map((line) => splitOnce(line, ":")),
  );

const splitOnce = (text: string, separator: string): [string, string] => {
  const at = text.indexOf(separator);
  return at < 0 ? [text, ""] : [text.slice(0, at), text.slice(at + 1)];
};

const shown = (value: string | undefined): string => (value === undefined ? "nothing" : value.slice(0, 40));
