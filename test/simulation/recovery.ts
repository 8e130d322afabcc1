/** Recovery from a suspect store, as the operator runs it: the production rule, on all that living enclaves know. */

import { lastEpochToSign } from "#enclave/policy.ts";
import { recoveredState } from "#enclave/slashing/recovery.ts";
import { CLOCK_BOUND, SLOTS_PER_EPOCH } from "./duty.ts";
import type { Site } from "./parent.ts";
import type { Fault } from "./plan.ts";
import { describeState, type World } from "./world.ts";

/**
 * Raises every record before anything is signed. Then some enclaves are launched anew, and the others go on with what
 * they know and read all records again.
 */
export const recoverStore = (world: World, site: Site, fault: Fault): void => {
  const epoch = lastEpochToSign({ ...CLOCK_BOUND, wallClock: () => world.clock.nowMs });
  if (epoch === undefined) throw new Error("simulation: there is a clock bound");
  const enclaves = site.enclaves();
  for (const key of world.keys) {
    const known = [
      world.stateOf(key, world.store.get(key.name)),
      ...enclaves.map(({ enclave }) => enclave.seen(key)),
    ].filter((state) => state !== undefined);
    const next = recoveredState(known, { epoch, slotsPerEpoch: SLOTS_PER_EPOCH });
    world.tell(() => `recovery: ${key.name} := ${describeState(next)}`);
    world.store.put(key.name, world.codec.encode(key.pubkey, next));
  }
  for (const { enclave, parent } of enclaves) {
    if (fault.whom < 0.4) parent.crash(enclave, 50);
    else enclave.trustAgain().catch(() => parent.crash(enclave, 50));
  }
};
