import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { SignerError } from "#protocol/errors.ts";
import { type RunningGateway, runGateway } from "./running-gateway.ts";

describe("/reload", () => {
  let gateway: RunningGateway;
  beforeEach(async () => {
    gateway = await runGateway();
  });
  afterEach(() => gateway.close());

  it.each([
    ["accepted", 202, "accepted"],
    ["running", 409, "error"],
  ] as const)("answers POST when it is %s", async (answer, code, status) => {
    gateway.pool.reloadAnswer = async () => answer;
    const reply = await gateway.send("/reload", { method: "POST" });
    expect([reply.status, reply.headers["content-type"]]).toEqual([code, "application/json; charset=utf-8"]);
    expect(JSON.parse(reply.body)).toEqual({ code, status, message: expect.stringMatching(/^(A r|R)eload operation/) });
  });

  it("ignores a small body and refuses a long one", async () => {
    expect((await gateway.send("/reload", { method: "POST", body: "{}" })).status).toBe(202);
    expect((await gateway.send("/reload", { method: "POST", body: "x".repeat(2000) })).status).toBe(413);
  });

  it("answers 503 without a pool-manager", async () => {
    gateway.pool.reloadAnswer = async () => {
      throw new SignerError("unavailable", "no pool-manager");
    };
    expect((await gateway.send("/reload", { method: "POST" })).status).toBe(503);
  });

  it("answers GET with what is known", async () => {
    expect((await gateway.send("/reload")).body).toBe('{"status":"idle"}');
    const state = {
      status: "completed_with_errors",
      lastOperationTime: "2026-11-20T09:03:36Z",
      lastError: "1 key failed",
    } as const;
    gateway.pool.reloadState = state;
    const { status, body } = await gateway.send("/reload");
    expect([status, JSON.parse(body)]).toEqual([200, state]);
  });
});
