import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { describeHealth } from "#gateway/status/healthcheck.ts";
import type { PoolView } from "#pool-manager/pool-port.ts";
import { enclaveStatus, member, poolView } from "./fake-pool.ts";
import { type RunningGateway, runGateway } from "./running-gateway.ts";

let gateway: RunningGateway;
beforeAll(async () => {
  gateway = await runGateway();
});
afterAll(() => gateway.close());

describe("GET /upcheck", () => {
  it.each([
    ["Teku, Prysm", {}, 200, "text/plain; charset=utf-8", "OK"],
    ["curl", { accept: "*/*" }, 200, "text/plain; charset=utf-8", "OK"],
    ["Lodestar, Nimbus", { accept: "application/json" }, 200, "application/json; charset=utf-8", '{"status":"OK"}'],
    ["Web3Signer's own tests", { accept: "text/plain" }, 200, "text/plain; charset=utf-8", "OK"],
  ])("answers %s", async (_client, headers, status, type, body) => {
    gateway.pool.current = poolView();
    const answer = await gateway.send("/upcheck", { headers: headers as Record<string, string> });
    expect([answer.status, answer.headers["content-type"], answer.body]).toEqual([status, type, body]);
  });

  it("answers 406 to a client that wants neither", async () => {
    expect((await gateway.send("/upcheck", { headers: { accept: "text/html" } })).status).toBe(406);
  });

  it("answers HEAD", async () => {
    expect((await gateway.send("/upcheck", { method: "HEAD" })).status).toBe(200);
  });

  it.each<[string, Partial<PoolView>, number]>([
    ["no member", { members: [] }, 503],
    ["a member that is being provisioned", { members: [member({ state: "provisioning" })] }, 503],
    ["a draining member", { members: [member({ state: "draining" })] }, 503],
    ["an unknown list of keys", { publicKeys: undefined }, 503],
    ["one ready of two", { members: [member({ state: "failed" }), member({ cid: 17 })] }, 200],
    ["no pool-manager, for signing goes on", { connected: false }, 200],
    ["no key at all", { publicKeys: [] }, 200],
  ])("tells the truth about %s", async (_name, view, status) => {
    gateway.pool.current = poolView(view);
    const answer = await gateway.send("/upcheck");
    expect([answer.status, answer.headers["retry-after"]]).toEqual([status, status === 503 ? "1" : undefined]);
  });
});

describe("GET /healthcheck", () => {
  it("has Web3Signer's shape", async () => {
    gateway.pool.current = poolView();
    const { status, headers, body } = await gateway.send("/healthcheck");
    expect([status, headers["content-type"]]).toEqual([200, "application/json; charset=utf-8"]);
    expect(JSON.parse(body)).toEqual({
      status: "UP",
      checks: [
        { id: "default-check", status: "UP" },
        {
          id: "keys-check",
          status: "UP",
          checks: [{ id: "keystores-bulk-loading", status: "UP", data: { "keys-loaded": 1, "error-count": 0 } }],
        },
        { id: "slashing-protection-db-health-check", status: "UP" },
        {
          id: "enclaves-check",
          status: "UP",
          data: { "pool-manager-connected": true },
          checks: [{ id: "enclave-16", status: "UP", data: { cid: 16, state: "ready", keys: 1 } }],
        },
      ],
      outcome: "UP",
    });
  });

  it("answers 503 in the same shape when something is DOWN", async () => {
    gateway.pool.current = poolView({ members: [] });
    const { status, body } = await gateway.send("/healthcheck");
    expect(status).toBe(503);
    expect(JSON.parse(body)).toMatchObject({ status: "DOWN", outcome: "DOWN" });
  });

  const SUSPECT = member({ cid: 17, status: enclaveStatus({ storeProblem: "marker is missing" }) });
  it.each<[string, Partial<PoolView>, readonly string[]]>([
    ["all is well", {}, []],
    ["the keys are unknown", { publicKeys: undefined }, ["keys-check"]],
    ["a key failed to load", { keyErrors: 1 }, ["keys-check"]],
    ["there is no member", { members: [] }, ["slashing-protection-db-health-check", "enclaves-check"]],
    ["a ready member has not reported yet", { members: [withoutStatus()] }, ["slashing-protection-db-health-check"]],
    ["one of two sees a suspect store", { members: [member(), SUSPECT] }, ["slashing-protection-db-health-check"]],
    ["a dead member saw one", { members: [member(), { ...SUSPECT, state: "gone" }] }, []],
    ["a member is being replaced", { members: [member(), member({ cid: 17, state: "launching" })] }, []],
    ["the pool-manager is away", { connected: false }, []],
  ])("%s", (_name, view, down) => {
    const health = describeHealth(poolView(view));
    expect(health.checks.filter(({ status }) => status === "DOWN").map(({ id }) => id)).toEqual(down);
    expect(health.status).toBe(down.length === 0 ? "UP" : "DOWN");
    expect(health.outcome).toBe(health.status);
  });

  it("says DOWN with the reason when a ready member cannot reach the store and another can", () => {
    const cutOff = member({ cid: 18, status: enclaveStatus({ storeProblem: "store unreachable for 4 s" }) });
    const health = describeHealth(poolView({ members: [member(), cutOff] }));
    expect(health.status).toBe("DOWN");
    expect(health.checks[2]).toMatchObject({
      status: "DOWN",
      data: { reason: "enclave 18: store unreachable for 4 s" },
    });
    expect(health.checks[3]?.status).toBe("UP");
  });

  it("says why members are not ready, and on top when none is", () => {
    const starting = member({ state: "provisioning", problem: "store unreachable" });
    const failed = member({ cid: 17, state: "failed", problem: "exit code 70" });
    const silent = member({ cid: 18, state: "launching" });
    const [, , , down] = describeHealth(poolView({ members: [starting, failed, silent] })).checks;
    expect(down?.data).toEqual({
      "pool-manager-connected": true,
      reason: "enclave 16: store unreachable; enclave 17: exit code 70",
    });
    expect(down?.checks?.map(({ data }) => data?.problem)).toEqual(["store unreachable", "exit code 70", undefined]);

    const [, , , up] = describeHealth(poolView({ members: [member(), failed] })).checks;
    expect(up?.data).toEqual({ "pool-manager-connected": true });
    expect(up?.checks?.[1]?.data).toMatchObject({ problem: "exit code 70" });
  });

  it("gives the reason of a suspect store", () => {
    const { checks } = describeHealth(poolView({ members: [member(), SUSPECT] }));
    expect(checks[2]).toEqual({
      id: "slashing-protection-db-health-check",
      status: "DOWN",
      data: { reason: "enclave 17: marker is missing" },
    });
    expect(checks[3]?.checks?.[1]?.data).toMatchObject({ cid: 17, storeProblem: "marker is missing" });
  });
});

function withoutStatus() {
  const { status: _status, ...rest } = member();
  return rest;
}
