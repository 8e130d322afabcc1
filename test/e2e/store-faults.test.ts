/** Without its store or without an enclave nothing slashable is signed, clients hear 503 and when to ask again, and it heals by itself. */

import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { attestation, randao, sign, signatureOf, signVerified } from "../helpers/duties.ts";
import { type RedisServer, startRedisServer } from "../helpers/redis-server.ts";
import { createTestbed, freePort, type Testudo } from "../helpers/testudo.ts";
import { type Answer, sendTo } from "../unit/gateway/running-gateway.ts";

const bed = createTestbed();
let redis: RedisServer;
let testudo: Testudo;
beforeAll(async () => {
  const port = await freePort();
  redis = await startRedisServer({ port });
  bed.owns(redis);
  testudo = await bed.up(["--enclaves", "2", "--store", `redis://127.0.0.1:${port}`]);
});
afterAll(() => bed.close(testudo));

const expectUnavailable = (answer: Answer): void => {
  expect({ status: answer.status, body: answer.body }).toMatchObject({ status: 503 });
  expect(answer.headers["retry-after"]).toBe("1");
  expect(answer.body).not.toContain("signature");
  expect(JSON.parse(answer.body)).toMatchObject({ code: 503, message: expect.any(String) });
};
const health = async (): Promise<{ status: number; text: string }> => {
  const response = await fetch(`${testudo.url}/healthcheck`);
  return { status: response.status, text: await response.text() };
};
/** Asks until it is signed, at most so long; every answer before must be a 503. */
const signedWithin = async (timeoutMs: number, key: string, duty: ReturnType<typeof attestation>): Promise<string> => {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    const answer = await sign(testudo.url, key, duty.body);
    if (answer.status === 200) return signatureOf(answer);
    expectUnavailable(answer);
    if (Date.now() > deadline) throw new Error(`not signed within ${timeoutMs} ms: ${answer.body}`);
  }
};

describe("Redis", () => {
  it("that is killed: votes 503, what needs no record is signed, and all is well when it is back", async () => {
    const [key, other] = testudo.publicKeys as [string, string];
    const first = await signVerified(testudo.url, key, attestation({ source: 1, target: 2 }));
    await redis.kill();
    const refused = attestation({ source: 2, target: 3 });
    for (const pubkey of [key, key, other]) expectUnavailable(await sign(testudo.url, pubkey, refused.body));
    await signVerified(testudo.url, key, randao(3));
    await redis.start();
    const signature = await signedWithin(15_000, key, refused);
    expect(await signVerified(testudo.url, key, refused)).toBe(signature);
    expect((await sign(testudo.url, key, attestation({ source: 2, target: 3 }, { head: 0xab }).body)).status).toBe(412);
    expect((await sign(testudo.url, key, attestation({ source: 1, target: 2 }).body)).status).toBe(412);
    expect(first).not.toBe(signature);
    await signedWithin(15_000, other, refused);
    await expect.poll(async () => (await health()).status, { timeout: 10_000 }).toBe(200);
  });

  it("that hangs: votes 503 in time, and afterwards at most one of two conflicting votes was ever signed", async () => {
    const key = testudo.publicKeys[2] as string;
    await signVerified(testudo.url, key, attestation({ source: 1, target: 2 }));
    redis.signal("SIGSTOP");
    const startedMs = performance.now();
    const vote = attestation({ source: 2, target: 3 });
    try {
      expectUnavailable(await sign(testudo.url, key, vote.body));
      expect(performance.now() - startedMs).toBeLessThan(6_500);
      await signVerified(testudo.url, key, randao(4));
    } finally {
      redis.signal("SIGCONT");
    }
    // The write that hung may have been carried out: then only the very same vote may follow.
    await signedWithin(15_000, key, vote);
    expect((await sign(testudo.url, key, attestation({ source: 2, target: 3 }, { head: 0xab }).body)).status).toBe(412);
  });

  it("that lost everything under a running pool: votes 503 and the health check says why, for good", async () => {
    const [key] = testudo.publicKeys as [string];
    await redis.command("FLUSHALL");
    expectUnavailable(await sign(testudo.url, key, attestation({ source: 3, target: 4 }).body));
    expectUnavailable(await sign(testudo.url, key, attestation({ source: 3, target: 4 }).body));
    await signVerified(testudo.url, key, randao(5));
    await expect
      .poll(async () => (await health()).text, { timeout: 5_000 })
      .toMatch(/gone from the store|data was lost/); // whoever looks first
    expect((await health()).status).toBe(503);
  });
});

describe("no enclave", () => {
  it("a gateway without a pool answers 503 everywhere, and never an empty list of keys", async () => {
    const gateway = bed.start("gateway", "--data", bed.folder(), "--port", "0", "--no-metrics");
    const [, url] = await gateway.waitFor(/"url":"(http:[^"]+)"/, { stream: "stderr" });
    const key = testudo.publicKeys[0] as string;
    expectUnavailable(await sign(url as string, key, randao(1).body));
    for (const path of ["/upcheck", "/api/v1/eth2/publicKeys", "/reload"]) expectUnavailable(await sendTo(url + path));
    expect((await sendTo(`${url}/healthcheck`)).status).toBe(503);
    gateway.signal("SIGTERM");
    expect((await gateway.ended).code).toBe(0);
  });

  it("a pool whose store was never there: 503 with the reason, and it starts when the store comes", async () => {
    const port = await freePort();
    const up = bed.start(
      ...["up", "--data", bed.folder(), "--port", "0", "--metrics-port", "0"],
      ...["--enclaves", "1", "--store", `redis://127.0.0.1:${port}`],
    );
    const [, url] = await up.waitFor(/"url":"(http:[^"]+)"/, { stream: "stderr" });
    expectUnavailable(await sign(url as string, testudo.publicKeys[0] as string, randao(1).body));
    await up.waitFor(/enclave lost.*redis|redis.*refused/i, { stream: "stderr", timeoutMs: 20_000 });
    expect(up.stdout()).not.toContain("Testudo is up");
    bed.owns(await startRedisServer({ port }));
    await up.waitFor(/Testudo is up/, { timeoutMs: 25_000 });
    const [key] = (await (await fetch(`${url}/api/v1/eth2/publicKeys`)).json()) as [string];
    await signVerified(url as string, key, attestation({ source: 1, target: 2 }));
    up.signal("SIGINT");
    expect((await up.ended).code).toBe(0);
  });
});
