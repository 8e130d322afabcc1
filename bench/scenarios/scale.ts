/** The slot burst over 1, 2, … enclaves: what is gained and what it costs. On few cores more enclaves cannot be faster. */

import { ENCLAVES_MAX } from "#protocol/limits.ts";
import { forEachStore, KEYS, measureWorkload } from "../measure-workload.ts";
import type { Run } from "../result.ts";
import type { Scenario } from "../scenario.ts";

/** The scenario. */
export const scale: Scenario = {
  summary: `slot-burst with 1..n enclaves (--enclaves, default here ${ENCLAVES_MAX})`,
  description: `slot-burst with 1, 2, … --enclaves enclaves (default here ${ENCLAVES_MAX}), cores shared out between them unless --threads says
otherwise. Each key has a home enclave, so more enclaves mean smaller batches in each.`,
  defaults: { enclaves: ENCLAVES_MAX },
  run: async (options, modules) => {
    const runs = await forEachStore(options, modules, async (store, told) => {
      const steps: Run[] = [];
      for (let enclaves = 1; enclaves <= options.enclaves; enclaves += 1) {
        const label = `${store}, ${enclaves} ${enclaves === 1 ? "enclave" : "enclaves"}`;
        steps.push(
          await measureWorkload({ label, workload: "slot-burst", store, keys: KEYS, enclaves }, options, told),
        );
      }
      return steps;
    });
    return runs.flat();
  },
};
