/** A short run of the simulation, and its own tests: it replays, it shrinks, and it finds every mutant. */

import { expect, test } from "vitest";
import { mutate } from "./loader.ts";
import { MUTANTS, type Mutant } from "./mutants.ts";
import { SCENARIOS } from "./plan.ts";
import { countExpected, countViolations, describeScenario, isGood } from "./report.ts";
import { killMutants, runCampaign, traceSeed } from "./runner.ts";

const SEEDS = 200;
const SEEDS_PER_MUTANT = 1_000;
const TIMEOUT_MS = 120_000;

test(
  "no promise is broken, and losses show where nothing is promised",
  async () => {
    const results = await runCampaign({ scenarios: SCENARIOS, firstSeed: 0, seeds: SEEDS, threads: 2 });
    const report = results.flatMap(describeScenario).join("\n");
    expect(countViolations(results), report).toBe(0);
    expect(countExpected(results), report).toBeGreaterThan(0);
    expect(isGood(results, SEEDS)).toBe(true);
    // A simulation in which nothing is signed, or nothing fails, would promise nothing.
    for (const { stats } of results) {
      expect(stats.seeds).toBe(SEEDS);
      expect(stats.signatures, report).toBeGreaterThan(10 * SEEDS);
      expect(stats.guards.conflicts, report).toBeGreaterThan(SEEDS);
      expect(Object.keys(stats.faults).length, report).toBeGreaterThan(20);
    }
  },
  TIMEOUT_MS,
);

test(
  "a seed gives the same run again, on any number of threads",
  async () => {
    const options = { scenarios: SCENARIOS, firstSeed: 1000, seeds: 40 };
    const once = await runCampaign({ ...options, threads: 1 });
    const again = await runCampaign({ ...options, threads: 2 });
    expect(again).toEqual(once);
    expect(new Set(once.map(({ digest }) => digest)).size).toBe(SCENARIOS.length);
  },
  TIMEOUT_MS,
);

test.each(MUTANTS)(
  "the mutant $name is found",
  async (mutant) => {
    const [kill] = await killMutants([mutant], { seeds: SEEDS_PER_MUTANT, threads: 1 });
    expect(kill?.seed, `${mutant.name} survived`).toBeDefined();
  },
  TIMEOUT_MS,
);

test(
  "a failing seed is shrunk to the requests and failures that it takes",
  async () => {
    const mutant = { scenario: "class-1", mutantName: "slot-less-for-less-or-equal" } as const;
    const lines = await traceSeed(0, mutant);
    expect(lines[0]).toMatch(/shrunk to 2 requests, 0 failures/);
    expect(lines.filter((line) => line.includes("RELEASES"))).toHaveLength(2);
    expect(lines.at(-1)).toMatch(/^validator \d signed .* and /);
    expect(await traceSeed(0, mutant)).toEqual(lines);
  },
  TIMEOUT_MS,
);

test("a mutant that does not fit the code any more is an error", () => {
  const mutant: Mutant = { name: "m", file: "f.ts", find: "a < b", replace: "a <= b", scenario: "class-1" };
  expect(mutate("if (a < b) c();", mutant)).toBe("if (a <= b) c();");
  expect(() => mutate("if (a > b) c();", mutant)).toThrow("found it 0 times");
  expect(() => mutate("a < b; a < b;", mutant)).toThrow("found it 2 times");
});
