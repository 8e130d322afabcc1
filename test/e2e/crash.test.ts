/** Processes that are killed or frozen under load: nothing is lost while one enclave is left, and nothing is ever signed twice. */

import { rmSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type AttesterLoad, type LastVote, startAttesters } from "../helpers/attester-load.ts";
import { attestation, randao, sign, signatureOf, signVerified } from "../helpers/duties.ts";
import { type RedisServer, startRedisServer } from "../helpers/redis-server.ts";
import { createTestbed, freePort, type Testudo } from "../helpers/testudo.ts";

const bed = createTestbed();
afterAll(() => bed.close());

/** Slower than this, a client would have given up (`--sign-timeout`). */
const PATIENCE_MS = 5_000;

const isReady = async (testudo: Testudo, cid: number): Promise<boolean> => {
  const { checks } = (await (await fetch(`${testudo.url}/healthcheck`)).json()) as {
    checks: { id: string; checks?: { id: string; status: string }[] }[];
  };
  const enclaves = checks.find(({ id }) => id === "enclaves-check")?.checks ?? [];
  return enclaves.some(({ id, status }) => id === `enclave-${cid}` && status === "UP");
};
const pidOf = (testudo: Testudo, cid: number): number | undefined => testudo.processes().enclaves.get(cid);
/** Waits until another process than `pid` is ready as `cid`. */
const replaced = async (testudo: Testudo, { cid, pid }: { cid: number; pid: number }): Promise<void> => {
  const isReplaced = async () => ![undefined, pid].includes(pidOf(testudo, cid)) && (await isReady(testudo, cid));
  await expect.poll(isReplaced, { timeout: 25_000, interval: 50 }).toBe(true);
};
const signal = (testudo: Testudo, cid: number, name: NodeJS.Signals): number => {
  const pid = pidOf(testudo, cid);
  if (pid === undefined) throw new Error(`no enclave ${cid}`);
  process.kill(pid, name);
  return pid;
};
/** Every request was answered with a signature, in a time that a client waits. */
const expectNothingLost = (
  load: AttesterLoad,
  { requestsMin, patienceMs = PATIENCE_MS }: { requestsMin: number; patienceMs?: number },
): void => {
  expect(load.outcomes.filter(({ status }) => status !== 200)).toEqual([]);
  expect(load.outcomes.length).toBeGreaterThan(requestsMin);
  expect(Math.max(...load.outcomes.map(({ ms }) => ms))).toBeLessThan(patienceMs);
};

describe("enclaves under load", () => {
  let testudo: Testudo;
  let firstTarget = 1;
  beforeAll(async () => {
    testudo = await bed.up(["--enclaves", "2"]);
  });
  afterAll(() => testudo?.stop());

  const underLoad = async (trouble: () => Promise<void>): Promise<AttesterLoad> => {
    // `up` speaks when the first is ready.
    for (const cid of [16, 17]) await expect.poll(() => isReady(testudo, cid), { timeout: 15_000 }).toBe(true);
    const load = startAttesters(testudo.url, testudo.publicKeys, { firstTarget });
    firstTarget += 20_000;
    try {
      await sleep(300);
      await trouble();
      await sleep(300);
    } finally {
      await load.stop();
    }
    return load;
  };

  it("kill -9 of one after the other: not one request is lost, and each is replaced", async () => {
    const load = await underLoad(async () => {
      for (const cid of [16, 17, 16, 17]) await replaced(testudo, { cid, pid: signal(testudo, cid, "SIGKILL") });
    });
    expectNothingLost(load, { requestsMin: 500 });
  });

  it("frozen for a moment: not one request is lost, and the enclave goes on", async () => {
    const pids: number[] = [];
    const load = await underLoad(async () => {
      for (const cid of [16, 17]) {
        pids.push(signal(testudo, cid, "SIGSTOP"));
        await sleep(1_500);
        signal(testudo, cid, "SIGCONT");
        await sleep(200);
      }
    });
    expectNothingLost(load, { requestsMin: 100 });
    expect(pids).toEqual([pidOf(testudo, 16), pidOf(testudo, 17)]);
  });

  it("frozen for good: not one request is lost, and it is replaced", async () => {
    const load = await underLoad(async () => {
      await replaced(testudo, { cid: 16, pid: signal(testudo, 16, "SIGSTOP") });
    });
    expectNothingLost(load, { requestsMin: 500 });
  });

  it("kill -9 of all at once: 503 with Retry-After at worst, and the same votes are signed when one is back", async () => {
    const load = await underLoad(async () => {
      const pids = [16, 17].map((cid) => ({ cid, pid: signal(testudo, cid, "SIGKILL") }));
      for (const it of pids) await replaced(testudo, it);
    });
    const failed = load.outcomes.filter(({ status }) => status !== 200);
    expect(failed.filter(({ status }) => status !== 503)).toEqual([]);
    for (const [pubkey, { duty, signature }] of load.last) {
      expect(signatureOf(await sign(testudo.url, pubkey, duty.body))).toBe(signature);
    }
  });
});

describe("an enclave that is frozen under load, with little time for a signature", () => {
  it.each([2_000, 1_000])("--sign-timeout %i: not one request is lost", async (timeoutMs) => {
    const testudo = await bed.up(["--enclaves", "2", "--sign-timeout", String(timeoutMs)]);
    for (const cid of [16, 17]) await expect.poll(() => isReady(testudo, cid), { timeout: 15_000 }).toBe(true);
    const load = startAttesters(testudo.url, testudo.publicKeys);
    await sleep(500);
    const pid = signal(testudo, 16, "SIGSTOP");
    try {
      await sleep(3_000);
    } finally {
      process.kill(pid, "SIGCONT"); // those that it holds are repeats now
    }
    await sleep(500);
    await load.stop();
    expectNothingLost(load, { requestsMin: 200, patienceMs: timeoutMs });
    const hedged = /"event":"enclave silent, asking others too","cid":16,"silentMs":(\d+)/.exec(
      testudo.command.stderr(),
    );
    expect(Number(hedged?.[1])).toBeGreaterThanOrEqual(timeoutMs / 2 - 1);
    await testudo.stop();
  });
});

/** The last vote of each validator is repeated, and another one for the same target is refused. */
const expectRemembered = async (url: string, last: ReadonlyMap<string, LastVote>): Promise<void> => {
  expect(last.size).toBeGreaterThan(0);
  for (const [pubkey, { duty, target, signature }] of last) {
    // A later vote may have been recorded and not answered when everything died: then it is above both.
    const again = await sign(url, pubkey, duty.body);
    if (again.status === 200) expect(signatureOf(again)).toBe(signature);
    else expect(again).toMatchObject({ status: 412, body: expect.stringContaining(`_below_watermark`) });
    const conflicting = attestation({ source: target - 1, target }, { head: 0xcc });
    expect((await sign(url, pubkey, conflicting.body)).status).toBe(412);
  }
};

const killUnderLoad = async (testudo: Testudo, firstTarget: number): Promise<ReadonlyMap<string, LastVote>> => {
  const load = startAttesters(testudo.url, testudo.publicKeys, { firstTarget });
  await sleep(700);
  await testudo.killAll();
  const { last } = load;
  const answered = new Map(last);
  await load.stop();
  // The processes die within milliseconds of each other: one may still say that another is gone.
  expect(load.outcomes.filter(({ status }) => ![0, 200, 503].includes(status))).toEqual([]);
  return answered;
};

describe.each(["sqlite", "redis"] as const)("kill -9 of everything, store %s", (kind) => {
  const dataPath = bed.folder();
  let redis: RedisServer | undefined;
  let args: string[];
  beforeAll(async () => {
    const port = await freePort();
    redis = kind === "redis" ? await startRedisServer({ port }) : undefined;
    if (redis !== undefined) bed.owns(redis);
    args = ["--enclaves", "2", "--store", kind === "redis" ? `redis://127.0.0.1:${port}` : "sqlite"];
  });

  it("under load, twice: the same votes again give the same signatures, conflicting ones 412", async () => {
    const first = await bed.up(args, { dataPath });
    const keys = first.publicKeys;
    const votes = await killUnderLoad(first, 1);
    // Redis loses its process too, but not what it acknowledged.
    await redis?.kill();
    await redis?.start();
    const second = await bed.up(args, { dataPath });
    expect(second.publicKeys).toEqual(keys);
    await expectRemembered(second.url, votes);
    const more = await killUnderLoad(second, 100_000);
    const third = await bed.up(args, { dataPath });
    await expectRemembered(third.url, more);
    await third.stop();
  });

  it("and of the store's data: nothing slashable is signed any more, it says why, and the rest goes on", async () => {
    if (redis !== undefined) await redis.command("FLUSHALL");
    else for (const end of ["", "-wal", "-shm"]) rmSync(join(dataPath, `slashing.sqlite${end}`), { force: true });
    const { url, publicKeys, command, stop } = await bed.up(args, { dataPath });
    for (const [index, pubkey] of publicKeys.entries()) {
      // Long gone, next in turn, and far ahead of whatever was signed: which one is safe nobody knows any more.
      for (const target of [1, 100_000 + index, 400_000]) {
        const answer = await sign(url, pubkey, attestation({ source: target - 1, target }).body);
        expect(answer).toMatchObject({ status: 503, headers: { "retry-after": "1" } });
        expect(answer.body).toContain("the slashing store is empty, but this data folder has used it before");
      }
      await signVerified(url, pubkey, randao(1));
    }
    expect(command.stderr()).toContain("slashing store suspect");
    const health = async () => (await fetch(`${url}/healthcheck`)).text();
    await expect.poll(health, { timeout: 5_000 }).toMatch(/^\{"status":"DOWN".*the slashing store is empty/);
    expect((await fetch(`${url}/healthcheck`)).status).toBe(503);
    await stop();
  });
});
