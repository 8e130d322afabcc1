/** The report of a run, as text. */

import type { Scenario } from "./plan.ts";
import type { ScenarioResult } from "./runner.ts";
import type { Counts } from "./stats.ts";

/** Fewer seeds than this may find no loss in class 3. */
const SEEDS_TO_FIND_LOSS = 200;

const TITLES: Record<Scenario, string> = {
  "class-1": "class 1: acknowledged writes survive, anything else fails",
  "class-2": "class 2: acknowledged writes are lost, an enclave that holds the floor is asked first",
  "class-3": "class 3: acknowledged writes are lost, no floor is asked, no recovery (not promised)",
  "class-3-recovered": "class 3: the same, with recovery before anything is signed",
};

/** Whether a scenario promises that nothing slashable is signed. */
export const isPromised = (scenario: Scenario): boolean => scenario !== "class-3";

/** Seeds that broke a promise. */
export const countViolations = (results: readonly ScenarioResult[]): number =>
  results.reduce((sum, { scenario, failing }) => sum + (isPromised(scenario) ? failing.length : 0), 0);

/** Seeds that found what class 3 says may be; undefined: class 3 was not run without recovery. */
export const countExpected = (results: readonly ScenarioResult[]): number | undefined =>
  results.find(({ scenario }) => !isPromised(scenario))?.failing.length;

/** Whether the run says what it should: no promise broken, and losses found where there is no promise. */
export const isGood = (results: readonly ScenarioResult[], seeds: number): boolean =>
  countViolations(results) === 0 && (seeds < SEEDS_TO_FIND_LOSS || countExpected(results) !== 0);

/** One scenario in lines. */
export const describeScenario = ({ scenario, stats, failing }: ScenarioResult): string[] => {
  const found = isPromised(scenario) ? "violations" : "expected without recovery";
  return [
    TITLES[scenario],
    `  seeds       ${number(stats.seeds)}`,
    `  operations  ${number(stats.operations)} (events ${number(stats.events)})`,
    `  signatures  ${number(stats.signatures)}`,
    `  refusals    ${list(stats.refusals)}`,
    `  failures    ${list(stats.failures)}`,
    `  guards      ${list(stats.guards)}`,
    `  injected    ${list(stats.faults)}`,
    `  ${found}: ${number(failing.length)}`,
    ...failing.slice(0, isPromised(scenario) ? 5 : 1).map((it) => `    seed ${it.seed}: ${it.violations[0]}`),
  ];
};

const number = (value: number): string => value.toLocaleString("en-US");

const list = (counts: Counts): string =>
  Object.entries(counts)
    .sort(([, a], [, b]) => b - a)
    .map(([name, count]) => `${name} ${number(count)}`)
    .join(", ") || "none";
