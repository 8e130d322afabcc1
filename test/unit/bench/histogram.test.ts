import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Histogram } from "../../../bench/measure/histogram.ts";

const MICROS_MAX = 2 ** 31 - 1;

const filled = (values: readonly number[]): Histogram => {
  const histogram = new Histogram();
  for (const value of values) histogram.record(value);
  return histogram;
};

/** The value with the rank that a quantile means, by sorting. */
const exact = (values: readonly number[], share: number): number => {
  const sorted = values.toSorted((left, right) => left - right);
  return sorted[Math.max(1, Math.ceil(share * sorted.length)) - 1] ?? 0;
};

describe("the histogram of latencies", () => {
  it("is exact below 256 µs", () => {
    const values = Array.from({ length: 256 }, (_, index) => index);
    const histogram = filled(values);
    for (const share of [0.01, 0.5, 0.9, 0.99, 1]) expect(histogram.quantile(share)).toBe(exact(values, share));
  });

  it("is never below the exact quantile, and above it by less than 1/128", () => {
    const latencies = fc.array(fc.integer({ min: 0, max: MICROS_MAX }), { minLength: 1, maxLength: 200 });
    fc.assert(
      fc.property(latencies, fc.double({ min: 0, max: 1, noNaN: true }), (values, share) => {
        const [got, expected] = [filled(values).quantile(share), exact(values, share)];
        expect(got).toBeGreaterThanOrEqual(expected);
        expect(got - expected).toBeLessThanOrEqual(expected / 128);
      }),
    );
  });

  it("knows the greatest value exactly, and cuts off what no request takes", () => {
    expect(filled([3, 1_234_567]).quantile(1)).toBe(1_234_567);
    expect(filled([2 ** 40, -1]).quantile(1)).toBe(MICROS_MAX);
    expect(new Histogram().quantile(0.99)).toBe(0);
  });

  it("adds another process's values as if they were its own", () => {
    const [left, right] = [
      [5, 900, 70_000],
      [1, 1, 2_000_000],
    ];
    const sum = filled(left as number[]);
    sum.add(JSON.parse(JSON.stringify(filled(right as number[]).toData())));
    const both = filled([...(left as number[]), ...(right as number[])]);
    expect(sum.toData()).toEqual(both.toData());
    expect(sum.count).toBe(6);
  });
});
