/** Attestations that all differ: nothing can be shared between two requests, no hash, no parse, no root; saturated. */

import { forEachStore, KEYS, measureWorkload } from "../measure-workload.ts";
import type { Scenario } from "../scenario.ts";

/** The scenario. */
export const distinct: Scenario = {
  summary: "attestations that all differ, under slashing protection; saturated",
  description: `Every request votes for a block of its own, so that each has its own body and signing root; each key votes once in an
epoch, as in slot-burst. What a server gains from shared roots it does not gain here.`,
  run: (options, modules) =>
    forEachStore(options, modules, (store, told) =>
      measureWorkload({ label: store, workload: "distinct", store, keys: KEYS }, options, told),
    ),
};
