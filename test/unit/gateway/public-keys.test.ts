import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { PUBKEY_HEX, poolView } from "./fake-pool.ts";
import { type RunningGateway, runGateway } from "./running-gateway.ts";

const PATH = "/api/v1/eth2/publicKeys";

describe("GET /api/v1/eth2/publicKeys", () => {
  let gateway: RunningGateway;
  beforeEach(async () => {
    gateway = await runGateway();
  });
  afterEach(() => gateway.close());

  it("answers 503 until the list is known, then the list in order", async () => {
    gateway.pool.current = poolView({ publicKeys: undefined });
    const early = await gateway.send(PATH);
    expect([early.status, early.headers["retry-after"]]).toEqual([503, "1"]);

    const keys = [PUBKEY_HEX, `0x${"11".repeat(48)}`, `0x${"00".repeat(48)}`];
    gateway.pool.current = poolView({ publicKeys: keys });
    const { status, headers, body } = await gateway.send(PATH, { headers: { accept: "application/json" } });
    expect([status, headers["content-type"]]).toEqual([200, "application/json; charset=utf-8"]);
    expect(JSON.parse(body)).toEqual(keys);
  });

  it("follows a change", async () => {
    expect(JSON.parse((await gateway.send(PATH)).body)).toEqual([PUBKEY_HEX]);
    gateway.pool.current = poolView({ publicKeys: [PUBKEY_HEX, `0x${"22".repeat(48)}`] });
    expect(JSON.parse((await gateway.send(PATH)).body)).toHaveLength(2);
    gateway.pool.current = poolView({ publicKeys: [] });
    expect((await gateway.send(PATH)).body).toBe("[]");
  });

  it("keeps the last known list while the pool knows none", async () => {
    await gateway.send(PATH);
    gateway.pool.current = poolView({ publicKeys: undefined, connected: false, members: [] });
    const { status, body } = await gateway.send(PATH);
    expect([status, JSON.parse(body)]).toEqual([200, [PUBKEY_HEX]]);
  });

  it("answers 10,000 keys whole", async () => {
    const keys = Array.from({ length: 10_000 }, (_, index) => `0x${index.toString(16).padStart(96, "0")}`);
    gateway.pool.current = poolView({ publicKeys: keys });
    expect(JSON.parse((await gateway.send(PATH)).body)).toEqual(keys);
  });
});
