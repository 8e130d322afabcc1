/** `npm run simulate`: slashing protection under simulated failures, from seeds. */

import { availableParallelism } from "node:os";
import { parseArgs } from "node:util";
import { MUTANTS } from "./mutants.ts";
import { SCENARIOS, type Scenario } from "./plan.ts";
import { countExpected, countViolations, describeScenario, isGood, isPromised } from "./report.ts";
import { killMutants, runCampaign, type ScenarioResult, traceSeed } from "./runner.ts";

const HELP = `Simulates slashing protection: the real guard, balancer and retries on a simulated clock, network and store.

  npm run simulate -- [--seeds N] [--seed S] [--class 1|2|3] [--mutant NAME|all] [--threads N]

  --seeds N      seeds to run in each class (default 200; 1 with --seed)
  --seed S       the first seed; a seed that failed fails again, exactly
  --class C      1: acknowledged writes survive, anything else fails in any order. Promise: nothing slashable is signed.
                 2: acknowledged writes are lost, and an enclave that holds the floor of the key is asked first.
                    Promise: refused, the store is suspect, nothing slashable is signed.
                 3: acknowledged writes are lost and no floor is asked. No promise without recovery (reported as
                    expected); with recovery, nothing slashable is signed.
                 Default: all, reported apart.
  --mutant NAME  puts a defect into the code that is run; the simulation must find it. all: every mutant, at most
                 --seeds seeds each (default 1000). One of:
${MUTANTS.map(({ name, scenario }) => `                   ${name} (${scenario})`).join("\n")}
  --threads N    threads (default: one a CPU)

The last line is "violations: N"; the exit code is 0 when N is 0 and class 3 found what it must, else 1.
`;

const SCENARIOS_OF: Readonly<Record<string, readonly Scenario[]>> = {
  1: ["class-1"],
  2: ["class-2"],
  3: ["class-3", "class-3-recovered"],
};

const SEEDS_DEFAULT = 200;
const SEEDS_PER_MUTANT = 1_000;

const main = async (): Promise<number> => {
  const { values } = parseArgs({
    options: {
      seeds: { type: "string" },
      seed: { type: "string" },
      class: { type: "string" },
      mutant: { type: "string" },
      threads: { type: "string" },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help) {
    process.stdout.write(HELP);
    return 0;
  }
  const threads = readNumber(values.threads, "threads", availableParallelism());
  if (values.mutant === "all") return runMutants(readNumber(values.seeds, "seeds", SEEDS_PER_MUTANT), threads);
  if (values.mutant !== undefined && !MUTANTS.some(({ name }) => name === values.mutant)) {
    throw new Error(`--mutant: expected all or ${MUTANTS.map(({ name }) => name).join(", ")}, got ${values.mutant}`);
  }
  const scenarios = values.class === undefined ? SCENARIOS : SCENARIOS_OF[values.class];
  if (scenarios === undefined) throw new Error(`--class: expected 1, 2 or 3, got ${values.class}`);
  const firstSeed = readNumber(values.seed, "seed", 0);
  const seeds = readNumber(values.seeds, "seeds", values.seed === undefined ? SEEDS_DEFAULT : 1);

  const onProgress = createProgress();
  const mutantName = values.mutant;
  const results = await runCampaign({ scenarios, firstSeed, seeds, threads, mutantName, onProgress });
  for (const result of results) process.stdout.write(`${describeScenario(result).join("\n")}\n\n`);
  await printTraces(results, { mutantName, seeds });
  const expected = countExpected(results);
  if (expected !== undefined) process.stdout.write(`expected without recovery: ${expected}\n`);
  process.stdout.write(`violations: ${countViolations(results)}\n`);
  return isGood(results, seeds) ? 0 : 1;
};

/** The first seed that broke a promise, made small; and what class 3 found, when a single seed was asked for. */
const printTraces = async (
  results: readonly ScenarioResult[],
  { mutantName, seeds }: { mutantName: string | undefined; seeds: number },
): Promise<void> => {
  for (const { scenario, failing } of results) {
    const seed = failing[0]?.seed;
    if (seed === undefined || !(isPromised(scenario) || seeds === 1)) continue;
    const lines = await traceSeed(seed, { scenario, mutantName });
    const mutant = mutantName === undefined ? "" : ` --mutant ${mutantName}`;
    const again = `again: npm run simulate -- --seed ${seed} --class ${scenario.charAt(6)}${mutant}`;
    process.stdout.write(`${lines.join("\n")}\n${again}\n\n`);
  }
};

const runMutants = async (seeds: number, threads: number): Promise<number> => {
  const kills = await killMutants(MUTANTS, { seeds, threads });
  for (const { mutant, seed, violation } of kills) {
    const found = seed === undefined ? `SURVIVED ${seeds} seeds` : `seed ${seed}: ${violation}`;
    process.stdout.write(`${mutant.name.padEnd(34)} ${mutant.scenario.padEnd(18)} ${found}\n`);
  }
  const survivors = kills.filter(({ seed }) => seed === undefined).length;
  process.stdout.write(`mutants: ${kills.length}, survived: ${survivors}\n`);
  return survivors === 0 ? 0 : 1;
};

const readNumber = (text: string | undefined, name: string, otherwise: number): number => {
  if (text === undefined) return otherwise;
  const value = Number(text);
  if (/^\d{1,9}$/.test(text)) return value;
  throw new Error(`--${name}: expected a whole number up to 999999999, got ${text}`);
};

/** A bar on a terminal, a line each tenth elsewhere. */
const createProgress = (): ((part: number) => void) => {
  const startedAt = performance.now();
  let tenths = 0;
  return (part) => {
    const seconds = ((performance.now() - startedAt) / 1000).toFixed(0);
    const percent = Math.floor(part * 100);
    if (process.stderr.isTTY) {
      const bar = "█".repeat(Math.floor(percent / 4)).padEnd(25, "·");
      process.stderr.write(`\r${bar} ${percent} % ${seconds} s${part === 1 ? "\n" : ""}`);
    } else if (Math.floor(part * 10) > tenths) {
      tenths = Math.floor(part * 10);
      process.stderr.write(`${percent} % after ${seconds} s\n`);
    }
  };
};

try {
  process.exitCode = await main();
} catch (error) {
  process.stderr.write(`simulate: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
