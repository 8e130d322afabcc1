import { describe, expect, it } from "vitest";
import { checkPrimary, SETTING_NAMES, type ServerReplies } from "#enclave/slashing/redis-checks.ts";

const lines = (fields: Record<string, string>): string =>
  ["# Section", ...Object.entries(fields).map(([name, value]) => `${name}:${value}`), ""].join("\r\n");
const REPLICATION = { role: "master", connected_slaves: "0" };
const PERSISTENCE = {
  loading: "0",
  aof_enabled: "1",
  aof_last_write_status: "ok",
  aof_rewrite_in_progress: "0",
  aof_rewrite_scheduled: "0",
  aof_last_bgrewrite_status: "ok",
};
const SETTINGS: Record<string, string> = {
  appendonly: "yes",
  appendfsync: "always",
  "no-appendfsync-on-rewrite": "no",
  "maxmemory-policy": "noeviction",
};

const replies = (change: { replication?: object; persistence?: object; settings?: object }): ServerReplies => {
  const settings: Record<string, string> = { ...SETTINGS, ...change.settings };
  return {
    replication: lines({ ...REPLICATION, ...change.replication }),
    persistence: lines({ ...PERSISTENCE, ...change.persistence }),
    settings: SETTING_NAMES.map((name) => [name, settings[name] ?? ""]),
  };
};

describe("checkPrimary", () => {
  it("is content with one primary that fsyncs always and evicts nothing", () => {
    expect(checkPrimary(replies({}), { first: true, replicas: 0 })).toEqual({ ok: true });
  });

  it.each([
    ["settings", "appendonly", "no", "redis-cli CONFIG SET appendonly yes"],
    ["settings", "appendfsync", "everysec", "redis-cli CONFIG SET appendfsync always"],
    ["settings", "no-appendfsync-on-rewrite", "yes", "redis-cli CONFIG SET no-appendfsync-on-rewrite no"],
    ["settings", "maxmemory-policy", "allkeys-lru", "redis-cli CONFIG SET maxmemory-policy noeviction"],
    ["replication", "role", "slave", "redis-cli REPLICAOF NO ONE"],
    ["replication", "connected_slaves", "1", "REPLICAOF NO ONE"],
    ["persistence", "loading", "1", "redis-cli INFO persistence"],
    ["persistence", "aof_enabled", "0", "redis-cli CONFIG SET appendonly yes"],
    ["persistence", "aof_last_write_status", "err", "redis-cli BGREWRITEAOF"],
  ])("refuses %s %s:%s at every check, and says how to mend it", (section, name, value, mend) => {
    for (const first of [true, false]) {
      const durability = checkPrimary(replies({ [section]: { [name]: value } }), { first, replicas: 0 });
      expect(durability).toMatchObject({ ok: false, reason: expect.stringContaining(mend) });
      expect(durability).toMatchObject({ reason: expect.stringContaining(name) });
    }
  });

  it.each([
    ["aof_rewrite_in_progress", "1"],
    ["aof_rewrite_scheduled", "1"],
    ["aof_last_bgrewrite_status", "err"],
  ])("refuses %s:%s at the first check only", (name, value) => {
    const weak = replies({ persistence: { [name]: value } });
    expect(checkPrimary(weak, { first: true, replicas: 0 })).toMatchObject({ ok: false });
    expect(checkPrimary(weak, { first: false, replicas: 0 })).toEqual({ ok: true });
  });

  it("refuses what says nothing at all", () => {
    const empty = { replication: "", persistence: "", settings: [] };
    expect(checkPrimary(empty, { first: true, replicas: 0 })).toMatchObject({ ok: false });
    const noSettings = { ...replies({}), settings: [] };
    expect(checkPrimary(noSettings, { first: true, replicas: 0 })).toMatchObject({ ok: false });
    const noReplication = { ...replies({}), replication: "" };
    expect(checkPrimary(noReplication, { first: true, replicas: 0 })).toMatchObject({ ok: false });
  });

  it("names the replica that has to go", () => {
    const replication = { connected_slaves: "2", slave0: "ip=10.0.0.7,port=6380,state=online" };
    const durability = checkPrimary(replies({ replication }), { first: false, replicas: 0 });
    expect(durability).toMatchObject({
      reason: expect.stringContaining("redis-cli -h 10.0.0.7 -p 6380 REPLICAOF NO ONE"),
    });
  });
});
