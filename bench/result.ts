/** The shape of what a bench writes, and how measurements get into it. `docs/performance.md` explains it to people. */

import type { Engine } from "./bed.ts";
import type { GeneratorName } from "./load/client.ts";
import { totalNanos } from "./measure/cpu.ts";
import type { Histogram } from "./measure/histogram.ts";
import type { Machine, Source } from "./measure/machine.ts";
import type { MemoryPoint } from "./measure/memory.ts";
import { PARTS, type Part, type PartNanos } from "./measure/parts.ts";
import type { Saturated, Window } from "./measure/saturated.ts";
import { median, type Spread, spreadOf } from "./measure/statistics.ts";
import type { StoreName } from "./stores.ts";

/** Latencies in ms. */
export interface Latencies {
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
  readonly max: number;
}

/** How the load was. */
export interface LoadShape {
  readonly workload: string;
  readonly loop: "closed" | "open";
  readonly keys: number;
  readonly connections: number;
  readonly enclaves: number;
  /** Signing threads of each enclave. */
  readonly threads: number;
  readonly generator: GeneratorName;
  readonly store: StoreName;
  readonly durability: string;
  /** Of the load windows together. */
  readonly seconds: number;
  readonly signatures: number;
  readonly errors: number;
  readonly firstError?: string;
  /** Signatures of the sample that were verified; a wrong one ends the bench. */
  readonly verified: number;
  readonly windows: number;
}

/** CPU of a part by its threads, µs a signature. */
export interface ThreadMicros {
  readonly main: number;
  /** Signing threads, and the SQLite thread of the pool-manager. */
  readonly workers: number;
  /** Of V8 and libuv: garbage collection, compilation, files. */
  readonly helpers: number;
}

/** Load at a part of what the server can do. */
export interface Level {
  /** Of the capacity, 0..1. */
  readonly share: number;
  readonly ratePerSecond: number;
  readonly signaturesPerSecond: number;
  readonly latencyMs: Latencies;
  /** Part of the latency that the generator took to notice an arrival. */
  readonly latenessMs: Latencies;
  /** A lone durable write to the same store under the same load. */
  readonly commitMs: Latencies;
  readonly errors: number;
  readonly ratio: number;
  /** (p50 − the store's commit p50) in bare signatures, and the same of p99. */
  readonly bareSigns: { readonly p50: number; readonly p99: number };
}

/** One measurement: a scenario over a store, or one step of it. Fields that do not apply are null. */
export interface Run {
  /** Names the step where a scenario has several. */
  readonly label: string;
  readonly signaturesPerSecond: number | null;
  readonly latencyMs: Latencies | null;
  readonly cpuMicrosPerSignature: Readonly<Record<Part | "server", number>> | null;
  readonly threadMicrosPerSignature: Readonly<Record<"gateway" | "enclaves" | "poolManager", ThreadMicros>> | null;
  /** CPU of one bare `@chainsafe/blst` signature. */
  readonly bareMicros: number | null;
  /** Median over the windows of (gateway + enclaves) / bare. */
  readonly ratio: number | null;
  readonly ratioSpread: Spread | null;
  /** (gateway + enclaves + pool-manager + Redis) / bare. */
  readonly ratioWithStore: number | null;
  readonly windows: readonly Window[];
  readonly load: LoadShape;
  readonly engine: Engine;
  /** From the start of `testudo up` until all enclaves are ready and all keys listed; null when it never was. */
  readonly readyMs: number | null;
  /** The same at the next start, when the keys are sealed. */
  readonly restartMs?: number;
  /** Whether a profiler ran, which costs: not for comparison. */
  readonly profiled: boolean;
  readonly levels?: readonly Level[];
  readonly memory?: readonly MemoryPoint[];
  /** Of all processes together, 0.05 is 5 %. */
  readonly memoryGrowth?: number | undefined;
  /** Why there are no numbers: the product refused. */
  readonly refused?: string;
}

/** What is the same for all runs. */
export interface Context {
  readonly scenario: string;
  readonly machine: Machine;
  readonly node: string;
  readonly commit: string;
  readonly isDirty: boolean;
  /** ISO 8601. */
  readonly date: string;
  readonly seed: number;
}

/** A whole file: the first run's fields at the top, and every run. */
export interface BenchResult extends Context, Run {
  readonly runs: readonly Run[];
}

/** Puts a scenario's runs together. @throws Error without any */
export const toBenchResult = (context: Context, runs: readonly Run[]): BenchResult => {
  const [first] = runs;
  if (first === undefined) throw new Error(`${context.scenario}: nothing was measured`);
  return { ...context, ...first, runs };
};

/** What is the same for all runs of this process. */
export const contextOf = (options: {
  scenario: string;
  machine: Machine;
  source: Source;
  date: Date;
  seed: number;
}): Context => ({
  scenario: options.scenario,
  machine: options.machine,
  node: process.version,
  commit: options.source.commit,
  isDirty: options.source.isDirty,
  date: options.date.toISOString(),
  seed: options.seed,
});

/** Facts of a run that no window tells. */
export type RunFacts = Pick<Run, "label" | "engine" | "readyMs" | "profiled"> & {
  readonly load: Pick<
    LoadShape,
    "workload" | "loop" | "keys" | "connections" | "enclaves" | "threads" | "generator" | "store" | "durability"
  >;
};

/** A run from its windows. */
export const toRun = (facts: RunFacts, measured: Saturated): Run => {
  const { windows, signatures, errors, verified, elapsedMs, firstError } = measured;
  const cpu = partMicros(measured.cpu, signatures);
  const bareMicros = median(windows.map((window) => window.bareMicros));
  const ratioSpread = spreadOf(windows.map(({ ratio }) => ratio));
  const threads = (part: Part): ThreadMicros => threadMicros(measured.cpu, { part, signatures });
  return {
    ...facts,
    signaturesPerSecond: (signatures / elapsedMs) * 1_000,
    latencyMs: toLatencies(measured.latency),
    cpuMicrosPerSignature: cpu,
    threadMicrosPerSignature: {
      gateway: threads("gateway"),
      enclaves: threads("enclaves"),
      poolManager: threads("poolManager"),
    },
    bareMicros,
    ratio: ratioSpread.median,
    ratioSpread,
    ratioWithStore: (cpu.server + cpu.poolManager + cpu.redis) / bareMicros,
    windows,
    load: {
      ...facts.load,
      seconds: elapsedMs / 1_000,
      signatures,
      errors,
      ...(firstError !== undefined && { firstError }),
      verified,
      windows: windows.length,
    },
  };
};

/** A run without load. */
export const toIdleRun = (facts: RunFacts, extra: Partial<Run> = {}): Run => ({
  ...facts,
  signaturesPerSecond: null,
  latencyMs: null,
  cpuMicrosPerSignature: null,
  threadMicrosPerSignature: null,
  bareMicros: null,
  ratio: null,
  ratioSpread: null,
  ratioWithStore: null,
  windows: [],
  load: { ...facts.load, seconds: 0, signatures: 0, errors: 0, verified: 0, windows: 0 },
  ...extra,
});

/** Percentiles of a histogram in µs, as ms. */
export const toLatencies = (histogram: Histogram): Latencies => ({
  p50: histogram.quantile(0.5) / 1_000,
  p90: histogram.quantile(0.9) / 1_000,
  p99: histogram.quantile(0.99) / 1_000,
  max: histogram.quantile(1) / 1_000,
});

const partMicros = (cpu: PartNanos, signatures: number): Readonly<Record<Part | "server", number>> => {
  const micros = (part: Part): number => totalNanos(cpu[part]) / 1_000 / signatures;
  const parts = Object.fromEntries(PARTS.map((part) => [part, micros(part)])) as Record<Part, number>;
  return { ...parts, server: parts.gateway + parts.enclaves };
};

const threadMicros = (cpu: PartNanos, of: { part: Part; signatures: number }): ThreadMicros => {
  const micros = (nanos: number): number => nanos / 1_000 / of.signatures;
  const { main, workers, helpers } = cpu[of.part];
  return { main: micros(main), workers: micros(workers), helpers: micros(helpers) };
};
