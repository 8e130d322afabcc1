/** What the runner and its threads say to each other. */

import type { Scenario } from "./plan.ts";
import type { Stats } from "./stats.ts";

/** How a thread is set up: for one mutant, or for the code as it is. */
export interface WorkerSetup {
  readonly mutantName: string | undefined;
}

/** Work for a thread. */
export type Job =
  | {
      readonly kind: "run";
      readonly scenario: Scenario;
      readonly firstSeed: number;
      readonly seeds: number;
      /** Stop after the first seed that fails. */
      readonly stopAtFailure: boolean;
    }
  | { readonly kind: "trace"; readonly scenario: Scenario; readonly seed: number };

/** A seed whose run broke a promise. */
export interface FailingSeed {
  readonly seed: number;
  readonly violations: readonly string[];
}

/** What a thread answers. */
export type JobResult =
  | { readonly kind: "run"; readonly stats: Stats; readonly failing: readonly FailingSeed[]; readonly digest: number }
  | { readonly kind: "trace"; readonly lines: readonly string[] }
  | { readonly kind: "broken"; readonly reason: string };
