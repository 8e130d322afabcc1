/**
 * A slot's attestations, one slot after the other without pause: all of a slot share one signing root (EIP-7549), every
 * key signs once, then comes a slot of the next epoch. Each connection has one request in flight, all the time.
 */

import { forEachStore, KEYS, measureWorkload } from "../measure-workload.ts";
import type { Scenario } from "../scenario.ts";

/** The scenario. */
export const slotBurst: Scenario = {
  summary: "one attestation root a slot, each key once, then the next slot; saturated",
  description: `All attestations of a slot have one signing root since Electra. Each of --keys keys (default ${KEYS}) signs it
once, over --connections connections without a pause, then comes a slot of the next epoch.
--generator autocannon measures the same with autocannon, which takes several times the CPU of our own driver.`,
  run: (options, modules) =>
    forEachStore(options, modules, (store, told) =>
      measureWorkload({ label: store, workload: "slot-burst", store, keys: KEYS }, options, told),
    ),
};
