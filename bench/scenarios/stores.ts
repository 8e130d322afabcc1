/** The slot burst over every store, and without any. */

import { StoreRefused } from "../bed.ts";
import { forEachStore, KEYS, measureWorkload, type Subject, threadsOf } from "../measure-workload.ts";
import { type Run, toIdleRun } from "../result.ts";
import type { BenchModules, BenchOptions, Scenario } from "../scenario.ts";
import { STORES, type StoreName } from "../stores.ts";

/** The scenario. */
export const stores: Scenario = {
  summary: "slot-burst over every store: none, sqlite, redis everysec, always, replicated:1",
  description: `slot-burst over all stores unless --store says otherwise. "none" is a burst of selection proofs, which also share
one root and which no slashing rule knows: the store has nothing to do. A store that the product refuses, as Redis
with appendfsync everysec, is reported so.`,
  defaults: { stores: STORES },
  run: async (options, modules) => {
    const none = { label: "none (selection proofs)", workload: "unprotected", store: "sqlite", keys: KEYS } as const;
    const told = { ...modules, status: (text: string) => modules.status(`none: ${text}`) };
    const unprotected = await measureWorkload(none, options, told);
    return [unprotected, ...(await forEachStore(options, modules, (store, own) => overStore(store, options, own)))];
  },
};

const overStore = async (store: StoreName, options: BenchOptions, modules: BenchModules): Promise<Run> => {
  const subject = { label: store, workload: "slot-burst", store, keys: KEYS } as const;
  try {
    return await measureWorkload(subject, options, modules);
  } catch (error) {
    if (!(error instanceof StoreRefused)) throw error;
    modules.status(`refused: ${error.message}`);
    return refusedRun(subject, options, error.message);
  }
};

const refusedRun = (subject: Subject, options: BenchOptions, refused: string): Run => {
  const { enclaves, connections, generator } = options;
  const keys = options.keys ?? subject.keys;
  const load = { ...{ keys, connections, enclaves, generator }, threads: threadsOf(options, enclaves) };
  const shape = {
    ...load,
    workload: subject.workload,
    loop: "closed",
    store: subject.store,
    durability: "too weak",
  } as const;
  return toIdleRun(
    { label: subject.label, engine: "unknown", readyMs: null, profiled: false, load: shape },
    { refused },
  );
};
