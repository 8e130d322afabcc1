/** Recovery from a suspect store, as the operator runs it: the production rule, on all that living enclaves know. */

import { lastSignableEpoch, recoveredState } from "#enclave/slashing/recovery.ts";
import { CLOCK_BOUND_EPOCHS, EPOCH_MS, SLOTS_PER_EPOCH } from "./duty.ts";
import type { Site } from "./parent.ts";
import type { Fault } from "./plan.ts";
import { describeState, type World } from "./world.ts";

/**
 * Raises every record before anything is signed. Enclaves that suspected the store are launched anew; of the others some
 * live on, with a floor from before.
 */
export const recoverStore = (world: World, site: Site, fault: Fault): void => {
  const epoch = lastSignableEpoch(Math.floor(world.clock.nowMs / EPOCH_MS), CLOCK_BOUND_EPOCHS);
  const enclaves = site.enclaves();
  for (const key of world.keys) {
    const known = [
      world.stateOf(key, world.store.get(key.name)),
      ...enclaves.map(({ enclave }) => enclave.floors.get(key.name)),
    ].filter((state) => state !== undefined);
    const next = recoveredState(known, { epoch, slotsPerEpoch: SLOTS_PER_EPOCH });
    world.tell(() => `recovery: ${key.name} := ${describeState(next)}`);
    world.store.put(key.name, world.codec.encode(key.pubkey, next));
  }
  for (const { enclave, parent } of enclaves) {
    if (enclave.problem !== undefined || fault.whom < 0.5) parent.crash(enclave, 50);
  }
};
