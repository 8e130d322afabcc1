import { fork } from "node:child_process";
import { once } from "node:events";
import { SecretKey } from "@chainsafe/blst";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { startBare } from "../../../bench/measure/bare.ts";
import { canMeasureCpu, readResidentBytes, readThreadNanos, totalNanos } from "../../../bench/measure/cpu.ts";
import { memoryGrowth } from "../../../bench/measure/memory.ts";
import { median, spreadOf } from "../../../bench/measure/statistics.ts";
import { verifySamples } from "../../../bench/measure/verify.ts";

describe("statistics", () => {
  it("has the middle value, or the mean of two", () => {
    expect(median([3])).toBe(3);
    expect(median([9, 1, 5])).toBe(5);
    expect(median([4, 1, 2, 9])).toBe(3);
    expect(() => median([])).toThrow();
  });

  it("has a median between the extremes", () => {
    fc.assert(
      fc.property(fc.array(fc.integer(), { minLength: 1 }), (values) => {
        const spread = spreadOf(values);
        expect(spread.min).toBeLessThanOrEqual(spread.median);
        expect(spread.median).toBeLessThanOrEqual(spread.max);
      }),
    );
  });
});

describe("growth of memory", () => {
  const points = (levels: readonly number[]) =>
    levels.map((gateway, index) => ({ seconds: 10 * index, gateway, enclaves: 0, poolManager: 0 }));

  it("is none when a heap goes up and down, or grows only while it warms up", () => {
    const sawtooth = Array.from({ length: 60 }, (_, index) => 100 + (index % 3));
    expect(memoryGrowth(points(sawtooth))).toBeCloseTo(0, 2);
    expect(memoryGrowth(points([10, 40, 70, ...sawtooth.slice(3)]))).toBeCloseTo(0, 2);
  });

  it("is what a leak adds", () => {
    const leak = Array.from({ length: 60 }, (_, index) => 100 + index);
    expect(memoryGrowth(points(leak))).toBeGreaterThan(0.25);
  });

  it("is not told by too few points", () => {
    expect(memoryGrowth(points([1, 2, 3]))).toBeUndefined();
  });
});

describe("verification of samples", () => {
  const secret = SecretKey.fromKeygen(Buffer.alloc(32, 3));
  const publicKey = secret.toPublicKey().toHex();
  const root = `0x${"5a".repeat(32)}`;
  const signature = secret.sign(Buffer.alloc(32, 0x5a)).toHex();

  it("counts right ones", () => {
    expect(verifySamples([{ publicKey, root, signature }])).toBe(1);
  });

  it.each([
    ["another root", { root: `0x${"5b".repeat(32)}` }],
    ["another key", { publicKey: SecretKey.fromKeygen(Buffer.alloc(32, 4)).toPublicKey().toHex() }],
  ])("refuses a signature of %s", (_what, other) => {
    expect(() => verifySamples([{ publicKey, root, signature, ...other }])).toThrow(/wrong signature/);
  });
});

describe.runIf(canMeasureCpu())("CPU of other processes", () => {
  it("is told by thread, and is what the process says of itself", async () => {
    const source = `
      const { Worker } = require("node:worker_threads");
      const spin = "const end = Date.now() + 300; while (Date.now() < end);";
      process.on("message", () => {
        new Worker(spin, { eval: true }).once("exit", () => process.send(process.cpuUsage()));
      });`;
    const child = fork("-e", [source], { execArgv: [] });
    try {
      const before = readThreadNanos(child.pid ?? 0);
      child.send("spin");
      const [usage] = (await once(child, "message")) as [{ user: number; system: number }];
      const after = readThreadNanos(child.pid ?? 0);
      // The worker is gone, and its time with it: what is left cannot be more than all.
      expect(totalNanos(after) / 1_000).toBeLessThanOrEqual((usage.user + usage.system) * 1.1);
      expect(after.main).toBeGreaterThan(before.main);
      expect(readResidentBytes(child.pid ?? 0)).toBeGreaterThan(1_000_000);
    } finally {
      child.kill("SIGKILL");
    }
  });

  it("of a process that is gone is none", () => {
    expect(totalNanos(readThreadNanos(2 ** 22 + 1))).toBe(0);
    expect(readResidentBytes(2 ** 22 + 1)).toBe(0);
  });
});

describe("bare signing", () => {
  it("costs CPU, and not more than the time there was", async () => {
    const bare = startBare({ processes: 1 });
    try {
      const micros = await bare.measure(200);
      expect(micros).toBeGreaterThan(10);
      expect(micros).toBeLessThan(200_000);
    } finally {
      await bare.close();
    }
  });
});
