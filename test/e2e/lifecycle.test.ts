/** How Testudo ends, and how it is composed by hand: nothing in flight is lost on the way down, and no process stays behind. */

import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, describe, expect, it } from "vitest";
import { attestation, isSignatureOf, randao, sign, signatureOf, signVerified } from "../helpers/duties.ts";
import { startRedisServer } from "../helpers/redis-server.ts";
import { createTestbed, freePort, isAlive, treeOf, waitUntilGone } from "../helpers/testudo.ts";

const bed = createTestbed();
afterAll(() => bed.close());

/** Time in which orphans must have noticed. */
const ORPHANS_MS = 5_000;

describe("the end of up", () => {
  it.each(["SIGINT", "SIGTERM", "SIGHUP"] as const)("%s answers what is in flight, and exits 0", async (name) => {
    const port = await freePort();
    const redis = await startRedisServer({ port });
    bed.owns(redis);
    const testudo = await bed.up(["--enclaves", "2", "--store", `redis://127.0.0.1:${port}`]);
    const [key] = testudo.publicKeys as [string];
    const pids = treeOf(testudo.command.pid);
    expect(pids.length).toBeGreaterThanOrEqual(5);
    await signVerified(testudo.url, key, attestation({ source: 1, target: 2 }));
    // A store that is slow for a second keeps the request in flight while the signal comes.
    redis.signal("SIGSTOP");
    const duty = attestation({ source: 2, target: 3 });
    const answer = sign(testudo.url, key, duty.body);
    await sleep(200);
    testudo.command.signal(name);
    await sleep(500);
    await expect(fetch(`${testudo.url}/upcheck`)).rejects.toThrow();
    redis.signal("SIGCONT");
    expect(isSignatureOf(signatureOf(await answer), { pubkey: key, root: duty.root })).toBe(true);
    const { code, stderr } = await testudo.command.ended;
    expect(code).toBe(0);
    expect(stderr).toMatch(/draining …[\s\S]*stopped\n$/);
    expect(pids.filter(isAlive)).toEqual([]);
  });

  it("kill -9 of up alone: everything below it ends by itself, and the data folder is free", async () => {
    const testudo = await bed.up(["--enclaves", "2"]);
    const [key] = testudo.publicKeys as [string];
    await signVerified(testudo.url, key, attestation({ source: 1, target: 2 }));
    const pids = treeOf(testudo.command.pid);
    testudo.command.signal("SIGKILL");
    await waitUntilGone(pids, { timeoutMs: ORPHANS_MS });
    const again = await bed.up(["--enclaves", "1"], { dataPath: testudo.dataPath });
    const conflicting = attestation({ source: 1, target: 2 }, { head: 0xcc });
    expect((await sign(again.url, key, conflicting.body)).status).toBe(412);
    await again.stop();
  });

  it.each(["pool", "gateway"] as const)(
    "kill -9 of the %s: it is replaced, the address and the votes stay",
    async (name) => {
      const testudo = await bed.up(["--enclaves", "2"]);
      const [key] = testudo.publicKeys as [string];
      const before = testudo.processes();
      const signature = await signVerified(testudo.url, key, attestation({ source: 1, target: 2 }));
      process.kill(before[name], "SIGKILL");
      const isBack = async (): Promise<boolean> => {
        const status = await fetch(`${testudo.url}/upcheck`).then(
          (response) => response.status,
          () => 0,
        );
        return status === 200 && testudo.processes()[name] !== before[name];
      };
      await expect.poll(() => isBack().catch(() => false), { timeout: 20_000 }).toBe(true);
      // The list of members may still be the old one for a moment.
      const again = async () => (await sign(testudo.url, key, attestation({ source: 1, target: 2 }).body)).body;
      await expect.poll(again, { timeout: 5_000 }).toContain(signature);
      const conflicting = attestation({ source: 1, target: 2 }, { head: 0xcc });
      expect((await sign(testudo.url, key, conflicting.body)).status).toBe(412);
      await testudo.stop();
    },
  );

  it("Ctrl-C during the start ends it, too", async () => {
    const up = bed.start("up", "--data", bed.folder(), "--port", "0", "--metrics-port", "0");
    await up.waitFor(/gateway listening/, { stream: "stderr" });
    const pids = treeOf(up.pid);
    up.signal("SIGINT");
    expect((await up.ended).code).toBe(0);
    await waitUntilGone(pids, { timeoutMs: ORPHANS_MS });
    expect(up.stdout()).toBe("");
  });
});

describe("testudo pool and testudo gateway, started by hand", () => {
  it("work in either order, with two gateways at once; the pool may be replaced under them", async () => {
    const dataPath = bed.folder();
    const gateway = () => bed.start("gateway", "--data", dataPath, "--port", "0", "--metrics-port", "0");
    const urlOf = async (command: ReturnType<typeof gateway>): Promise<string> => {
      const [, url] = await command.waitFor(/"url":"(http:[^"]+)"/, { stream: "stderr" });
      return url as string;
    };
    const isUp = (url: string) => async () => (await fetch(`${url}/upcheck`)).status;
    const startPool = () => bed.start("pool", "--data", dataPath, "--enclaves", "2");

    const early = gateway();
    const pool = startPool();
    const late = gateway();
    const urls = [await urlOf(early), await urlOf(late)] as [string, string];
    for (const url of urls) await expect.poll(isUp(url), { timeout: 15_000 }).toBe(200);
    const keys = (await (await fetch(`${urls[0]}/api/v1/eth2/publicKeys`)).json()) as [string];
    expect(await (await fetch(`${urls[1]}/api/v1/eth2/publicKeys`)).json()).toEqual(keys);

    // The same protection behind both doors: of twenty different votes at once, ten at each, one is signed.
    const answers = await Promise.all(
      Array.from({ length: 20 }, (_, head) =>
        sign(urls[head % 2] as string, keys[0], attestation({ source: 1, target: 2 }, { head }).body),
      ),
    );
    expect(answers.filter(({ status }) => status === 200).length).toBe(1);
    expect(answers.filter(({ status }) => status === 412).length).toBe(19);
    const both = await Promise.all(
      urls.map((url) => signVerified(url, keys[0], attestation({ source: 2, target: 3 }))),
    );
    expect(both[0]).toBe(both[1]);

    pool.signal("SIGTERM");
    expect((await pool.ended).code).toBe(0);
    for (const url of urls) {
      const answer = await sign(url, keys[0], randao(1).body);
      expect(answer).toMatchObject({ status: 503, headers: { "retry-after": "1" } });
      expect(await (await fetch(`${url}/api/v1/eth2/publicKeys`)).json()).toEqual(keys);
    }
    const second = startPool();
    for (const url of urls) {
      await expect.poll(isUp(url), { timeout: 15_000 }).toBe(200);
      await signVerified(url, keys[0], attestation({ source: 2, target: 3 }));
      expect((await sign(url, keys[0], attestation({ source: 1, target: 3 }).body)).status).toBe(412);
    }

    // A pool-manager that dies without a word takes its enclaves along: keys must not stay behind unwatched.
    const pids = treeOf(second.pid);
    second.signal("SIGKILL");
    await waitUntilGone(pids, { timeoutMs: ORPHANS_MS });
    for (const url of urls) await expect.poll(isUp(url), { timeout: 5_000 }).toBe(503);
    for (const command of [early, late]) {
      command.signal("SIGINT");
      expect((await command.ended).code).toBe(0);
    }
  });
});
