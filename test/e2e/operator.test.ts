/** What an operator does from the command line while validators sign, and how a store that lost data is trusted again. */

import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { attestation, randao, sign, signVerified } from "../helpers/duties.ts";
import { makeKey } from "../helpers/key-files.ts";
import { epochAt, OPERATOR_NET, operatorNetArguments } from "../helpers/operator-net.ts";
import { type RedisServer, startRedisServer } from "../helpers/redis-server.ts";
import { createTestbed, type Ended, freePort, type Testudo } from "../helpers/testudo.ts";
import type { Answer } from "../unit/gateway/running-gateway.ts";

const { vote, proposal, chain: CHAIN, slotsPerEpoch: SLOTS, firstEpoch: NOW_EPOCH } = OPERATOR_NET;

const bed = createTestbed();
let testudo: Testudo;
let redis: RedisServer;
let network: string[];
let store: string[];
let unused: string[];
/** A key that no test has used yet. */
const freshKey = (): string => {
  const key = unused.pop();
  if (key === undefined) throw new Error("no unused key is left");
  return key;
};
const up = (dataPath?: string): Promise<Testudo> =>
  bed.up(["--enclaves", "2", ...network, ...store], dataPath === undefined ? {} : { dataPath });
beforeAll(async () => {
  const port = await freePort();
  redis = await startRedisServer({ port });
  bed.owns(redis);
  store = ["--store", `redis://127.0.0.1:${port}`];
  network = operatorNetArguments(bed);
  testudo = await up();
  unused = [...testudo.publicKeys];
});
afterAll(() => bed.close(testudo));

const slashing = (...args: string[]): Promise<Ended> => bed.run("slashing", ...args, "--data", testudo.dataPath);
/** Runs a command that must say this. */
const done = async (summary: string, ...args: string[]): Promise<Ended> => {
  const ended = await slashing(...args);
  expect(ended).toMatchObject({ code: 0, stdout: `${args[0]}: ${summary}\n` });
  return ended;
};
/** Asks often enough that every enclave is asked. */
const askAll = (pubkey: string, body: unknown): Promise<Answer[]> =>
  Promise.all(Array.from({ length: 12 }, () => sign(testudo.url, pubkey, body)));
const expectDenied = async (pubkey: string, body: unknown, rule: string): Promise<void> => {
  for (const answer of await askAll(pubkey, body)) {
    expect({ status: answer.status, body: answer.body }).toEqual({ status: 412, body: expect.stringContaining(rule) });
  }
};
const ONE_KEY = "1 changed, 0 unchanged, 0 failed";

describe("testudo operator init", () => {
  it("writes a key that only its owner may read, prints its public half, and never replaces one", async () => {
    const path = join(bed.folder(), "operator.pem");
    const made = await bed.run("operator", "init", path);
    expect(made).toMatchObject({ code: 0, stdout: expect.stringMatching(/^0x[0-9a-f]{64}\n$/) });
    expect(made.stderr).toContain(`--operator-key ${made.stdout.trim()}`);
    expect(made.stderr).not.toContain("PRIVATE");
    expect(statSync(path).mode & 0o777).toBe(0o600);
    const pem = readFileSync(path, "utf8");
    expect(pem).toMatch(/^-----BEGIN PRIVATE KEY-----\n/);
    const again = await bed.run("operator", "init", path);
    expect(again).toMatchObject({ code: 2, stdout: "", stderr: expect.stringMatching(/never replaced/) });
    expect(readFileSync(path, "utf8")).toBe(pem);
    expect((await bed.run("operator", "init", join(bed.folder(), "no", "such"))).code).toBe(2);
  });

  it("and the development key lie in the data folder for their owner alone", () => {
    expect(statSync(join(testudo.dataPath, "secrets", "operator.key")).mode & 0o777).toBe(0o600);
  });
});

describe("commands that cannot be carried out", () => {
  const key = `0x${"ab".repeat(48)}`;
  it.each([
    ["watermark", "--epoch", "1", "--slot", "1"],
    ["disable"],
    ["stop-at", "--epoch", "1"],
    ["enable"],
    ["register", "--pubkeys", key],
    ["recover", "--epoch", "1"],
  ])("%s without a running Testudo says what to do", async (...args) => {
    const folder = bed.folder();
    const ended = await bed.run("slashing", ...args, "--data", folder);
    expect(ended).toMatchObject({ code: 1, stdout: "" });
    expect(ended.stderr).toMatch(/no Testudo runs on .*start it first \(`npm start`\), or check --data/);
    expect(ended.stderr).not.toMatch(/\n\s+at /);
  });

  it.each([
    [["watermark", "--epoch", "-1", "--slot", "1"], /epoch/],
    [["watermark", "--epoch", "1"], /--slot/],
    [["stop-at", "--epoch", "soon"], /epoch/],
    [["register"], /--pubkeys/],
    [["disable", "--pubkeys", "0xabcd"], /--pubkeys: expected 48/],
    [["disable", "--pubkeys", ","], /--pubkeys ,: no 0x list, and cannot be read as a file/],
    [["recover", "--pubkeys", key], /unknown option/],
    [["enable", "--operator-key", "/no/such/file"], /expected an Ed25519 private key in PEM/],
  ])("%j is wrong usage", async (args, text) => {
    expect(await slashing(...args)).toMatchObject({ code: 2, stdout: "", stderr: expect.stringMatching(text) });
  });

  it("for validators that are not registered fail for them alone", async () => {
    const [known, stranger] = [freshKey(), makeKey().pubkey];
    const ended = await slashing("watermark", "--epoch", "3", "--slot", "30", "--pubkeys", `${known},${stranger}`);
    expect(ended).toMatchObject({ code: 1, stdout: "watermark: 1 changed, 0 unchanged, 1 failed\n" });
    expect(ended.stderr).toContain(`failed: ${stranger}: not registered`);
    await expectDenied(known, proposal(30).body, "double_block_proposal");
  });
});

describe("commands on running enclaves", () => {
  it("disable and enable: at every enclave at once, for repeats too, and for the named keys alone", async () => {
    const [key, second, other] = [freshKey(), freshKey(), freshKey()];
    for (const pubkey of [key, second, other]) await signVerified(testudo.url, pubkey, vote(1, 2));
    await done("2 changed, 0 unchanged, 0 failed", "disable", "--pubkeys", `${key},${second}`);
    for (const body of [vote(1, 2).body, vote(2, 3).body, proposal(50).body]) {
      await expectDenied(key, body, "validator_disabled");
      await expectDenied(second, body, "validator_disabled");
    }
    await signVerified(testudo.url, key, randao(4, { chain: CHAIN }));
    await signVerified(testudo.url, other, vote(2, 3));
    await done("0 changed, 1 unchanged, 0 failed", "disable", "--pubkeys", key);
    const file = bed.file("keys.txt", `${key}\n\n${second}\n`);
    await done("2 changed, 0 unchanged, 0 failed", "enable", "--pubkeys", file);
    for (const pubkey of [key, second]) {
      await signVerified(testudo.url, pubkey, vote(2, 3));
      expect((await sign(testudo.url, pubkey, vote(2, 3, 0xab).body)).status).toBe(412);
    }
  });

  it("stop-at: earlier epochs are signed, the earlier stop stays, enable undoes it", async () => {
    const key = freshKey();
    await done(ONE_KEY, "stop-at", "--epoch", "5", "--pubkeys", key);
    await done("0 changed, 1 unchanged, 0 failed", "stop-at", "--epoch", "6", "--pubkeys", key);
    await signVerified(testudo.url, key, vote(1, 4));
    await signVerified(testudo.url, key, proposal(5 * SLOTS - 1));
    await expectDenied(key, vote(4, 5).body, "validator_stopped");
    await expectDenied(key, proposal(5 * SLOTS).body, "validator_stopped");
    await done(ONE_KEY, "enable", "--pubkeys", key);
    await signVerified(testudo.url, key, vote(4, 5));
  });

  it("watermark: what is at or below it is refused, what is above is signed", async () => {
    const key = freshKey();
    await done(ONE_KEY, "watermark", "--epoch", "10", "--slot", "80", "--pubkeys", key);
    await expectDenied(key, vote(9, 11).body, "source_below_watermark");
    await expectDenied(key, vote(10, 10).body, "double_vote");
    await expectDenied(key, proposal(80).body, "double_block_proposal");
    await done("0 changed, 1 unchanged, 0 failed", "watermark", "--epoch", "9", "--slot", "79", "--pubkeys", key);
    await signVerified(testudo.url, key, vote(10, 11));
    await signVerified(testudo.url, key, proposal(81));
  });

  it("register: makes what is not there, and leaves alone what is", async () => {
    const key = freshKey();
    await signVerified(testudo.url, key, proposal(80));
    const pubkeys = `${makeKey().pubkey},${key}`;
    await done("1 changed, 1 unchanged, 0 failed", "register", "--pubkeys", pubkeys);
    await done("0 changed, 2 unchanged, 0 failed", "register", "--pubkeys", pubkeys);
    await expectDenied(key, proposal(80, 0xbc).body, "double_block_proposal");
  });

  it("recover below the clock bound is refused, and nothing is suspect", async () => {
    const key = freshKey();
    const args = ["--epoch", String(NOW_EPOCH), ...network, ...store];
    const ended = await slashing("recover", ...args);
    expect(ended).toMatchObject({
      code: 2,
      stdout: "",
      stderr: expect.stringMatching(/--epoch: expected at least \d+, got/),
    });
    // The clock bound of a clock that is ten seconds ahead, by the enclave's own.
    const least = Number(/at least (\d+)/.exec(ended.stderr)?.[1]);
    const ahead = (agoMs: number): number => epochAt(network, Date.now() - agoMs + 10_000) + 1;
    expect(least).toBeGreaterThanOrEqual(ahead(5_000));
    expect(least).toBeLessThanOrEqual(ahead(0));
    await signVerified(testudo.url, key, vote(1, 2));
  });
});

describe("a store that loses data under a running pool", () => {
  const metric = async (): Promise<number[]> => {
    const text = await (await fetch(`${testudo.metricsUrl}/metrics`)).text();
    return [...text.matchAll(/^testudo_enclave_store_problem\{[^}]*\} (\d)$/gm)].map(([, value]) => Number(value));
  };
  const health = async (): Promise<{ status: number; text: string }> => {
    const response = await fetch(`${testudo.url}/healthcheck`);
    return { status: response.status, text: await response.text() };
  };
  const recordOf = (pubkey: string): Promise<string> => redis.command("EVAL", KEY_BY_NAME, "0", pubkey.slice(2));
  /** The Redis key of a validator's record, whether it holds the public key as hex or as bytes. */
  const KEY_BY_NAME = `
    local bytes = ARGV[1]:gsub('..', function(two) return string.char(tonumber(two, 16)) end)
    for _, key in ipairs(redis.call('KEYS', '*')) do
      if key:find(ARGV[1], 1, true) or key:find(bytes, 1, true) then return redis.call('DEL', key) end
    end
    return -1`;
  const recover = async (): Promise<void> => {
    expect(await slashing("recover", ...network, ...store)).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/^recover: \d+ changed, \d+ unchanged, 0 failed/),
    });
  };
  const replaceEnclave = async (cid: number): Promise<void> => {
    const pid = testudo.processes().enclaves.get(cid) as number;
    process.kill(pid, "SIGKILL");
    await expect.poll(() => testudo.processes().enclaves.get(cid) ?? pid, { timeout: 10_000 }).not.toBe(pid);
    await expect.poll(metric, { timeout: 10_000 }).toEqual([1, 1]);
  };
  const epochNow = (): number => epochAt(network);
  const expectSuspect = async (key: string, duty: { body: unknown }): Promise<void> => {
    await expect.poll(metric, { timeout: 3_000, interval: 100 }).toEqual([1, 1]);
    for (const answer of await askAll(key, duty.body)) {
      expect({ status: answer.status, body: answer.body }).toEqual({
        status: 503,
        body: expect.stringMatching(/slashing recover|gone from the store|suspect/),
      });
    }
    const { status, text } = await health();
    expect(status).toBe(503);
    expect(text).toMatch(/"status":"DOWN"/);
    expect(text).toMatch(/testudo slashing recover/);
    await signVerified(testudo.url, key, randao(9, { chain: CHAIN }));
  };

  it.each([
    ["everything", (_: string) => redis.command("FLUSHALL")],
    ["one record", recordOf],
  ])(
    "%s: refused with the reason everywhere, until `slashing recover` raises all above what may be lost",
    async (name, lose) => {
      const [lost, other] = [freshKey(), freshKey()];
      await done(ONE_KEY, "enable", "--pubkeys", lost); // there were signed commands before
      // Keys that were recovered before sign again once the epoch of that recovery has passed.
      let before = 0;
      const asked = async (): Promise<number> => {
        before = epochNow();
        return (await sign(testudo.url, lost, vote(before - 1, before).body)).status;
      };
      await expect.poll(asked, { timeout: 3 * SLOTS * 1000, interval: 200 }).toBe(200);
      await signVerified(testudo.url, other, vote(before - 1, before));
      expect(await metric()).toEqual([0, 0]);
      expect(await lose(lost)).not.toContain("-");
      await sign(testudo.url, lost, vote(before, before + 1).body);
      await expectSuspect(other, vote(before, before + 1));
      // One that started on the lost store knows of no earlier command; recovery goes on counting all the same.
      if (name === "everything") await replaceEnclave(16);
      const lastSignable = epochNow() + 1;
      await recover();
      await expect.poll(metric, { timeout: 3_000, interval: 100 }).toEqual([0, 0]);
      expect((await health()).status).toBe(200);
      for (const key of [lost, other]) {
        await expectDenied(key, vote(before - 1, before, 0xab).body, "below_watermark");
        await expectDenied(key, vote(lastSignable - 1, lastSignable, 0xab).body, "below_watermark");
        await expectDenied(key, proposal((lastSignable + 1) * SLOTS - 1).body, "block_");
      }
      // Two epochs for the clocks of others, and one that may have begun meanwhile.
      let source = 0;
      const signed = async (): Promise<number> => {
        source = epochNow();
        return (await sign(testudo.url, lost, vote(source, source + 1).body)).status;
      };
      await expect.poll(signed, { timeout: 5 * SLOTS * 1000, interval: 500 }).toBe(200);
      expect(source).toBeGreaterThan(lastSignable);
      await signVerified(testudo.url, other, vote(source, source + 1));
      await signVerified(testudo.url, other, proposal((source + 1) * SLOTS));
    },
    90_000,
  );

  it("after a restart it is still trusted, and what was refused is refused", async () => {
    const key = freshKey();
    const { dataPath } = testudo;
    await testudo.stop();
    testudo = await up(dataPath);
    await expect.poll(metric, { timeout: 3_000, interval: 100 }).toEqual([0, 0]);
    await expectDenied(key, vote(1, 2).body, "below_watermark");
    const now = epochNow();
    await signVerified(testudo.url, key, vote(now, now + 1));
    await signVerified(testudo.url, key, proposal((now + 1) * SLOTS));
    await done(ONE_KEY, "enable", "--pubkeys", key); // the sequence goes on
  });
});

it("an installation with the operator's own key takes that one and no longer the development key", async () => {
  const file = join(bed.folder(), "operator.pem");
  const publicKey = (await bed.run("operator", "init", file)).stdout.trim();
  const dataPath = bed.folder();
  const args = ["--enclaves", "1"];
  await (await bed.up(args, { dataPath })).stop(); // makes a development key
  const started = await bed.up([...args, "--operator-key", publicKey], { dataPath });
  const [key] = started.publicKeys as [string];
  const run = (...more: string[]) => bed.run("slashing", ...more, "--pubkeys", key, "--data", dataPath);
  expect(await run("disable")).toMatchObject({ code: 0 }); // needs nobody's signature
  const refused = await run("enable");
  expect(refused).toMatchObject({ code: 2, stdout: "", stderr: expect.stringMatching(/not signed by the operator/) });
  expect((await sign(started.url, key, attestation({ source: 1, target: 2 }).body)).status).toBe(412);
  expect(await run("enable", "--operator-key", file)).toMatchObject({ code: 0 });
  await signVerified(started.url, key, attestation({ source: 1, target: 2 }));
  await started.stop();
});
