/** Whether memory stays flat: the slot burst for minutes, with a look at every process's resident memory in between. */

import { readResidentBytes } from "../measure/cpu.ts";
import { type MemoryPoint, memoryGrowth } from "../measure/memory.ts";
import type { PartPids } from "../measure/parts.ts";
import { forEachStore, KEYS, measureRig, openRig } from "../measure-workload.ts";
import type { Scenario } from "../scenario.ts";

/** Of one load window; memory is read after each. */
const WINDOW_SECONDS = 10;
const BYTES_PER_MIB = 2 ** 20;

/** The scenario. */
export const soak: Scenario = {
  summary: "slot-burst for --minutes (default 10): resident memory must stay flat",
  description: `slot-burst for --minutes, with a look at the resident memory of gateway, enclaves and pool-manager every ${WINDOW_SECONDS} seconds of
load. Growth compares the medians of the first and the last third after warm-up, a tenth of the time.`,
  run: (options, modules) =>
    forEachStore(options, modules, async (store, told) => {
      const rig = await openRig({ label: store, workload: "slot-burst", store, keys: KEYS }, options, told);
      try {
        const memory: MemoryPoint[] = [];
        const startedMs = performance.now();
        const onWindow = (): void => {
          memory.push({ seconds: (performance.now() - startedMs) / 1_000, ...residentMiB(rig.bed.pids()) });
        };
        const seconds = options.minutes * 60;
        const run = await measureRig(
          rig,
          { ...options, seconds },
          { ...told, windowSeconds: WINDOW_SECONDS, onWindow },
        );
        return { ...run, memory, memoryGrowth: memoryGrowth(memory) };
      } finally {
        await rig.close();
      }
    }),
};

const residentMiB = (pids: PartPids): Omit<MemoryPoint, "seconds"> => {
  const mebibytes = (list: readonly number[] = []): number =>
    list.reduce((sum, pid) => sum + readResidentBytes(pid) / BYTES_PER_MIB, 0);
  return {
    gateway: mebibytes(pids.gateway),
    enclaves: mebibytes(pids.enclaves),
    poolManager: mebibytes(pids.poolManager),
  };
};
