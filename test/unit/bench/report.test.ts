import { describe, expect, it } from "vitest";
import { Histogram } from "../../../bench/measure/histogram.ts";
import { noParts, type PartNanos } from "../../../bench/measure/parts.ts";
import type { Saturated } from "../../../bench/measure/saturated.ts";
import { dearestParts, judge } from "../../../bench/report/budgets.ts";
import { renderReport } from "../../../bench/report/markdown.ts";
import { drawPlots } from "../../../bench/report/plots.ts";
import {
  type BenchResult,
  type Context,
  type Level,
  type Run,
  type RunFacts,
  toBenchResult,
  toIdleRun,
  toRun,
} from "../../../bench/result.ts";

const CONTEXT: Context = {
  scenario: "slot-burst",
  machine: { cpu: "Some CPU", cores: 2, kernel: "Linux 6", memoryGiB: 8 },
  node: "v26.10.0",
  commit: "0123456789abcdef",
  isDirty: false,
  date: "2026-03-04T05:06:07.000Z",
  seed: 1,
};
const FACTS: RunFacts = {
  label: "sqlite",
  engine: "native",
  readyMs: 1_500,
  profiled: false,
  load: {
    workload: "slot-burst",
    loop: "closed",
    keys: 2_000,
    connections: 64,
    enclaves: 1,
    threads: 2,
    generator: "raw",
    store: "sqlite",
    durability: "WAL",
  },
};
const SIGNATURES = 1_000;

/** 1,000 signatures in two windows; gateway 40 µs, enclaves 20 + 70 + 10 µs, pool-manager 30 µs, Redis 10 µs each. */
const measured = (ratios: readonly [number, number] = [0.4, 0.5]): Saturated => {
  const nanos = (micros: number): number => micros * 1_000 * SIGNATURES;
  const cpu: PartNanos = {
    ...noParts(),
    gateway: { main: nanos(40), workers: 0, helpers: 0 },
    enclaves: { main: nanos(20), workers: nanos(70), helpers: nanos(10) },
    poolManager: { main: nanos(30), workers: 0, helpers: 0 },
    redis: { main: nanos(10), workers: 0, helpers: 0 },
  };
  const latency = new Histogram();
  for (let micros = 1; micros <= SIGNATURES; micros += 1) latency.record(micros * 10);
  const windows = ratios.map((ratio) => ({
    signatures: SIGNATURES / 2,
    elapsedMs: 250,
    serverMicros: ratio * 300,
    bareMicros: 300,
    ratio,
  }));
  return {
    windows,
    signatures: SIGNATURES,
    errors: 0,
    verified: 64,
    elapsedMs: 500,
    latency,
    lateness: new Histogram(),
    cpu,
  };
};

const resultOf = (scenario: string, ...runs: Run[]): BenchResult => toBenchResult({ ...CONTEXT, scenario }, runs);

describe("a result", () => {
  const run = toRun(FACTS, measured());

  it("has every figure per signature", () => {
    expect(run.signaturesPerSecond).toBe(2_000);
    expect(run.cpuMicrosPerSignature).toEqual({
      gateway: 40,
      enclaves: 100,
      server: 140,
      poolManager: 30,
      redis: 10,
      launcher: 0,
      generator: 0,
    });
    expect(run.threadMicrosPerSignature?.enclaves).toEqual({ main: 20, workers: 70, helpers: 10 });
    expect(run.bareMicros).toBe(300);
    expect(run.ratio).toBeCloseTo(0.45, 10);
    expect(run.ratioSpread).toMatchObject({ min: 0.4, max: 0.5 });
    expect(run.ratioWithStore).toBeCloseTo(0.6, 10);
    expect(run.latencyMs?.p50).toBeCloseTo(5, 1);
    expect(run.latencyMs?.max).toBe(10);
    expect(run.load).toMatchObject({ signatures: SIGNATURES, errors: 0, verified: 64, seconds: 0.5, windows: 2 });
  });

  it("has the first run's fields at the top, and all runs", () => {
    const other = toRun({ ...FACTS, label: "redis" }, measured());
    const result = resultOf("slot-burst", run, other);
    expect(result).toMatchObject({ scenario: "slot-burst", label: "sqlite", ratio: run.ratio, commit: CONTEXT.commit });
    expect(result.runs.map(({ label }) => label)).toEqual(["sqlite", "redis"]);
    expect(() => resultOf("slot-burst")).toThrow(/nothing was measured/);
  });
});

describe("budgets", () => {
  const burst = (ratio: number, facts = FACTS): Run => toRun(facts, measured([ratio, ratio]));

  it.each([
    [0.33, true, true],
    [0.34, true, false],
    [0.45, true, false],
    [0.46, false, false],
  ])("slot-burst at %d: must %s, aim %s", (ratio, holds, reachesAim) => {
    expect(judge([resultOf("slot-burst", burst(ratio))])).toMatchObject([{ value: ratio, holds, reachesAim }]);
  });

  it("say nothing about another load, a profiled run, or another scenario", () => {
    const fewer = burst(0.3, { ...FACTS, load: { ...FACTS.load, keys: 1_999 } });
    expect(judge([resultOf("slot-burst", fewer)])).toEqual([]);
    expect(judge([resultOf("slot-burst", burst(0.3, { ...FACTS, profiled: true }))])).toEqual([]);
    expect(judge([resultOf("scale", burst(0.3))])).toEqual([]);
  });

  it("judge starting, latency and memory, too", () => {
    const latencyMs = { p50: 2, p90: 3, p99: 9, max: 10 };
    const level: Level = {
      share: 0.5,
      ratePerSecond: 1_000,
      signaturesPerSecond: 999,
      latencyMs,
      latenessMs: latencyMs,
      commitMs: latencyMs,
      errors: 0,
      ratio: 0.9,
      bareSigns: { p50: 2.5, p99: 41 },
    };
    const startup = toIdleRun({ ...FACTS, load: { ...FACTS.load, keys: 10_000 } }, { readyMs: 11_000, restartMs: 900 });
    const soak = { ...burst(0.3), memoryGrowth: 0.06 };
    const long = { ...soak, load: { ...soak.load, seconds: 600 } };
    const verdicts = judge([
      resultOf("latency", { ...burst(0.3), levels: [{ ...level, share: 0.1 }, level] }),
      resultOf("startup", startup),
      resultOf("soak", long, soak),
    ]);
    expect(verdicts.map(({ value, holds, reachesAim }) => [value, holds, reachesAim])).toEqual([
      [2.5, true, true],
      [41, false, false],
      [11, false, false],
      [0.9, true, true],
      [0.06, false, false],
    ]);
  });

  it("name what a ratio is made of, the dearest first", () => {
    const parts = dearestParts(burst(0.3), 2);
    expect(parts.map(({ name }) => name)).toEqual(["signing threads", "gateway"]);
    expect(parts[0]?.ratio).toBeCloseTo(70 / 300, 10);
  });
});

describe("the report", () => {
  const good = resultOf("slot-burst", toRun(FACTS, measured([0.3, 0.32])));
  const bad = resultOf("distinct", toRun({ ...FACTS, engine: "portable" }, measured([1.5, 1.7])));
  const refused = resultOf(
    "stores",
    toIdleRun({ ...FACTS, label: "redis-everysec", readyMs: null }, { refused: "too weak" }),
  );
  const soak = resultOf("soak", {
    ...toRun(FACTS, measured()),
    memory: [{ seconds: 10, gateway: 100, enclaves: 200, poolManager: 90 }],
    memoryGrowth: 0.01,
  });
  const results = [good, bad, refused, soak];

  it("says on what it was measured, what holds, and why something does not", () => {
    const text = renderReport(results, {
      day: "2026-03-04",
      plots: [{ title: "A plot", path: "2026-03-04/ratio.svg" }],
      notes: ["A quiet machine."],
    });
    for (const part of [
      "# Benchmarks of 2026-03-04",
      "Some CPU, 2 cores",
      "v26.10.0",
      "`0123456789ab`",
      "signing engine: native, portable",
      "A quiet machine.",
      "| slot-burst | sqlite | 0.310 × bare | ≤ 0.45 | ≤ 0.33 | holds, aim too |",
      "| distinct | sqlite | 1.600 × bare | ≤ 1.25 | ≤ 1.1 | **does not hold** |",
      "signing threads 0.233",
      "The engine was portable",
      "refused by Testudo: too weak",
      "memory grew by 1.0 %",
      "![A plot](2026-03-04/ratio.svg)",
    ]) {
      expect(text).toContain(part);
    }
    expect(text).not.toMatch(/NaN|undefined|null/);
  });

  it("tells uncommitted changes", () => {
    const text = renderReport([{ ...good, isDirty: true }], { day: "2026-03-04", plots: [], notes: [] });
    expect(text).toContain("with uncommitted changes");
  });

  it("has plots as SVG, one for each kind of number there is", async () => {
    const plots = await drawPlots(results);
    expect(plots.map(({ name }) => name)).toEqual(["ratio", "cpu", "memory"]);
    for (const { svg } of plots) {
      expect(svg).toMatch(/^<svg [\s\S]*<\/svg>\n$/);
      expect(svg).not.toContain("NaN");
    }
    expect(plots[0]?.svg).toContain("distinct, sqlite");
    expect(await drawPlots([refused])).toEqual([]);
  });
});
