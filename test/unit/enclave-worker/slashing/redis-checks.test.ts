import { describe, expect, it } from "vitest";
import {
  checkManaged,
  checkPrimary,
  checkReplica,
  fullSyncsOf,
  replicasOf,
  SETTING_NAMES,
  type ServerReplies,
} from "#enclave/slashing/redis-checks.ts";

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

describe("a primary with counted replicas", () => {
  const online = (port: number, state = "online"): string => `ip=10.0.0.7,port=${port},state=${state},offset=9,lag=0`;
  const pair = { connected_slaves: "2", slave0: online(1), slave1: online(2) };
  const judge = (replication: object, replicas = 2) => {
    const durability = checkPrimary(replies({ replication }), { first: true, replicas });
    return durability.ok ? "ok" : durability.reason;
  };

  it("is durable with exactly as many as are counted, all of them online", () => {
    expect(judge(pair)).toBe("ok");
    expect(replicasOf(replies({ replication: pair }).replication)).toEqual([
      { host: "10.0.0.7", port: 1 },
      { host: "10.0.0.7", port: 2 },
    ]);
  });

  it.each([
    ["one too few", pair, 3, /expected 3, got 2; wait, or bring the missing replica back/],
    ["one too many", pair, 1, /expected 1, got 2; mend with: redis-cli -h 10.0.0.7 -p 1 .*or .*replicated:2/],
    [
      "one that has not all yet",
      { ...pair, slave1: online(2, "wait_bgsave") },
      2,
      /slave1: expected online, got wait_/,
    ],
    ["one that is not listed", { connected_slaves: "2", slave0: online(1) }, 2, /slave1: expected online, got nothing/],
    ["no number", { ...pair, connected_slaves: "" }, 2, /expected 2/],
  ])("is refused with %s", (_, replication, replicas, reason) => {
    expect(judge(replication, replicas)).toMatch(reason);
  });

  it("is refused as a server of a cluster", () => {
    const inCluster = { ...replies({}), cluster: lines({ cluster_enabled: "1" }) };
    expect(checkPrimary(inCluster, { first: false, replicas: 0 })).toMatchObject({
      reason: expect.stringContaining("redis+cluster://"),
    });
    const alone = { ...replies({}), cluster: lines({ cluster_enabled: "0" }) };
    expect(checkPrimary(alone, { first: false, replicas: 0 })).toEqual({ ok: true });
  });

  it("tells when it has sent a whole copy of its data", () => {
    expect(fullSyncsOf(lines({ sync_full: "3" }))).toBe("3");
    expect(fullSyncsOf("")).toBe("");
  });
});

describe("a replica", () => {
  const FOLLOWS = { role: "slave", master_link_status: "up", slave_read_only: "1", connected_slaves: "0" };
  const address = { host: "10.0.0.7", port: 6380 };
  const judge = (change: Parameters<typeof replies>[0], first = true) => {
    const durability = checkReplica(replies({ ...change, replication: { ...FOLLOWS, ...change.replication } }), {
      address,
      first,
    });
    return durability.ok ? "ok" : durability.reason;
  };

  it("that follows and fsyncs is counted", () => {
    expect(judge({})).toBe("ok");
    expect(judge({ persistence: { aof_rewrite_in_progress: "1" } }, false)).toBe("ok");
  });

  it.each([
    [
      { settings: { appendfsync: "everysec" } },
      /appendfsync: expected always.*redis-cli -h 10.0.0.7 -p 6380 CONFIG SET/,
    ],
    [{ settings: { "maxmemory-policy": "allkeys-lru" } }, /maxmemory-policy/],
    [{ replication: { role: "master" } }, /role: expected slave/],
    [{ replication: { master_link_status: "down" } }, /master_link_status/],
    [{ replication: { slave_read_only: "0" } }, /CONFIG SET replica-read-only yes/],
    [{ replication: { connected_slaves: "1" } }, /connected_slaves: expected 0, got 1/],
    [{ persistence: { aof_enabled: "0" } }, /-p 6380 CONFIG SET appendonly yes/],
    [{ persistence: { loading: "1" } }, /loading/],
    [{ persistence: { aof_rewrite_in_progress: "1" } }, /aof_rewrite_in_progress/],
  ])("with %j is not", (change, reason) => {
    expect(judge(change)).toMatch(reason);
    expect(judge(change)).toContain("redis: replica 10.0.0.7:6380: ");
  });
});

describe("a managed service", () => {
  const GOOD = {
    replication: lines({ role: "master", connected_slaves: "2" }),
    persistence: lines({ loading: "0" }),
    cluster: lines({ cluster_enabled: "1" }),
    memory: lines({ maxmemory_policy: "noeviction" }),
    clusterState: lines({ cluster_state: "ok" }),
  };
  const { clusterState: _, ...ALONE } = GOOD;

  it("is believed, with replicas of its own and without CONFIG", () => {
    expect(checkManaged(GOOD)).toEqual({ ok: true });
    expect(checkManaged({ ...GOOD, memory: "" })).toEqual({ ok: true });
    expect(checkManaged({ ...ALONE, cluster: lines({ cluster_enabled: "0" }) })).toEqual({ ok: true });
  });

  it.each([
    [{ replication: lines({ role: "slave" }) }, /role: expected master/],
    [{ persistence: lines({ loading: "1" }) }, /loading/],
    [{ memory: lines({ maxmemory_policy: "volatile-lru" }) }, /noeviction, got volatile-lru/],
    [{ clusterState: lines({ cluster_state: "fail" }) }, /cluster_state: expected ok, got fail/],
  ])("is not with %j", (change, reason) => {
    const durability = checkManaged({ ...GOOD, ...change });
    expect(durability.ok ? "ok" : durability.reason).toMatch(reason);
  });

  it("is not spoken to as one server when it is a cluster", () => {
    expect(checkManaged(ALONE)).toMatchObject({ reason: expect.stringContaining("redis+cluster://") });
  });
});
