/** The budgets of the product (ratios to one bare signature of the same run), and whether measurements hold them. */

import type { BenchResult, Run } from "../result.ts";
import type { ScenarioName } from "../scenarios.ts";

/** One budget. */
export interface Budget {
  readonly scenario: ScenarioName;
  readonly what: string;
  readonly must: number;
  /** What is hoped for; undefined: the must is all. */
  readonly aim?: number;
  /** For people; the numbers are in this unit. */
  readonly unit: string;
  /** The figure of a run; undefined: the run says nothing about it. */
  readonly read: (run: Run) => number | undefined;
}

/** A budget held against one run. */
export interface Verdict {
  readonly budget: Budget;
  readonly run: Run;
  readonly value: number;
  readonly holds: boolean;
  readonly reachesAim: boolean;
}

/** Keys and connections of the budgets' load. */
const KEYS_MIN = 2_000;
const CONNECTIONS = 64;
/** Of the budget for starting. */
const STARTUP_KEYS = 10_000;
/** Share of the capacity at which latency is judged. */
export const HALF = 0.5;
/** Of the soak. */
const SOAK_SECONDS_MIN = 9 * 60;

const ratioOf = ({ load, ratio, profiled }: Run): number | undefined => {
  const isThatLoad = load.keys >= KEYS_MIN && load.connections === CONNECTIONS && load.generator === "raw";
  return isThatLoad && !profiled ? (ratio ?? undefined) : undefined;
};
const atHalf = (run: Run) => run.levels?.find(({ share }) => share === HALF);
const inSeconds = (ms: number | null | undefined): number | undefined => (ms == null ? undefined : ms / 1_000);

/** All of them. */
export const BUDGETS: readonly Budget[] = [
  { scenario: "slot-burst", what: "slot-burst", must: 0.45, aim: 0.33, unit: "× bare", read: ratioOf },
  { scenario: "distinct", what: "distinct", must: 1.25, aim: 1.1, unit: "× bare", read: ratioOf },
  { scenario: "slot-mix", what: "slot-mix", must: 0.8, aim: 0.6, unit: "× bare", read: ratioOf },
  {
    scenario: "latency",
    what: "p50 at 50 % of capacity, less the store's commit p50",
    must: 5,
    aim: 3,
    unit: "bare signs",
    read: (run) => atHalf(run)?.bareSigns.p50,
  },
  {
    scenario: "latency",
    what: "p99 at 50 % of capacity, less the store's commit p99",
    must: 40,
    aim: 15,
    unit: "bare signs",
    read: (run) => atHalf(run)?.bareSigns.p99,
  },
  {
    scenario: "startup",
    what: "10,000 raw keys to ready",
    must: 10,
    aim: 3,
    unit: "s",
    read: ({ load, readyMs }) => (load.keys === STARTUP_KEYS ? inSeconds(readyMs) : undefined),
  },
  {
    scenario: "startup",
    what: "10,000 sealed keys to ready",
    must: 10,
    aim: 3,
    unit: "s",
    read: ({ load, restartMs }) => (load.keys === STARTUP_KEYS ? inSeconds(restartMs) : undefined),
  },
  {
    scenario: "soak",
    what: "growth of memory over 10 minutes",
    must: 0.05,
    unit: "of resident memory",
    read: ({ load, memoryGrowth }) => (load.seconds >= SOAK_SECONDS_MIN ? memoryGrowth : undefined),
  },
];

/** Every budget against every run that says something about it. */
export const judge = (results: readonly BenchResult[]): Verdict[] =>
  results.flatMap(({ scenario, runs }) =>
    BUDGETS.filter((budget) => budget.scenario === scenario).flatMap((budget) =>
      runs.flatMap((run) => {
        const value = budget.read(run);
        if (value === undefined) return [];
        const reachesAim = value <= (budget.aim ?? budget.must);
        return [{ budget, run, value, holds: value <= budget.must, reachesAim }];
      }),
    ),
  );

/** The parts of a signature's CPU, the dearest first, in bare signatures: why a ratio is what it is. */
export const dearestParts = (run: Run, count = 3): { name: string; ratio: number }[] => {
  const { threadMicrosPerSignature: threads, bareMicros } = run;
  if (threads === null || bareMicros === null) return [];
  const parts = (["gateway", "enclaves"] as const).flatMap((part) =>
    Object.entries(THREAD_NAMES[part]).map(([kind, name]) => {
      const micros = threads[part][kind as keyof (typeof threads)[typeof part]];
      return { name, ratio: micros / bareMicros };
    }),
  );
  return parts.toSorted((left, right) => right.ratio - left.ratio).slice(0, count);
};

/** What the threads of a part are, for people. */
export const THREAD_NAMES = {
  gateway: { main: "gateway", workers: "gateway workers", helpers: "gateway V8 and libuv" },
  enclaves: { main: "enclave main", workers: "signing threads", helpers: "enclave V8 and libuv" },
  poolManager: { main: "pool-manager", workers: "SQLite thread", helpers: "pool-manager V8 and libuv" },
} as const;
