/** Spreads seeds over threads and adds up what they find. */

import { once } from "node:events";
import { Worker } from "node:worker_threads";
import type { FailingSeed, Job, JobResult, WorkerSetup } from "./messages.ts";
import type { Mutant } from "./mutants.ts";
import type { Scenario } from "./plan.ts";
import { addStats, createStats, type Stats } from "./stats.ts";

/** What was found in one scenario. */
export interface ScenarioResult {
  readonly scenario: Scenario;
  readonly stats: Stats;
  /** In order of seeds. */
  readonly failing: FailingSeed[];
  /** Follows from everything that was released: equal for equal runs. */
  digest: number;
}

/** What to run. */
export interface CampaignOptions {
  readonly scenarios: readonly Scenario[];
  readonly firstSeed: number;
  readonly seeds: number;
  readonly threads: number;
  readonly mutantName?: string | undefined;
  /** Told of the part that is done, 0..1. */
  readonly onProgress?: (part: number) => void;
}

/** Seeds that a thread takes at a time. */
const CHUNK = 25;

/** Runs every seed in every scenario. */
export const runCampaign = async (options: CampaignOptions): Promise<ScenarioResult[]> => {
  const { scenarios, firstSeed, seeds } = options;
  const results = scenarios.map(
    (scenario): ScenarioResult => ({ scenario, stats: createStats(), failing: [], digest: 0 }),
  );
  const jobs = results.flatMap((result) =>
    Array.from({ length: Math.ceil(seeds / CHUNK) }, (_, chunk) => ({
      result,
      firstSeed: firstSeed + chunk * CHUNK,
      seeds: Math.min(CHUNK, seeds - chunk * CHUNK),
    })),
  );
  let next = 0;
  let done = 0;
  const work = async (): Promise<void> => {
    await using thread = openThread({ mutantName: options.mutantName });
    for (let task = jobs[next++]; task !== undefined; task = jobs[next++]) {
      const { result, ...range } = task;
      const job = { kind: "run", scenario: result.scenario, stopAtFailure: false, ...range } as const;
      const found = await thread.run(job).catch((error: unknown) => {
        next = jobs.length; // the other threads stop, too
        throw error;
      });
      addStats(result.stats, found.stats);
      result.failing.push(...found.failing);
      result.digest ^= Math.imul(found.digest, 2 * range.firstSeed + 1); // in any order of the threads
      done += 1;
      options.onProgress?.(done / jobs.length);
    }
  };
  await Promise.all(Array.from({ length: Math.min(options.threads, jobs.length) }, work));
  for (const { failing } of results) failing.sort((a, b) => a.seed - b.seed);
  return results;
};

/** The smallest trace that shows how a seed fails, in lines. */
export const traceSeed = async (
  seed: number,
  options: { readonly scenario: Scenario; readonly mutantName?: string | undefined },
): Promise<readonly string[]> => {
  await using thread = openThread({ mutantName: options.mutantName });
  return await thread.trace({ kind: "trace", seed, scenario: options.scenario });
};

/** What became of a mutant. */
export interface Kill {
  readonly mutant: Mutant;
  /** The first seed that finds it; undefined: none did. */
  readonly seed: number | undefined;
  readonly violation: string | undefined;
}

/** Looks for the first seed that finds each mutant. */
export const killMutants = async (
  mutants: readonly Mutant[],
  options: { readonly seeds: number; readonly threads: number },
): Promise<Kill[]> => {
  const kills: Kill[] = [];
  const waiting = [...mutants];
  const work = async (): Promise<void> => {
    for (let mutant = waiting.shift(); mutant !== undefined; mutant = waiting.shift()) {
      await using thread = openThread({ mutantName: mutant.name });
      const { scenario } = mutant;
      const found = await thread.run({
        kind: "run",
        scenario,
        firstSeed: 0,
        seeds: options.seeds,
        stopAtFailure: true,
      });
      kills.push({ mutant, seed: found.failing[0]?.seed, violation: found.failing[0]?.violations[0] });
    }
  };
  await Promise.all(Array.from({ length: options.threads }, work));
  return kills.sort((a, b) => mutants.indexOf(a.mutant) - mutants.indexOf(b.mutant));
};

interface Thread extends AsyncDisposable {
  run(job: Job & { kind: "run" }): Promise<JobResult & { kind: "run" }>;
  trace(job: Job & { kind: "trace" }): Promise<readonly string[]>;
}

/** A thread of its own loads production code of its own: a mutant stays where it is. */
const openThread = (setup: WorkerSetup): Thread => {
  const worker = new Worker(new URL("./worker.ts", import.meta.url), { workerData: setup, execArgv: [] });
  const broken = Promise.withResolvers<never>();
  broken.promise.catch(() => undefined); // heard by whoever asks
  worker.once("error", broken.reject);
  worker.once("exit", (code) => broken.reject(new Error(`a thread ended with code ${code}`)));
  const ask = async (job: Job): Promise<JobResult> => {
    worker.postMessage(job);
    const answered = once(worker, "message") as Promise<[JobResult]>;
    const [result] = await Promise.race([answered, broken.promise]);
    return result;
  };
  const fail = (result: JobResult): never => {
    throw new Error(result.kind === "broken" ? result.reason : `unexpected answer ${result.kind}`);
  };
  return {
    run: async (job) => {
      const result = await ask(job);
      return result.kind === "run" ? result : fail(result);
    },
    trace: async (job) => {
      const result = await ask(job);
      return result.kind === "trace" ? result.lines : fail(result);
    },
    [Symbol.asyncDispose]: async () => {
      await worker.terminate();
    },
  };
};
