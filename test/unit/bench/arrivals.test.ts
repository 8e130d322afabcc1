import { describe, expect, it } from "vitest";
import { arrivalTimes } from "../../../bench/load/arrivals.ts";

const LOAD = { ratePerSecond: 2_000, seconds: 10, seed: 5 };

describe("arrivals in open loop", () => {
  const times = arrivalTimes(LOAD);
  const gaps = Array.from(times.subarray(1), (time, index) => time - (times[index] as number));

  it("rise and lie within the window", () => {
    expect(gaps.every((gap) => gap >= 0)).toBe(true);
    expect(times[0]).toBeGreaterThanOrEqual(0);
    expect(times.at(-1)).toBeLessThan(10_000);
  });

  it("come at the rate, as a Poisson process: the gaps' deviation is their mean", () => {
    // 20,000 ± 141 is one standard deviation; the seed is fixed, so this passes always or never.
    expect(Math.abs(times.length - 20_000)).toBeLessThan(500);
    const mean = gaps.reduce((sum, gap) => sum + gap, 0) / gaps.length;
    const variance = gaps.reduce((sum, gap) => sum + (gap - mean) ** 2, 0) / gaps.length;
    expect(mean).toBeCloseTo(0.5, 1);
    expect(Math.sqrt(variance) / mean).toBeCloseTo(1, 1);
  });

  it("follow from the seed", () => {
    expect(arrivalTimes(LOAD)).toEqual(times);
    expect(arrivalTimes({ ...LOAD, seed: 6 })).not.toEqual(times);
  });
});
