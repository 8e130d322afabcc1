/** A parent instance: its enclaves, launched again when they die, and its gateways with the real pool. */

import { createPool } from "#pool";
import { SignerError } from "#protocol/errors.ts";
import type { Follower } from "../../pool-manager/follower.ts";
import type { MemberView, Pool } from "../../pool-manager/pool-port.ts";
import { openStream } from "./connections.ts";
import { type Enclave, launchEnclave } from "./enclave.ts";
import { createRandom } from "./random.ts";
import type { PresentWorld } from "./stand-ins.ts";
import type { World } from "./world.ts";

/** One gateway process. */
export interface Gateway {
  readonly name: string;
  readonly pool: Pool;
  /** Ends it; another takes its place after a while. */
  restart(afterMs: number): void;
}

/** One parent instance. */
export interface Parent {
  /** Those alive. */
  readonly enclaves: readonly Enclave[];
  readonly gateways: readonly Gateway[];
  crash(enclave: Enclave, relaunchAfterMs: number): void;
  /** Launches another enclave and retires this one when the other is ready. */
  replace(enclave: Enclave): void;
}

/** The parents of a world, and the way there for the pool's files. */
export interface Site {
  readonly parents: readonly Parent[];
  readonly gateways: readonly Gateway[];
  readonly enclaves: () => { readonly enclave: Enclave; readonly parent: Parent }[];
  readonly present: PresentWorld;
}

/** First CID, as in `protocol/limits.ts`. */
const CID_FIRST = 16;
/** A drained enclave is ended after this. */
const DRAIN_MS = 1_000;
/** A change of the members reaches a gateway within some of this. */
const PUBLISH_MS_MAX = 100;
/**
 * The other enclaves see a suspicion within this (the marker is looked at once a second); an operator who knows the store
 * to be sound restarts the enclave that suspects it.
 */
const SUSPICION_MS = 1_200;

/** Members of one parent and who follows them. */
interface MemberList {
  readonly view: () => readonly MemberView[];
  readonly listeners: Set<() => void>;
}

/** Starts everything. `enter` makes the world the present one before the pools are built. */
export const createSite = (world: World, enter: (present: PresentWorld) => void): Site => {
  const lists = new Map<string, MemberList>();
  const paths = new Map<string, Enclave>();
  const present: PresentWorld = {
    clock: world.clock,
    dial: async (path) => {
      await world.clock.sleep(world.noise.delayMs(`dial ${path}`));
      const enclave = paths.get(path);
      if (!enclave?.alive || world.clock.nowMs < enclave.cutOffUntilMs) {
        throw new SignerError("unavailable", "nobody listens there");
      }
      return openStream(world, enclave, "gateway");
    },
    follower: (socketPath) => follow(lists.get(socketPath) as MemberList),
  };
  enter(present);
  const parents = world.plan.parents.map((shape, index) => createParent(world, { ...shape, index, lists, paths }));
  return {
    parents,
    gateways: parents.flatMap((parent) => parent.gateways),
    enclaves: () => parents.flatMap((parent) => parent.enclaves.map((enclave) => ({ enclave, parent }))),
    present,
  };
};

interface ParentOptions {
  readonly index: number;
  readonly enclaves: number;
  readonly gateways: number;
  readonly lists: Map<string, MemberList>;
  readonly paths: Map<string, Enclave>;
}

const createParent = (world: World, options: ParentOptions): Parent => {
  const { clock, noise } = world;
  const name = `p${options.index}`;
  let enclaves: Enclave[] = [];
  let launches = 0;
  let published: readonly MemberView[] = [];
  const list: MemberList = { view: () => published, listeners: new Set() };
  options.lists.set(name, list);

  const publish = (): void => {
    clock.after(noise.longMs(`${name} publishes`, PUBLISH_MS_MAX), () => {
      published = enclaves.map(({ cid, path, incarnation, state }) => ({ cid, path, incarnation, state }));
      for (const listener of list.listeners) listener();
    });
  };

  const launch = (cid: number, onReady?: () => void): void => {
    launches += 1;
    const path = `${name}/${cid}.${launches}`;
    const enclave = launchEnclave(
      world,
      { cid, path, incarnation: launches },
      {
        onReady: () => {
          world.tell(() => `${enclave.name} is ready`);
          publish();
          onReady?.();
        },
        onSuspect: (suspect) => {
          clock.after(SUSPICION_MS, () => {
            if (world.storeIsSound()) parent.crash(suspect, 100);
            else world.suspicion ??= suspect.problem;
          });
        },
      },
    );
    enclaves.push(enclave);
    options.paths.set(path, enclave);
    publish();
  };

  const parent: Parent = {
    get enclaves() {
      return enclaves;
    },
    gateways: Array.from({ length: options.gateways }, (_, index) => createGateway(world, name, index)),
    crash: (enclave, relaunchAfterMs) => {
      if (!enclave.alive) return;
      world.tell(() => `${enclave.name} crashes`);
      enclave.crash();
      enclaves = enclaves.filter((other) => other !== enclave);
      publish();
      clock.after(relaunchAfterMs, () => launch(enclave.cid));
    },
    replace: (enclave) => {
      launch(CID_FIRST + launches, () => {
        if (!enclave.alive) return;
        enclave.state = "draining";
        publish();
        clock.after(DRAIN_MS, () => {
          enclave.crash();
          enclaves = enclaves.filter((other) => other !== enclave);
          publish();
        });
      });
    },
  };
  for (let index = 0; index < options.enclaves; index += 1) launch(CID_FIRST + index);
  return parent;
};

const createGateway = (world: World, parentName: string, index: number): Gateway => {
  const { clock } = world;
  const random = createRandom(world.plan.seed + index);
  const open = (): Pool =>
    createPool({ managerSocketPath: parentName }, { now: () => clock.nowMs, random: () => random.next() });
  let pool = open();
  const name = `gateway ${parentName}/${index}`;
  return {
    name,
    get pool() {
      return pool;
    },
    restart: (afterMs) => {
      world.tell(() => `${name} restarts`);
      void pool.close();
      clock.after(afterMs, () => {
        pool = open();
      });
    },
  };
};

const follow = (list: MemberList): Follower => {
  let listener: (() => void) | undefined;
  const stop = (): void => {
    if (listener !== undefined) list.listeners.delete(listener);
  };
  return {
    view: () => ({ connected: true, members: list.view(), publicKeys: undefined, keyErrors: 0 }),
    onChange: (onChange) => {
      listener = onChange;
      list.listeners.add(onChange);
      // A gateway that starts later gets the list with its subscription.
      queueMicrotask(onChange);
      return stop;
    },
    reload: async () => "running",
    reloadStatus: async () => ({ status: "idle" }),
    close: stop,
  };
};
