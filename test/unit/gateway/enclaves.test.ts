/** `/api/v1/enclaves` and the way to an enclave's attestation document. */

import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { PoolAttestRequest } from "#pool-manager/pool-port.ts";
import { SignerError } from "#protocol/errors.ts";
import { enclaveStatus, member, poolView } from "./fake-pool.ts";
import { type RunningGateway, runGateway } from "./running-gateway.ts";

const NONCE = `0x${"a1".repeat(32)}`;
const pathOf = (cid: number | string, nonce = NONCE): string => `/api/v1/enclaves/${cid}/attestation?nonce=${nonce}`;

let gateway: RunningGateway;
let nowMs: number;
let asked: PoolAttestRequest[];
beforeEach(async () => {
  nowMs = 1_000;
  asked = [];
  gateway = await runGateway({}, { now: () => nowMs });
});
afterEach(() => gateway.close());

describe("GET /api/v1/enclaves", () => {
  it("lists all of them with state and keys", async () => {
    const members = [member({ status: enclaveStatus({ keys: 7 }) }), { ...launching }];
    gateway.pool.current = poolView({ members });
    const { status, headers, body } = await gateway.send("/api/v1/enclaves");
    expect([status, headers["content-type"]]).toEqual([200, "application/json; charset=utf-8"]);
    expect(JSON.parse(body)).toEqual([
      { cid: 16, state: "ready", keys: 7 },
      { cid: 17, state: "launching", keys: 0 },
    ]);
    expect((await gateway.send("/api/v1/enclaves", { method: "POST" })).status).toBe(405);
  });
});

const launching = { cid: 17, state: "launching", path: "/tmp/none.sock", incarnation: 1 } as const;

describe("GET /api/v1/enclaves/{cid}/attestation", () => {
  it("passes nonce and document on as they are", async () => {
    gateway.pool.attestAnswer = async (request) => {
      asked.push(request);
      return { kind: "attested", document: new TextEncoder().encode("document") };
    };
    const { status, headers, body } = await gateway.send(pathOf(16));
    expect([status, headers["content-type"], headers["cache-control"], body]).toEqual([
      200,
      "application/octet-stream",
      "no-store",
      "document",
    ]);
    expect(asked).toEqual([{ cid: 16, nonce: new Uint8Array(32).fill(0xa1), timeoutMs: 2_000 }]);
  });

  it.each([
    ["no nonce", "/api/v1/enclaves/16/attestation"],
    ["two nonces", `${pathOf(16)}&nonce=${NONCE}`],
    ["15 bytes", pathOf(16, `0x${"00".repeat(15)}`)],
    ["65 bytes", pathOf(16, `0x${"00".repeat(65)}`)],
    ["half a byte", pathOf(16, `${NONCE}0`)],
    ["no 0x", pathOf(16, "a1".repeat(32))],
  ])("refuses %s with 400, and asks nobody", async (_, path) => {
    gateway.pool.attestAnswer = async () => expect.unreachable();
    const { status, body } = await gateway.send(path);
    expect([status, JSON.parse(body).message]).toEqual([
      400,
      expect.stringMatching(/^nonce: expected 0x and 16\.\.64/),
    ]);
  });

  it.each([16, 64])("takes a nonce of %d bytes", async (bytes) => {
    expect((await gateway.send(pathOf(16, `0x${"00".repeat(bytes)}`))).status).toBe(501);
  });

  it.each(["18", "016", "x", "1e1"])("answers 404 for CID %s, which nobody has", async (cid) => {
    expect((await gateway.send(pathOf(cid))).status).toBe(404);
  });

  it("says with 501 that there is nothing to attest in development mode, and with 503 that an enclave is away", async () => {
    const development = await gateway.send(pathOf(16));
    expect([development.status, JSON.parse(development.body).message]).toEqual([
      501,
      expect.stringContaining("development mode"),
    ]);
    gateway.pool.attestAnswer = async () => {
      throw new SignerError("unavailable", "enclave 16 is not ready");
    };
    const away = await gateway.send(pathOf(16));
    expect([away.status, JSON.parse(away.body).message]).toEqual([503, "enclave 16 is not ready"]);
  });

  it("asks for 16 documents at once and for 4 a second after that", async () => {
    const statuses = async (count: number): Promise<number[]> => {
      const answers = await Promise.all(Array.from({ length: count }, () => gateway.send(pathOf(16))));
      return answers.map(({ status }) => status).sort();
    };
    expect(await statuses(18)).toEqual([...new Array(16).fill(501), 503, 503]);
    nowMs += 1_000;
    expect(await statuses(5)).toEqual([501, 501, 501, 501, 503]);
  });
});
