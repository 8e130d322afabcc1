/** Carries out the failures of a plan. */

import type { Enclave } from "./enclave.ts";
import type { Gateway, Parent, Site } from "./parent.ts";
import type { Fault, FaultKind } from "./plan.ts";
import { recoverStore } from "./recovery.ts";
import { countOne } from "./stats.ts";
import { covers, type LostKey, type SimulatedKey, type World } from "./world.ts";

/** Has every failure happen at its time. */
export const scheduleFaults = (world: World, site: Site): void => {
  const { clock, plan } = world;
  for (const fault of plan.faults) {
    clock.after(fault.atMs - clock.nowMs, () => {
      if (!FAULTS[fault.kind](world, site, fault)) return;
      countOne(world.stats.faults, fault.kind);
    });
  }
};

/** Does it; false when there is nothing to do it to. */
type Act = (world: World, site: Site, fault: Fault) => boolean;

/** Does something to one enclave. */
const toEnclave =
  (act: (enclave: Enclave, world: World, details: { fault: Fault; parent: Parent }) => void): Act =>
  (world, site, fault) => {
    const all = site.enclaves().filter(({ enclave }) => !isNeeded(world, enclave));
    const hit = all[Math.floor(fault.whom * all.length)];
    if (hit === undefined) return false;
    world.tell(() => `${fault.kind}: ${hit.enclave.name}`);
    act(hit.enclave, world, { fault, parent: hit.parent });
    return true;
  };

/** Class 2 speaks of enclaves that hold the floor of a lost key: they live on. */
const isNeeded = (world: World, enclave: Enclave): boolean =>
  [...world.lost.values()].some(({ holders }) => holders.has(enclave.name));

const FAULTS: Record<FaultKind, Act> = {
  "enclave crash": toEnclave((enclave, _world, { fault, parent }) => parent.crash(enclave, fault.durationMs)),
  "enclave cut off": toEnclave((enclave, { clock }, { fault }) => {
    enclave.cutOffUntilMs = clock.nowMs + fault.durationMs;
  }),
  "enclave replaced": toEnclave((enclave, _world, { parent }) => parent.replace(enclave)),
  "enclave without store": toEnclave((enclave, { clock }, { fault }) => {
    enclave.storeCutUntilMs = clock.nowMs + fault.durationMs;
  }),
  "clock skew": toEnclave((enclave, _world, { fault }) => {
    enclave.clockSkewMs = (fault.extent - 0.5) * 100_000;
  }),
  "store crash": (world, _site, { extent }) => {
    world.tell(() => "the store crashes; what nobody was told is durable may be lost");
    world.store.crash(extent);
    cutConnections(world);
    return true;
  },
  "store failover": (world, site, fault) => {
    if (world.lossCaused) return false; // the replaced primary would still have what was lost
    world.tell(() => "the store fails over; some enclaves still talk to the old primary");
    world.fork = world.store.fork();
    world.store.crash(fault.extent);
    cutConnections(world);
    for (const [index, { enclave }] of site.enclaves().entries()) {
      if ((fault.whom * 7 + index * 0.37) % 1 < 0.5) enclave.onForkUntilMs = world.clock.nowMs + fault.durationMs;
    }
    return true;
  },
  "gateway restart": (_world, site, { whom, durationMs }) => {
    (site.gateways[Math.floor(whom * site.gateways.length)] as Gateway).restart(durationMs);
    return true;
  },
  "parent lost": (world, site, { whom, durationMs }) => {
    const parent = site.parents[Math.floor(whom * site.parents.length)] as Parent;
    if (parent.enclaves.some((enclave) => isNeeded(world, enclave))) return false;
    for (const enclave of [...parent.enclaves]) parent.crash(enclave, durationMs);
    for (const gateway of parent.gateways) gateway.restart(durationMs);
    return true;
  },
  "store rollback": (world, site, fault) => lose(world, site, { fault, act: () => rollback(world, site, fault) }),
  "store record corrupted": (world, site, fault) =>
    lose(world, site, {
      fault,
      act: () => {
        const key = world.keys[Math.floor(fault.whom * world.keys.length)] as SimulatedKey;
        const record = world.store.get(key.name);
        if (record === undefined) return false;
        const corrupted = new Uint8Array(record);
        const at = Math.floor(fault.extent * corrupted.length);
        corrupted[at] = (corrupted[at] ?? 0) ^ 0x10;
        world.store.put(key.name, corrupted);
        world.tell(() => `the record of ${key.name} is corrupted`);
        return true;
      },
    }),
  "store emptied": (world, site, fault) =>
    lose(world, site, {
      fault,
      act: () => {
        for (const key of world.keys) world.store.put(key.name, undefined);
        world.tell(() => "the store loses all records");
        return true;
      },
    }),
};

/** Every waiting call of an enclave ends as unknown. What was sent may still arrive. */
const cutConnections = (world: World): void => {
  for (const cut of [...world.storeCalls]) cut();
};

/** Loses acknowledged writes; then floors, or recovers, as the scenario says. */
const lose = (world: World, site: Site, { fault, act }: { fault: Fault; act: () => boolean }): boolean => {
  const { plan, store } = world;
  if (!act()) return false;
  world.lossCaused = true;
  world.fork = undefined;
  if (plan.scenario !== "class-3") {
    // Nothing that was on its way arrives: whoever asks first is decided after the loss.
    store.crash(0);
    world.severedTerm = store.term;
    cutConnections(world);
  }
  if (plan.scenario === "class-2") return true;
  for (const [index, { enclave, parent }] of site.enclaves().entries()) {
    if ((fault.extent * 13 + index * 0.61) % 1 < 0.6) parent.crash(enclave, Math.min(fault.durationMs, 300));
  }
  if (plan.scenario === "class-3-recovered") recoverStore(world, site, fault);
  return true;
};

/** Goes back as far as the fault says; in class 2 only as far as the floors of living enclaves reach. */
const rollback = (world: World, site: Site, fault: Fault): boolean => {
  const { store, plan } = world;
  let length = Math.floor(store.durableLength * (1 - fault.extent ** 2));
  if (plan.scenario === "class-2") {
    while (
      length < store.durableLength &&
      [...lostKeys(world, site, length)].some(([, lost]) => lost.holders.size === 0)
    ) {
      length += 1;
    }
  }
  if (length >= store.durableLength) return false;
  const lost = lostKeys(world, site, length);
  world.tell(() => `the store goes back by ${store.durableLength - length} durable writes`);
  store.rollback(length);
  if (plan.scenario === "class-2") for (const [name, key] of lost) world.lost.set(name, key);
  return true;
};

/** Keys of which a rollback to `length` loses something acknowledged, and who would know. */
const lostKeys = (world: World, site: Site, length: number): Map<string, LostKey> => {
  const lost = new Map<string, LostKey>();
  for (const key of world.keys) {
    const acknowledged = world.acknowledged.get(key.name);
    const left = world.stateOf(key, world.store.getAfterRollback(key.name, length));
    if (acknowledged === undefined || covers(left, acknowledged)) continue;
    const holders = site.enclaves().filter(({ enclave }) => covers(enclave.floors.get(key.name), acknowledged));
    lost.set(key.name, { acknowledged, holders: new Set(holders.map(({ enclave }) => enclave.name)) });
  }
  return lost;
};
