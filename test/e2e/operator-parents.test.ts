/** Two parents with the same keys on one Redis: what the operator says to one holds at the other's enclaves. */

import { cpSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { randao, sign, signVerified } from "../helpers/duties.ts";
import { epochAt, OPERATOR_NET, operatorNetArguments } from "../helpers/operator-net.ts";
import { type RedisServer, startRedisServer } from "../helpers/redis-server.ts";
import { createTestbed, type Ended, freePort, type Testudo } from "../helpers/testudo.ts";

const { vote, proposal, chain, slotsPerEpoch: SLOTS } = OPERATOR_NET;
/** Every enclave looks at the marker once a second. */
const SEEN_MS = 3_000;

const bed = createTestbed();
let redis: RedisServer;
let args: string[];
let network: string[];
let unused: string[];
let parents: [Testudo, Testudo];
const freshKey = (): string => {
  const key = unused.pop();
  if (key === undefined) throw new Error("no unused key is left");
  return key;
};

beforeAll(async () => {
  const port = await freePort();
  redis = await startRedisServer({ port });
  bed.owns(redis);
  network = operatorNetArguments(bed);
  args = [...network, "--store", `redis://127.0.0.1:${port}`];
  // The second parent has a copy of the first one's data folder: the same keys, store id, MAC and operator key.
  const first = await bed.up(["--enclaves", "2", ...args]);
  await first.stop();
  const copy = join(bed.folder(), "data");
  cpSync(first.dataPath, copy, { recursive: true });
  parents = [
    await bed.up(["--enclaves", "2", ...args], { dataPath: first.dataPath }),
    await bed.up(["--enclaves", "2", ...args], { dataPath: copy }),
  ];
  unused = [...parents[0].publicKeys];
  expect(parents[1].publicKeys).toEqual(parents[0].publicKeys);
}, 90_000);
afterAll(async () => {
  try {
    await parents?.[1].stop();
  } finally {
    await bed.close(parents?.[0]);
  }
});

const slashing = (at: Testudo, ...more: string[]): Promise<Ended> =>
  bed.run("slashing", ...more, "--data", at.dataPath);
const done = async (at: Testudo, ...more: string[]): Promise<void> => {
  expect(await slashing(at, ...more)).toMatchObject({ code: 0, stdout: expect.stringMatching(/ 0 failed\n$/) });
};
/** Statuses and texts of one duty asked so often that every enclave of both parents gets it. */
const askAll = async (pubkey: string, body: unknown): Promise<{ status: number; body: string }[]> => {
  const answers = await Promise.all(
    parents.flatMap(({ url }) => Array.from({ length: 8 }, () => sign(url, pubkey, body))),
  );
  return answers.map(({ status, body: text }) => ({ status, body: text }));
};
const expectDenied = async (pubkey: string, body: unknown, rule: string): Promise<void> => {
  for (const answer of await askAll(pubkey, body)) {
    expect(answer).toEqual({ status: 412, body: expect.stringContaining(rule) });
  }
};
const BOTH = [
  ["the first", 0],
  ["the second", 1],
] as const;

describe.each(BOTH)("given to %s parent,", (_name, index) => {
  const here = (): Testudo => parents[index];
  const there = (): Testudo => parents[1 - index] as Testudo;

  it("disable and enable hold at the other's enclaves, too", async () => {
    const key = freshKey();
    const signature = await signVerified(there().url, key, vote(1, 2));
    await done(here(), "disable", "--pubkeys", key);
    for (const { body: fresh } of [vote(2, 3), proposal(50)]) await expectDenied(key, fresh, "validator_disabled");
    // Its very last message is no new one: where it was known before, it may still be answered with that signature.
    for (const { url } of parents) {
      const answer = await sign(url, key, vote(1, 2).body);
      if (url === here().url || answer.status !== 200) expect(answer.status).toBe(412);
      else expect(answer.body).toContain(signature);
    }
    await signVerified(there().url, key, randao(4, { chain }));
    await done(here(), "enable", "--pubkeys", key);
    const again = async (): Promise<number> => (await sign(there().url, key, vote(2, 3).body)).status;
    await expect.poll(again, { timeout: SEEN_MS, interval: 100 }).toBe(200);
    await expectDenied(key, vote(2, 3, 0xab).body, "double_vote");
  });

  it("watermark holds at the other's enclaves at once, also where they have signed before", async () => {
    const key = freshKey();
    await signVerified(there().url, key, vote(1, 2));
    await signVerified(there().url, key, proposal(20));
    await done(here(), "watermark", "--epoch", "10", "--slot", "80", "--pubkeys", key);
    await expectDenied(key, vote(9, 11).body, "source_below_watermark");
    await expectDenied(key, vote(10, 10).body, "double_vote");
    await expectDenied(key, proposal(80).body, "double_block_proposal");
    await signVerified(there().url, key, vote(10, 11));
    await signVerified(there().url, key, proposal(81));
  });

  it("stop-at holds at the other's enclaves at once", async () => {
    const key = freshKey();
    await signVerified(there().url, key, vote(1, 2));
    await done(here(), "stop-at", "--epoch", "5", "--pubkeys", key);
    await signVerified(there().url, key, vote(2, 4));
    await expectDenied(key, vote(4, 5).body, "validator_stopped");
    await expectDenied(key, proposal(5 * SLOTS).body, "validator_stopped");
  });

  it("signed commands may come from either in turn", async () => {
    const key = freshKey();
    for (const at of [here(), there(), here()]) {
      await sleep(SEEN_MS / 2); // the other one must have looked, or it is told to sign anew
      await done(at, "enable", "--pubkeys", key);
    }
  });
});

describe("recover at one parent", () => {
  const problem = async ({ url }: Testudo): Promise<string> => {
    const response = await fetch(`${url}/healthcheck`);
    return response.status === 200 ? "" : await response.text();
  };
  const expectAll = async (pattern: RegExp): Promise<void> => {
    for (const parent of parents) {
      await expect.poll(() => problem(parent), { timeout: SEEN_MS, interval: 100 }).toMatch(pattern);
    }
  };
  const recover = (at: Testudo): Promise<void> => done(at, "recover", ...args);
  const asks = (at: Testudo, key: string) => async (): Promise<number> => {
    const now = epochAt(network);
    return (await sign(at.url, key, vote(now, now + 1).body)).status;
  };

  it("ends the suspicion at both, and both refuse whatever was lost", async () => {
    const [first, second] = parents;
    const [key, other] = [freshKey(), freshKey()];
    // A signed command has every enclave read all records again: now both parents know of every stop and disable.
    await sleep(SEEN_MS / 2);
    await done(first, "enable", "--pubkeys", key);
    await sleep(SEEN_MS / 2);
    const now = epochAt(network);
    await signVerified(second.url, key, vote(now - 1, now));
    await signVerified(first.url, other, vote(now - 1, now));
    await redis.command("FLUSHALL");
    await expectAll(/slashing recover/);
    expect((await askAll(other, vote(now, now + 1).body)).every(({ status }) => status === 503)).toBe(true);
    await recover(first);
    await expectAll(/^$/);
    for (const pubkey of [key, other]) {
      await expectDenied(pubkey, vote(now - 1, now, 0xab).body, "below_watermark");
      await expectDenied(pubkey, vote(now, now + 1, 0xab).body, "below_watermark");
    }
    for (const parent of parents) await expect.poll(asks(parent, key), { timeout: 40_000, interval: 500 }).toBe(200);
    await expectAll(/^$/);
  }, 90_000);

  it("that lacks what only the other has seen makes the store suspect again, and recover there ends it", async () => {
    const [first, second] = parents;
    const [disabled, other] = [freshKey(), freshKey()];
    await done(second, "disable", "--pubkeys", disabled); // no enclave of the first parent has read that record since
    await redis.command("FLUSHALL");
    await expectAll(/slashing recover/);
    await recover(first);
    await expect.poll(() => problem(second), { timeout: SEEN_MS, interval: 50 }).toMatch(/older than one seen before/);
    await expectAll(/slashing recover/);
    await recover(second);
    await expectAll(/^$/);
    await sleep(SEEN_MS);
    await expectAll(/^$/);
    for (const parent of parents) {
      await expect.poll(asks(parent, other), { timeout: 40_000, interval: 500 }).toBe(200);
      const last = epochAt(network);
      const refused = await sign(parent.url, disabled, vote(last, last + 1).body);
      expect({ status: refused.status, body: refused.body }).toEqual({
        status: 412,
        body: expect.stringContaining("validator_disabled"),
      });
    }
  }, 120_000);
});

describe("rotate-mac with a second parent", () => {
  it("stops that one until it has the new key: it refuses, signs nothing wrong, and makes nothing suspect", async () => {
    const [first, second] = parents;
    const key = freshKey();
    const slot = (epochAt(network) + 1) * SLOTS;
    expect(await slashing(first, "rotate-mac")).toMatchObject({ code: 0 });
    await expect
      .poll(async () => (await sign(second.url, key, proposal(slot + 1).body)).status, { timeout: SEEN_MS })
      .toBe(503);
    await signVerified(second.url, key, randao(4, { chain }));
    const { dataPath } = second;
    await second.stop();
    for (const name of ["installation.json", "secrets"]) {
      cpSync(join(first.dataPath, name), join(dataPath, name), { recursive: true });
    }
    parents[1] = await bed.up(["--enclaves", "2", ...args], { dataPath });
    const asked = async (): Promise<number[]> => {
      const duty = proposal((epochAt(network) + 1) * SLOTS + 7);
      return Promise.all(parents.map(async ({ url }) => (await sign(url, key, duty.body)).status));
    };
    await expect.poll(asked, { timeout: 40_000, interval: 500 }).toEqual([200, 200]);
    for (const { url } of parents) expect((await fetch(`${url}/healthcheck`)).status).toBe(200);
  }, 120_000);
});
