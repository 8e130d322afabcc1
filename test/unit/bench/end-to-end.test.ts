/** The bench as people run it, over a real Testudo: little load, all numbers. How large they are is no test's business. */

import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { canMeasureCpu } from "../../../bench/measure/cpu.ts";
import { PARTS } from "../../../bench/measure/parts.ts";
import type { BenchResult } from "../../../bench/result.ts";

const MAIN = fileURLToPath(new URL("../../../bench/main.ts", import.meta.url));

const bench = (...args: string[]): Promise<{ code: number | null; stdout: string; stderr: string }> =>
  new Promise((resolve) => {
    const child = spawn(process.execPath, [MAIN, ...args], { stdio: ["ignore", "pipe", "pipe"] });
    const output = { stdout: "", stderr: "" };
    child.stdout.on("data", (data) => (output.stdout += data));
    child.stderr.on("data", (data) => (output.stderr += data));
    child.once("close", (code) => resolve({ code, ...output }));
  });

describe.runIf(canMeasureCpu())("npm run bench", () => {
  const folder = mkdtempSync(join(tmpdir(), "tb-"));
  let result: BenchResult;
  let ended: Awaited<ReturnType<typeof bench>>;
  beforeAll(async () => {
    const path = join(folder, "out.json");
    const load = ["--keys", "50", "--connections", "8", "--seconds", "2", "--store", "sqlite,redis"];
    ended = await bench("slot-burst", ...load, "--json", path);
    if (ended.code !== 0) throw new Error(ended.stderr);
    result = JSON.parse(readFileSync(path, "utf8")) as BenchResult;
  }, 120_000);
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  it("measures each store, and verifies what it counts", () => {
    expect(result.runs.map(({ load }) => load.store)).toEqual(["sqlite", "redis"]);
    for (const { load, signaturesPerSecond, latencyMs, windows } of result.runs) {
      expect(load).toMatchObject({ keys: 50, connections: 8, enclaves: 1, errors: 0, workload: "slot-burst" });
      expect(load.signatures % 50).toBe(0); // whole rounds
      expect(load.signatures).toBeGreaterThan(0);
      expect(load.verified).toBeGreaterThanOrEqual(Math.min(load.signatures, 32));
      expect(signaturesPerSecond).toBeGreaterThan(0);
      expect(windows).toHaveLength(2);
      const { p50 = 0, p90 = 0, p99 = 0, max = 0 } = latencyMs ?? {};
      expect(p50).toBeGreaterThan(0);
      expect([p50, p90, p99, max]).toEqual([p50, p90, p99, max].toSorted((left, right) => left - right));
    }
  });

  it("tells CPU by part and the ratio to bare signing", () => {
    const [sqlite, redis] = result.runs;
    for (const run of result.runs) {
      const cpu = run.cpuMicrosPerSignature;
      for (const part of PARTS) expect(cpu?.[part], part).toBeGreaterThanOrEqual(0);
      expect(cpu?.gateway).toBeGreaterThan(0);
      expect(cpu?.enclaves).toBeGreaterThan(0);
      expect(cpu?.generator).toBeGreaterThan(0);
      expect(cpu?.server).toBeCloseTo((cpu?.gateway ?? 0) + (cpu?.enclaves ?? 0), 6);
      expect(run.threadMicrosPerSignature?.enclaves.workers).toBeGreaterThan(0);
      expect(run.bareMicros).toBeGreaterThan(0);
      expect(run.ratio).toBeGreaterThan(0);
      expect(run.ratioWithStore).toBeGreaterThan(run.ratioSpread?.min ?? Number.POSITIVE_INFINITY);
    }
    expect(sqlite?.cpuMicrosPerSignature?.redis).toBe(0);
    expect(sqlite?.cpuMicrosPerSignature?.poolManager).toBeGreaterThan(0);
    expect(redis?.cpuMicrosPerSignature?.redis).toBeGreaterThan(0);
  });

  it("says on what it was measured, with the first store's numbers at the top", () => {
    expect(result).toMatchObject({ scenario: "slot-burst", node: process.version, seed: 1, profiled: false });
    expect(result.machine.cores).toBeGreaterThan(0);
    expect(result.commit).toMatch(/^([0-9a-f]{40}|unknown)$/);
    expect(Date.parse(result.date)).toBeGreaterThan(0);
    expect(["native", "portable", "unknown"]).toContain(result.engine);
    expect(result.ratio).toBe(result.runs[0]?.ratio);
    expect(ended.stdout).toContain("ratio");
  });

  it("tells progress on standard error, and wrong usage by its exit code", async () => {
    expect(ended.stderr).toMatch(/window 2 of 2/);
    const wrong = await bench("slot-bust");
    expect(wrong.code).toBe(2);
    expect(wrong.stderr).toContain("slot-burst");
  });
});
