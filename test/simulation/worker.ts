/** A thread of the simulation: prepares the loading of production code, then runs the worlds that it is given. */

import { inspect } from "node:util";
import { parentPort, workerData } from "node:worker_threads";
import { prepareLoading } from "./loader.ts";
import type { FailingSeed, Job, JobResult, WorkerSetup } from "./messages.ts";
import { MUTANTS } from "./mutants.ts";
import { addStats, createStats } from "./stats.ts";

const { mutantName } = workerData as WorkerSetup;
const loaded = prepareLoading(MUTANTS.find(({ name }) => name === mutantName));
// Only now: what these import is production code.
const { createPlan } = await import("./plan.ts");
const { runPlan } = await import("./run.ts");
const { shrinkPlan } = await import("./shrink.ts");
loaded.assertComplete();

/** A run that looked at a real clock or at real chance would not replay. */
const forbid = (name: string) => (): never => {
  throw new Error(`simulation: ${name} was used in a simulated world`);
};
globalThis.setTimeout = forbid("setTimeout") as unknown as typeof setTimeout;
globalThis.setInterval = forbid("setInterval") as unknown as typeof setInterval;
Date.now = forbid("Date.now");
Math.random = forbid("Math.random");

const run = async (job: Job & { kind: "run" }): Promise<JobResult> => {
  const stats = createStats();
  const failing: FailingSeed[] = [];
  let digest = 0;
  for (let seed = job.firstSeed; seed < job.firstSeed + job.seeds; seed += 1) {
    const outcome = await runPlan(createPlan(seed, job.scenario)).catch((error: unknown) => {
      throw new Error(`seed ${seed}, ${job.scenario}`, { cause: error });
    });
    addStats(stats, outcome.stats);
    digest = (Math.imul(digest, 31) + outcome.digest) | 0;
    if (outcome.violations.length === 0) continue;
    failing.push({ seed, violations: outcome.violations });
    if (job.stopAtFailure) break;
  }
  return { kind: "run", stats, failing, digest };
};

const trace = async ({ seed, scenario }: Job & { kind: "trace" }): Promise<JobResult> => {
  const plan = await shrinkPlan(createPlan(seed, scenario));
  const lines: string[] = [];
  const { violations } = await runPlan(plan, { trace: lines });
  const size = `${plan.requests.length} requests, ${plan.faults.length} failures`;
  return { kind: "trace", lines: [`seed ${seed}, ${scenario}, shrunk to ${size}:`, ...lines, ...violations] };
};

parentPort?.on("message", (job: Job) => {
  const answer = (result: JobResult): void => parentPort?.postMessage(result);
  (job.kind === "run" ? run(job) : trace(job)).then(answer, (error: unknown) =>
    answer({ kind: "broken", reason: inspect(error) }),
  );
});
