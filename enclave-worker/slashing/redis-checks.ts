/**
 * Whether a Redis server keeps what it acknowledges, judged by what it says about itself. Pure: `redis-session.ts` asks.
 *
 * Level `aof-always`: one primary without replicas that fsyncs its append-only file before every reply, and evicts
 * nothing. A replica would only be something to fail over to with writes missing, so there must be none.
 * Source: https://redis.io/docs/latest/operate/oss_and_stack/management/persistence/
 */

import type { Durability } from "#protocol/slashing/store.ts";

/** Settings that are asked for by `CONFIG GET`, the value each must have, and why. */
const REQUIRED_SETTINGS = {
  appendonly: "yes",
  appendfsync: "always",
  /** With `yes`, `appendfsync always` is not honoured while the file is being rewritten (redis.conf; aof.c). */
  "no-appendfsync-on-rewrite": "no",
  "maxmemory-policy": "noeviction",
} as const;

/** Names of the settings to ask for, in the order in which {@link checkAofAlways} takes their replies. */
export const SETTING_NAMES = Object.keys(REQUIRED_SETTINGS) as (keyof typeof REQUIRED_SETTINGS)[];

/** What the server said. */
export interface ServerReplies {
  /** Reply of `INFO replication`. */
  readonly replication: string;
  /** Reply of `INFO persistence`. */
  readonly persistence: string;
  /** Reply of `CONFIG GET` for each of {@link SETTING_NAMES}: `[name, value]`, or empty when the server has none. */
  readonly settings: readonly (readonly string[])[];
}

/**
 * Judges the server's replies; a reason ends with the command that mends it.
 * @param options.first true for the first check on a connection and for those after a failed one. Then a rewrite of the
 *   file must not be running: after `CONFIG SET appendonly yes` the file is no good before its first rewrite is done,
 *   and the server does not say which rewrite that is.
 */
export const checkAofAlways = (replies: ServerReplies, { first }: { first: boolean }): Durability => {
  const persistence = parseInfo(replies.persistence);
  const problem =
    checkLoading(persistence) ??
    checkSettings(replies.settings) ??
    checkReplication(parseInfo(replies.replication)) ??
    checkPersistence(persistence) ??
    (first ? checkRewrite(persistence) : undefined);
  return problem === undefined ? { ok: true } : { ok: false, reason: `redis: ${problem}` };
};

const checkLoading = (persistence: Info): string | undefined => {
  const loading = persistence.get("loading");
  return loading === "0" ? undefined : `loading: expected 0, got ${shown(loading)}; wait: redis-cli INFO persistence`;
};

const checkSettings = (settings: ServerReplies["settings"]): string | undefined => {
  for (const [index, name] of SETTING_NAMES.entries()) {
    const expected = REQUIRED_SETTINGS[name];
    const [, actual] = settings[index] ?? [];
    if (actual !== expected) {
      const mend = `redis-cli CONFIG SET ${name} ${expected} (and redis-cli CONFIG REWRITE to keep it)`;
      return `${name}: expected ${expected}, got ${shown(actual)}; mend with: ${mend}`;
    }
  }
  return undefined;
};

const checkReplication = (replication: Info): string | undefined => {
  const role = replication.get("role");
  if (role !== "master") return `role: expected master, got ${shown(role)}; mend with: redis-cli REPLICAOF NO ONE`;
  const replicas = replication.get("connected_slaves");
  if (replicas === "0") return undefined;
  const fields = new Map((replication.get("slave0") ?? "").split(",").map((field) => splitOnce(field, "=")));
  const address = `-h ${fields.get("ip") ?? "<replica>"} -p ${fields.get("port") ?? "<port>"}`;
  const mend = `redis-cli ${address} REPLICAOF NO ONE`;
  return `connected_slaves: expected 0, got ${shown(replicas)}; mend with: ${mend}`;
};

const checkPersistence = (persistence: Info): string | undefined => {
  const enabled = persistence.get("aof_enabled");
  if (enabled !== "1")
    return `aof_enabled: expected 1, got ${shown(enabled)}; mend with: redis-cli CONFIG SET appendonly yes`;
  const status = persistence.get("aof_last_write_status");
  if (status === "ok") return undefined;
  const mend = "free space on its disk, then redis-cli BGREWRITEAOF";
  return `aof_last_write_status: expected ok, got ${shown(status)}; mend with: ${mend}`;
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
