/** All duties of mainnet slots, in the proportions that `load/mix.ts` derives from the consensus specs; saturated. */

import { forEachStore, KEYS, measureWorkload } from "../measure-workload.ts";
import type { Scenario } from "../scenario.ts";

/** The scenario. */
export const slotMix: Scenario = {
  summary: "all duties of a mainnet slot in their proportions; saturated",
  description: `The --keys keys (default ${KEYS}) are a slot's attesters: a fleet of 32 times as many validators. With 2,000, a slot has
2,000 selection proofs (one root), 2,000 attestations (one root), 66 aggregates (each its own root), 33 sync committee
messages (one root), 33 sync selection proofs (four roots), 4 contributions, and one block and one randao reveal in 16
slots: 4,138 requests. bench/load/mix.ts derives it.`,
  run: (options, modules) =>
    forEachStore(options, modules, (store, told) =>
      measureWorkload({ label: store, workload: "slot-mix", store, keys: KEYS }, options, told),
    ),
};
