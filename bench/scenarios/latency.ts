/**
 * Latency at a part of what the server can do: requests arrive at their own times (a Poisson process), whether earlier
 * ones were answered or not, and latency counts from the arrival, so that a stall is felt by everyone who came during it
 * (no coordinated omission).
 */

import { startCommitProbe } from "../measure/commit.ts";
import { Histogram } from "../measure/histogram.ts";
import { measureSaturated } from "../measure/saturated.ts";
import { BARE_MS, forEachStore, KEYS, measureRig, openRig, type Rig } from "../measure-workload.ts";
import { type Level, type Run, toLatencies, toRun } from "../result.ts";
import type { BenchModules, BenchOptions, Scenario } from "../scenario.ts";

/** Parts of the measured capacity. */
const SHARES = [0.1, 0.5, 0.8] as const;
/** Bare signing between them tells what a millisecond is worth. */
const WINDOWS = 2;
/** The server gets used to another load. */
const SETTLE_SECONDS = 2;

/** The scenario. */
export const latency: Scenario = {
  summary: "open-loop arrivals at 10, 50 and 80 % of the measured capacity",
  description: `First slot-burst, saturated, for the capacity. Then its requests arrive by chance (Poisson, --seed) at 10, 50 and 80 %
of it; latency counts from the arrival. A lone durable write beside the load tells what the store takes: a protected
duty cannot be faster. "In bare signs" is latency less the write's, in CPU times of one bare signature.`,
  run: (options, modules) =>
    forEachStore(options, modules, async (store, told) => {
      const rig = await openRig({ label: store, workload: "slot-burst", store, keys: KEYS }, options, told);
      try {
        const saturated = await measureRig(rig, options, told);
        const levels: Level[] = [];
        for (const share of SHARES) levels.push(await measureLevel(rig, { share, saturated, options }, told));
        return { ...saturated, levels };
      } finally {
        await rig.close();
      }
    }),
};

const measureLevel = async (
  { bed, generator, bare, facts }: Rig,
  { share, saturated, options }: { share: number; saturated: Run; options: BenchOptions },
  modules: BenchModules,
): Promise<Level> => {
  const ratePerSecond = share * (saturated.signaturesPerSecond ?? 0);
  const status = (text: string): void => modules.status(`at ${Math.round(100 * share)} %: ${text}`);
  const commits = new Histogram();
  const probe = modules.own(startCommitProbe(bed));
  try {
    let { seed } = options;
    const arrive = async (seconds: number) => {
      seed += 1; // each window has its own chance
      const [result, committed] = await Promise.all([
        generator.arrive({ ratePerSecond, seconds, seed }),
        probe.measure(seconds),
      ]);
      commits.add(committed);
      return result;
    };
    status(`${ratePerSecond.toFixed(0)}/s`);
    await generator.arrive({ ratePerSecond, seconds: SETTLE_SECONDS, seed });
    const measured = await measureSaturated(
      { windows: WINDOWS, windowSeconds: options.seconds / WINDOWS, bareMs: BARE_MS, run: arrive },
      { generator, bare, pids: bed.pids, status },
    );
    const run = toRun({ ...facts, load: { ...facts.load, loop: "open" } }, measured);
    const latencyMs = toLatencies(measured.latency);
    const commitMs = toLatencies(commits);
    const bareMs = (run.bareMicros ?? Number.NaN) / 1_000;
    return {
      share,
      ratePerSecond,
      signaturesPerSecond: run.signaturesPerSecond ?? 0,
      latencyMs,
      latenessMs: toLatencies(measured.lateness),
      commitMs,
      errors: measured.errors,
      ratio: run.ratio ?? Number.NaN,
      bareSigns: { p50: (latencyMs.p50 - commitMs.p50) / bareMs, p99: (latencyMs.p99 - commitMs.p99) / bareMs },
    };
  } finally {
    await probe.close();
  }
};
