/** Runs one plan from its first event to its last and judges it. Deterministic: the same plan gives the same run. */

import { startClients } from "./client.ts";
import { scheduleFaults } from "./faults.ts";
import { createSite } from "./parent.ts";
import type { Plan } from "./plan.ts";
import { enterWorld } from "./stand-ins.ts";
import type { Stats } from "./stats.ts";
import { createWorld } from "./world.ts";

/** What came of a run. */
export interface Outcome {
  /** Slashable pairs and broken promises, in words. */
  readonly violations: readonly string[];
  readonly stats: Stats;
  /** Names of all mishaps of messages. */
  readonly mishaps: readonly string[];
  /** Follows from every release and its time: equal runs have equal ones. */
  readonly digest: number;
}

/** Runs a plan; `trace` gets a line for each event. */
export const runPlan = async (plan: Plan, options: { readonly trace?: string[] } = {}): Promise<Outcome> => {
  const world = createWorld(plan, { trace: options.trace });
  const site = createSite(world, enterWorld);
  startClients(world, site.gateways);
  scheduleFaults(world, site);
  world.stats.events = await world.clock.run(plan.endMs);
  return {
    violations: [...world.checker.violations(), ...world.broken],
    stats: world.stats,
    mishaps: world.noise.fired,
    digest: world.checker.digest,
  };
};
