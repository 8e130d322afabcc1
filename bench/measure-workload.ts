/** Saturated measurements of one workload over one store: what most scenarios are made of. */

import { availableParallelism } from "node:os";
import { type Bed, openBed } from "./bed.ts";
import { type Generator, startGenerator } from "./load/client.ts";
import type { WorkloadName } from "./load/workload.ts";
import { type Bare, startBare } from "./measure/bare.ts";
import { measureSaturated } from "./measure/saturated.ts";
import { startProfiles } from "./profile.ts";
import { type Run, type RunFacts, toRun } from "./result.ts";
import type { BenchModules, BenchOptions } from "./scenario.ts";
import type { StoreName } from "./stores.ts";

/** What to measure. */
export interface Subject {
  readonly label: string;
  readonly workload: WorkloadName;
  readonly store: StoreName;
  /** Keys, where the command line does not say. */
  readonly keys: number;
  /** Where they are not those of the command line. */
  readonly enclaves?: number;
}

/** A Testudo with a generator and bare signers, ready to be measured. */
export interface Rig {
  readonly bed: Bed;
  readonly generator: Generator;
  readonly bare: Bare;
  readonly facts: RunFacts;
  close(): Promise<void>;
}

/** Keys of a scenario with protected duties, where the command line does not say. */
export const KEYS = 2_000;
/** Bare signing between two windows of load. */
export const BARE_MS = 600;
/** Of one load window; a whole round more or less. */
const WINDOW_SECONDS = 2;
/** One window has no spread. */
const WINDOWS_MIN = 2;
/** Code gets hot, the first record of every key is written. */
const WARM_UP_SECONDS = 4;

/** Measures over one store after the other; what happens is told with the store's name. */
export const forEachStore = async <T>(
  { stores }: BenchOptions,
  modules: BenchModules,
  measure: (store: StoreName, told: BenchModules) => Promise<T>,
): Promise<T[]> => {
  const results: T[] = [];
  for (const store of stores) {
    const status = (text: string): void => modules.status(`${store}: ${text}`);
    results.push(await measure(store, { ...modules, status }));
  }
  return results;
};

/** Starts a Testudo, measures, and stops everything again. */
export const measureWorkload = async (subject: Subject, options: BenchOptions, modules: BenchModules): Promise<Run> => {
  const rig = await openRig(subject, options, modules);
  try {
    return await measureRig(rig, options, modules);
  } finally {
    await rig.close();
  }
};

/** Threads of each enclave. */
export const threadsOf = ({ threads }: BenchOptions, enclaves: number): number =>
  threads ?? Math.max(1, Math.floor(availableParallelism() / enclaves));

/** Starts all that a measurement needs, and warms it up. */
export const openRig = async (subject: Subject, options: BenchOptions, modules: BenchModules): Promise<Rig> => {
  const { status, own } = modules;
  const { connections, seed, upArgs, seconds } = options;
  const { workload } = subject;
  const keys = options.keys ?? subject.keys;
  const enclaves = subject.enclaves ?? options.enclaves;
  const threads = threadsOf(options, enclaves);
  const profiled = options.cpuProfile !== undefined;
  status(`starting testudo: ${keys.toLocaleString("en")} keys, ${enclaves} enclaves × ${threads} threads`);
  const settings = { store: subject.store, keys, enclaves, threads, seed, args: upArgs, profiled };
  const bed = await openBed(settings, modules);
  const parts: { close(): Promise<unknown> }[] = [bed];
  const close = async (): Promise<void> => {
    for (const part of parts.splice(0).reverse()) await part.close();
  };
  try {
    const { url, publicKeys } = bed.testudo;
    const generator = own(await startGenerator(options.generator, { url, publicKeys, connections, workload }));
    parts.push(generator);
    const bare = own(startBare({ processes: availableParallelism() }));
    parts.push(bare);
    const { store, engine, readyMs } = bed;
    const load = { workload, loop: "closed", keys, connections, enclaves, threads } as const;
    const facts: RunFacts = {
      ...{ label: subject.label, engine, readyMs, profiled },
      load: { ...load, generator: options.generator, store: store.name, durability: store.durability },
    };
    status("warming up");
    await generator.saturate({ seconds: Math.min(WARM_UP_SECONDS, seconds) });
    return { bed, generator, bare, facts, close };
  } catch (error) {
    await close();
    throw error;
  }
};

/** Where windows are not the common ones. */
interface WindowOptions {
  readonly windowSeconds?: number;
  readonly onWindow?: () => void;
}

/** Closed loop over a rig, which stays open. */
export const measureRig = async (
  rig: Rig,
  options: BenchOptions,
  { status, windowSeconds = WINDOW_SECONDS, onWindow }: BenchModules & WindowOptions,
): Promise<Run> => {
  const { bed, generator, bare, facts } = rig;
  const windows = Math.max(WINDOWS_MIN, Math.round(options.seconds / windowSeconds));
  const { cpuProfile: folder } = options;
  const profiles = folder === undefined ? undefined : await startProfiles(bed, { folder });
  const measured = await measureSaturated(
    {
      windows,
      windowSeconds: options.seconds / windows,
      bareMs: BARE_MS,
      run: (seconds) => generator.saturate({ seconds }),
      ...(onWindow !== undefined && { onWindow }),
    },
    { generator, bare, pids: bed.pids, status },
  );
  for (const path of (await profiles?.stop()) ?? []) status(`profile: ${path}`);
  return toRun(facts, measured);
};
