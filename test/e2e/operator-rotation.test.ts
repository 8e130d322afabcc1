/** MAC key rotation on real processes, while validators sign: nobody is refused, and a killed manager loses nothing. */

import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { attestation, sign, signVerified } from "../helpers/duties.ts";
import { startRedisServer } from "../helpers/redis-server.ts";
import { createTestbed, type Ended, freePort, type Testudo } from "../helpers/testudo.ts";

const SIGNERS = 8;
/** Pause between two rounds of duties: some fifty rounds a rotation. */
const ROUND_MS = 100;
const ONE_OK = { code: 0, stdout: expect.stringMatching(/^rotate-mac: \d+ changed, \d+ unchanged, 0 failed\n$/) };

describe.each(["sqlite", "redis"])("rotate-mac on %s", (kind) => {
  const bed = createTestbed();
  let args: string[];
  let testudo: Testudo;
  /** Next target epoch of every signer. */
  let target = 10;

  beforeAll(async () => {
    args = ["--enclaves", "2"];
    if (kind === "redis") {
      const port = await freePort();
      bed.owns(await startRedisServer({ port }));
      args.push("--store", `redis://127.0.0.1:${port}`);
    }
    testudo = await bed.up(args);
  });
  afterAll(() => bed.close(testudo));

  const rotate = (): Promise<Ended> => bed.run("slashing", "rotate-mac", "--data", testudo.dataPath);
  const keyFiles = (): string[] =>
    readdirSync(join(testudo.dataPath, "secrets"))
      .filter((name) => name.startsWith("mac"))
      .sort();
  const writingKey = (): unknown =>
    JSON.parse(readFileSync(join(testudo.dataPath, "installation.json"), "utf8")).macKeyId;
  const round = async (): Promise<number[]> => {
    const duty = attestation({ source: target - 1, target });
    target += 1;
    const signers = testudo.publicKeys.slice(0, SIGNERS);
    return Promise.all(signers.map(async (key) => (await sign(testudo.url, key, duty.body)).status));
  };
  /** Signs round after round until `until` is over. @returns all statuses */
  const signUntil = async (until: Promise<unknown>): Promise<number[]> => {
    let over = false;
    const ended = until.finally(() => (over = true)).catch(() => undefined);
    const statuses: number[] = [];
    while (!over) {
      statuses.push(...(await round()));
      await sleep(ROUND_MS);
    }
    await ended;
    return statuses;
  };
  /** Every key signs, refuses what clashes, and nothing is suspect. */
  const expectSound = async (): Promise<void> => {
    const last = target - 1;
    for (const key of testudo.publicKeys.slice(0, SIGNERS)) {
      const clash = attestation({ source: last - 1, target: last }, { head: 0xab });
      expect((await sign(testudo.url, key, clash.body)).status).toBe(412);
      await signVerified(testudo.url, key, attestation({ source: target - 1, target }));
    }
    target += 1;
    expect((await fetch(`${testudo.url}/healthcheck`)).status).toBe(200);
  };

  it("refuses no duty while it works, and the old key is gone", async () => {
    await round();
    const rotation = rotate();
    const statuses = await signUntil(rotation);
    expect(await rotation).toMatchObject({ ...ONE_OK, stderr: "" });
    expect(statuses.length).toBeGreaterThan(10 * SIGNERS);
    expect(new Set(statuses)).toEqual(new Set([200]));
    expect(keyFiles()).toEqual(["mac-2.key"]);
    expect(writingKey()).toBe(2);
    await expectSound();
  }, 60_000);

  /** What follows takes half a minute and knows no store: the record's way into it was tested above. */
  const once = it.runIf(kind === "sqlite");

  once(
    "after a restart every record can be read, and it rotates again",
    async () => {
      const { dataPath } = testudo;
      await testudo.stop();
      testudo = await bed.up(args, { dataPath });
      await expectSound();
      expect(await rotate()).toMatchObject(ONE_OK);
      expect(keyFiles()).toEqual(["mac-3.key"]);
      await expectSound();
    },
    60_000,
  );

  it.each([
    ["when the marker is under the new key", 2_000],
    ...(kind === "sqlite" ? [["at once", 0] as const] : []),
  ] as const)(
    "goes on with the same key when the manager is killed in the middle, %s",
    async (_name, afterMs) => {
      const current = writingKey() as number;
      const next = join(testudo.dataPath, "secrets", `mac-${current + 1}.key`);
      await round();
      const rotation = rotate();
      await expect.poll(() => existsSync(next), { timeout: 5_000, interval: 5 }).toBe(true);
      await sleep(afterMs);
      const { pool } = testudo.processes();
      process.kill(pool, "SIGKILL");
      const ended = await rotation;
      expect(ended).toMatchObject({ code: 1, stdout: "" });
      expect(ended.stderr).not.toMatch(/\n\s+at /);
      expect(writingKey()).toBe(current);
      // `up` starts the manager again, and that the enclaves.
      await expect.poll(async () => new Set(await round()), { timeout: 30_000, interval: 200 }).toEqual(new Set([200]));
      await expectSound();
      expect(keyFiles()).toEqual([`mac-${current}.key`, `mac-${current + 1}.key`]);
      const again = rotate();
      const statuses = await signUntil(again);
      expect(await again).toMatchObject(ONE_OK);
      expect(new Set(statuses)).toEqual(new Set([200]));
      expect(keyFiles()).toEqual([`mac-${current + 1}.key`]);
      expect(writingKey()).toBe(current + 1);
      await expectSound();
    },
    90_000,
  );

  once(
    "after everything was killed in the middle, the next start reads records under both keys",
    async () => {
      const { dataPath } = testudo;
      const current = writingKey() as number;
      const rotation = rotate();
      await sleep(3_000);
      await testudo.killAll();
      expect((await rotation).code).toBe(1);
      testudo = await bed.up(args, { dataPath });
      await expectSound();
      expect(await rotate()).toMatchObject(ONE_OK);
      expect(keyFiles()).toEqual([`mac-${current + 1}.key`]);
      await expectSound();
    },
    60_000,
  );
});
