/** `up` took everything down when one of its processes died; and at 0.0.0.0 it waited for itself for ever. */

import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, expect, it } from "vitest";
import { attestation, sign, signVerified } from "../helpers/duties.ts";
import { createTestbed } from "../helpers/testudo.ts";

const bed = createTestbed();
afterAll(() => bed.close());

/** Time for a pause, a start of a process, and an enclave. */
const BACK_MS = 20_000;

it("a killed gateway and a killed pool-manager come back, the gateway where it was", async () => {
  const testudo = await bed.up(["--enclaves", "1"]);
  const [key] = testudo.publicKeys as [string];
  await signVerified(testudo.url, key, attestation({ source: 1, target: 2 }));
  expect(testudo.command.stderr()).not.toMatch(/"level":"(warn|error)"/); // a start is nothing to warn of
  for (const [index, name] of (["gateway", "pool"] as const).entries()) {
    const before = testudo.processes();
    process.kill(before[name], "SIGKILL");
    const replaced = () => ![undefined, before[name]].includes(pidOf(name));
    await expect.poll(replaced, { timeout: BACK_MS }).toBe(true);
    const duty = attestation({ source: 1, target: 3 + index });
    const status = () => sign(testudo.url, key, duty.body).then((answer) => answer.status, String);
    await expect.poll(status, { timeout: BACK_MS }).toBe(200);
    await signVerified(testudo.url, key, duty);
    expect((await fetch(`${testudo.metricsUrl}/metrics`)).status).toBe(200);
    expect((await sign(testudo.url, key, attestation({ source: 1, target: 2 }).body)).status).toBe(412);
  }
  const warnings = testudo.command.stderr().match(/"level":"warn","process":"up".*/g) ?? [];
  expect(warnings.map((line) => /"name":"([^"]+)"/.exec(line)?.[1])).toEqual(["gateway", "pool-manager"]);
  expect(warnings.map((line) => /"pauseMs":(\d+)/.exec(line)?.[1])).toEqual(["0", "0"]);
  await testudo.stop();

  function pidOf(name: "gateway" | "pool"): number | undefined {
    try {
      return testudo.processes()[name];
    } catch {
      return undefined; // between two of them
    }
  }
});

it("up at every address names one that works", async () => {
  const testudo = await bed.up(["--enclaves", "1", "--host", "0.0.0.0", "--insecure"]);
  expect(testudo.url).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/);
  expect(testudo.command.stdout()).toMatch(/listens at http:\/\/0\.0\.0\.0:\d+/);
  await testudo.stop();
});

it("a gateway that dies again and again is given up", { timeout: 90_000 }, async () => {
  const testudo = await bed.up(["--enclaves", "1"]);
  let ended = false;
  void testudo.command.ended.then(() => (ended = true));
  let killed: number | undefined;
  while (!ended) {
    await sleep(20);
    const pid = gatewayPid();
    if (pid === undefined || pid === killed) continue;
    killed = pid;
    process.kill(pid, "SIGKILL");
  }
  const { code, stderr } = await testudo.command.ended;
  expect(code).toBe(1);
  expect(stderr).toMatch(/the gateway ended 10 times within 60 s/);

  function gatewayPid(): number | undefined {
    try {
      return testudo.processes().gateway;
    } catch {
      return undefined;
    }
  }
});
