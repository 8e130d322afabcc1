import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { AuditLog } from "#gateway/audit-log.ts";
import type { SignOutcome } from "#protocol/messages/sign.ts";
import { PUBKEY_HEX, SIGNATURE_HEX, SIGNED } from "./fake-pool.ts";
import { type RunningGateway, runGateway } from "./running-gateway.ts";

const BODY = '{"type":"ATTESTATION","attestation":{}}';
const JSON_TYPE = "application/json; charset=utf-8";
const TEXT_TYPE = "text/plain; charset=utf-8";

/** As recorded of Lodestar 1.22. */
const LODESTAR_HEADERS = {
  connection: "keep-alive",
  Accept: "application/json",
  "Content-Type": "application/json",
  "accept-language": "*",
  "sec-fetch-mode": "cors",
  "user-agent": "node",
  "accept-encoding": "gzip, deflate",
};

describe("POST /api/v1/eth2/sign/{identifier}", () => {
  let gateway: RunningGateway;
  beforeEach(async () => {
    gateway = await runGateway({ signTimeoutMs: 4321 });
  });
  afterEach(() => gateway.close());

  it.each([
    ["Lighthouse, Nimbus", { accept: "application/json", "content-type": "application/json" }, true],
    ["Lodestar", LODESTAR_HEADERS, true],
    ["curl", { accept: "*/*", "content-type": "application/x-www-form-urlencoded" }, true],
    ["Teku, Prysm", { "content-type": "application/json" }, false],
    ["a client that names text", { accept: "text/plain", "content-type": "application/json" }, false],
  ])("answers %s as it expects", async (_client, headers, json) => {
    const answer = await gateway.sign(BODY, { headers });
    expect(answer.status).toBe(200);
    expect(answer.headers["content-type"]).toBe(json ? JSON_TYPE : TEXT_TYPE);
    expect(answer.body).toBe(json ? `{"signature":"${SIGNATURE_HEX}"}` : SIGNATURE_HEX);
  });

  it.each([
    ["as it is", PUBKEY_HEX],
    ["without 0x", PUBKEY_HEX.slice(2)],
    ["in capitals", `0x${PUBKEY_HEX.slice(2).toUpperCase()}`],
    ["with 0X", PUBKEY_HEX.toUpperCase()],
  ])("takes an identifier %s", async (_name, identifier) => {
    expect((await gateway.send(`/api/v1/eth2/sign/${identifier}`, { method: "POST", body: BODY })).status).toBe(200);
    expect(Buffer.from(gateway.pool.asked[0]?.pubkey ?? []).toString("hex")).toBe(PUBKEY_HEX.slice(2));
  });

  it.each([
    ["short", PUBKEY_HEX.slice(0, -2)],
    ["long", `${PUBKEY_HEX}00`],
    ["no hex", `${PUBKEY_HEX.slice(0, -1)}g`],
    ["half a byte short", PUBKEY_HEX.slice(0, -1)],
    ["an escape", `%00${PUBKEY_HEX}`],
    ["twice 0x", `0x${PUBKEY_HEX}`],
  ])("refuses an identifier that is %s, without asking the pool", async (_name, identifier) => {
    const { status } = await gateway.send(`/api/v1/eth2/sign/${identifier}`, { method: "POST", body: BODY });
    expect(status).toBe(400);
    expect(gateway.pool.asked).toEqual([]);
  });

  it.each([
    ["text", Buffer.from(BODY)],
    ["bytes that are no UTF-8", Buffer.from([0x7b, 0xff, 0xfe, 0x00, 0x7d])],
    ["spaces at both ends", Buffer.from(`  ${BODY}\r\n`)],
    ["the longest body", Buffer.alloc(1024 * 1024, 0x20)],
  ])("passes on byte for byte: %s", async (_name, body) => {
    expect((await gateway.sign(body, { headers: { "content-type": "application/json" } })).status).toBe(200);
    expect(Buffer.compare(gateway.pool.asked[0]?.body ?? Buffer.alloc(0), body)).toBe(0);
  });

  it.each(["application/json; charset=utf-8", "text/plain", "application/octet-stream", undefined])(
    "takes content type %s",
    async (type) => {
      const answer = await gateway.sign(BODY, { headers: type === undefined ? {} : { "content-type": type } });
      expect(answer.status).toBe(200);
      expect(Buffer.from(gateway.pool.asked[0]?.body ?? []).toString()).toBe(BODY);
    },
  );

  it.each([{}, { "content-type": "application/json" }, { "content-length": "0" }])(
    "refuses an empty body with headers %o",
    async (headers) => {
      const { status } = await gateway.sign("", { headers });
      expect(status).toBe(400);
      expect(gateway.pool.asked).toEqual([]);
    },
  );

  it.each([
    ["ATTESTATION", true],
    ["BLOCK_V2", true],
    ["BLOCK", true],
    ["RANDAO_REVEAL", false],
    ["VALIDATOR_REGISTRATION", false],
    ["NOTHING_WE_KNOW", true],
  ])("routes %s with slashable %s and the configured time", async (type, slashable) => {
    await gateway.sign(`{"type":"${type}"}`);
    expect(gateway.pool.asked[0]).toMatchObject({ slashable, timeoutMs: 4321 });
  });

  it("says which rule refused, and logs it without the body", async () => {
    const outcome: SignOutcome = {
      kind: "denied",
      rule: "double_vote",
      detail: "target 7 was signed with another root",
    };
    gateway.pool.answer = async () => outcome;
    const { status, headers, body } = await gateway.sign(BODY);
    const message = "Signing refused by rule double_vote: target 7 was signed with another root";
    expect(status).toBe(412);
    expect(headers["content-type"]).toBe(JSON_TYPE);
    expect(JSON.parse(body)).toEqual({ code: 412, message, error: message });
    expect(gateway.logged.at(-1)).toEqual({
      level: "warn",
      event: "signing refused",
      fields: {
        requestId: headers["x-request-id"],
        identifier: PUBKEY_HEX,
        type: "ATTESTATION",
        rule: "double_vote",
        detail: "target 7 was signed with another root",
      },
    });
  });
});

describe("a client that repeats a slashable request", () => {
  it("does not flood the log: ten lines a second, and how many more; the audit log has every one", async () => {
    const audited: string[] = [];
    const audit: AuditLog = { record: ({ requestId }) => void audited.push(requestId), close: async () => undefined };
    const gateway = await runGateway({}, { audit });
    gateway.pool.answer = async () => ({ kind: "denied", rule: "double_vote", detail: "target 7" });
    const startedMs = performance.now();
    const answers = await Promise.all(Array.from({ length: 300 }, () => gateway.sign(BODY)));
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([412]));
    const windows = Math.ceil((performance.now() - startedMs) / 1_000);
    const lines = () => gateway.logged.filter(({ event }) => event === "signing refused");
    expect(lines().length).toBeGreaterThanOrEqual(10);
    expect(lines().length).toBeLessThanOrEqual(10 * windows);
    await gateway.close();
    const counts = gateway.logged.filter(({ event }) => event === "more signing refused, see metrics and audit log");
    const suppressed = counts.reduce((sum, { fields }) => sum + Number(fields.suppressed), 0);
    expect(counts.length).toBeLessThanOrEqual(windows);
    expect(lines().length + suppressed).toBe(300);
    expect(new Set(audited).size).toBe(300);
  });
});

describe("admission", () => {
  it("answers 503 beyond the bound and goes on afterwards", async () => {
    const gateway = await runGateway({ inFlightMax: 2 });
    const held: ((outcome: SignOutcome) => void)[] = [];
    gateway.pool.answer = () => new Promise((resolve) => held.push(resolve));
    const waiting = [gateway.sign(BODY), gateway.sign(BODY)];
    await expect.poll(() => held.length).toBe(2);

    const refused = await gateway.sign(BODY);
    expect([refused.status, refused.headers["retry-after"]]).toEqual([503, "1"]);
    expect(gateway.pool.asked).toHaveLength(2);

    for (const resolve of held) resolve(SIGNED);
    expect((await Promise.all(waiting)).map(({ status }) => status)).toEqual([200, 200]);
    gateway.pool.answer = async () => SIGNED;
    await expect.poll(async () => (await gateway.sign(BODY)).status).toBe(200);
    await gateway.close();
  });

  it("counts announced bytes before it reads them", async () => {
    const gateway = await runGateway({ bodyBytesMax: 2048, bodyBytesInFlightMax: 3000 });
    let release: (outcome: SignOutcome) => void = () => undefined;
    gateway.pool.answer = () => new Promise((resolve) => (release = resolve));
    const waiting = gateway.sign(Buffer.alloc(2000, 0x20));
    await expect.poll(() => gateway.pool.asked.length).toBe(1);
    expect((await gateway.sign(Buffer.alloc(1001, 0x20))).status).toBe(503);
    release(SIGNED);
    expect((await waiting).status).toBe(200);
    await gateway.close();
  });
});
