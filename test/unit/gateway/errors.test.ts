import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ERROR_CODES, type ErrorCode, SignerError } from "#protocol/errors.ts";
import { type RunningGateway, runGateway, SIGN_PATH } from "./running-gateway.ts";

const STATUSES = {
  bad_request: 400,
  unknown_key: 404,
  overloaded: 503,
  unavailable: 503,
  deadline_exceeded: 503,
  unknown_outcome: 503,
  connection_lost: 503,
  protocol_violation: 500,
  store_suspect: 503,
  internal: 500,
} satisfies Record<ErrorCode, number>;

describe("failures over HTTP", () => {
  let gateway: RunningGateway;
  beforeAll(async () => {
    gateway = await runGateway();
  });
  afterAll(() => gateway.close());

  it.each(ERROR_CODES)("%s has its status, body and Retry-After", async (code) => {
    gateway.pool.answer = async () => {
      throw new SignerError(code, "what was expected and what came");
    };
    const { status, headers, body } = await gateway.sign('{"type":"ATTESTATION"}');
    const message = code === "internal" ? "Internal error." : "what was expected and what came";
    expect(status).toBe(STATUSES[code]);
    expect(headers["content-type"]).toBe("application/json; charset=utf-8");
    expect(headers["retry-after"]).toBe(status === 503 ? "1" : undefined);
    expect(headers["x-request-id"]).toMatch(/^[0-9a-f]{8}-[0-9a-z]+$/);
    expect(JSON.parse(body)).toEqual({ code: status, message, error: message });
  });

  it("shows nothing of an unexpected error and logs it with the request's id", async () => {
    gateway.pool.answer = async () => {
      throw new TypeError("secret of the house");
    };
    const { status, headers, body } = await gateway.sign("{}", { headers: { "x-request-id": "client's own" } });
    expect([status, body]).toEqual([500, '{"code":500,"message":"Internal error.","error":"Internal error."}']);
    const line = gateway.logged.filter(({ event }) => event === "request failed").at(-1);
    expect(line).toMatchObject({ level: "error", fields: { code: "internal", requestId: headers["x-request-id"] } });
    expect(String(line?.fields.stack)).toContain("secret of the house");
  });

  it.each([
    ["an unknown path", "GET", "/nothing", {}, 404, "No such path."],
    ["an unknown path with a body", "POST", "/nothing", {}, 404, "No such path."],
    ["a wrong method", "GET", SIGN_PATH, {}, 405, "Method not allowed."],
    ["a wrong method with a body", "PUT", SIGN_PATH, {}, 405, "Method not allowed."],
    ["a wrong method for a list", "POST", "/api/v1/eth2/publicKeys", {}, 405, "Method not allowed."],
    ["a wrong method for reload", "DELETE", "/reload", {}, 405, "Method not allowed."],
    ["a foreign host", "GET", "/upcheck", { host: "evil.example" }, 403, "Host not authorized."],
    ["a foreign host on a sign path", "POST", SIGN_PATH, { host: "evil.example" }, 403, "Host not authorized."],
    ["a page's request", "POST", SIGN_PATH, { origin: "https://evil.example" }, 403, "Origin not authorized."],
    ["a broken escape", "GET", "/%zz", {}, 400, "'/%zz' is not a valid url component"],
  ])("%s", async (_name, method, path, headers, status, message) => {
    const answer = await gateway.send(path, { method, headers, ...(method === "GET" ? {} : { body: "{}" }) });
    expect(answer.status).toBe(status);
    expect(answer.headers["content-type"]).toBe("application/json; charset=utf-8");
    expect(JSON.parse(answer.body)).toEqual({ code: status, message, error: message });
  });

  it("names the allowed methods", async () => {
    expect((await gateway.send(SIGN_PATH)).headers.allow).toBe("POST");
    expect((await gateway.send("/reload", { method: "PUT" })).headers.allow).toBe("GET, POST");
  });

  it("refuses an identifier that is longer than any path parameter may be", async () => {
    const { status, body } = await gateway.send(`/api/v1/eth2/sign/${"a".repeat(300)}`, { method: "POST", body: "{}" });
    expect(status).toBe(414);
    expect(JSON.parse(body)).toMatchObject({ code: 414 });
  });
});
