/** How long many keys take to be ready: raw ones at the first start, sealed ones at the next. */

import { openBed } from "../bed.ts";
import { forEachStore, threadsOf } from "../measure-workload.ts";
import { type Run, toIdleRun } from "../result.ts";
import type { BenchModules, BenchOptions, Scenario } from "../scenario.ts";
import type { StoreName } from "../stores.ts";

const COUNTS = [10_000, 100_000] as const;

/** The scenario. */
export const startup: Scenario = {
  summary: "10,000 and 100,000 raw keys to ready, then the same keys sealed",
  description: `Time from the start of \`testudo up\` until every enclave is ready and the API lists all keys: at the first start, when
raw keys are opened and sealed, and at the next, when sealed ones are loaded. --keys measures that number alone.`,
  defaults: { stores: ["sqlite"] },
  run: async (options, modules) => {
    const counts = options.keys === undefined ? COUNTS : [options.keys];
    const runs = await forEachStore(options, modules, async (store, told) => {
      const steps: Run[] = [];
      for (const keys of counts) steps.push(await measureStart({ store, keys }, options, told));
      return steps;
    });
    return runs.flat();
  },
};

const measureStart = async (
  { store: name, keys }: { store: StoreName; keys: number },
  options: BenchOptions,
  modules: BenchModules,
): Promise<Run> => {
  const { status } = modules;
  const { enclaves, seed, connections, generator, upArgs } = options;
  const threads = threadsOf(options, enclaves);
  const count = keys.toLocaleString("en");
  status(`${count} raw keys`);
  const bed = await openBed({ store: name, keys, enclaves, threads, seed, args: upArgs }, modules);
  try {
    const { engine, readyMs, store } = bed;
    status(`${count} raw keys: ready after ${(readyMs / 1_000).toFixed(2)} s; now sealed`);
    const restartMs = await bed.restart();
    status(`${count} sealed keys: ready after ${(restartMs / 1_000).toFixed(2)} s`);
    const shape = { workload: "none", loop: "closed", keys, connections, enclaves, threads, generator } as const;
    const load = { ...shape, store: name, durability: store.durability };
    return toIdleRun({ label: `${name}, ${count} keys`, engine, readyMs, profiled: false, load }, { restartMs });
  } finally {
    await bed.close();
  }
};
