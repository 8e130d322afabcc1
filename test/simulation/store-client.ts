/** One enclave's way to the store: a `SlashingStore` over messages that are late, lost, doubled or cut off. */

import { SignerError } from "#protocol/errors.ts";
import type { CompareAndSetResult, SlashingStore } from "#protocol/slashing/store.ts";
import { type ArrivedWrite, writeOnFork } from "./store.ts";
import { describeState, type SimulatedKey, type World } from "./world.ts";

/** The enclave behind a store client. */
export interface StoreClientOwner {
  readonly name: string;
  readonly alive: boolean;
  /** Why it suspects the store. */
  readonly problem: string | undefined;
  /** Until then nothing passes between this enclave and the store. */
  readonly storeCutUntilMs: number;
  /** Until then it is connected to a primary that was replaced. */
  readonly onForkUntilMs: number;
  /** It was told that this record stands, and whether it is durable. */
  heard(key: SimulatedKey, record: Uint8Array, acknowledged: boolean): void;
}

/** As long as the Redis adapter waits for an answer. */
const DEADLINE_MS = 3_000;
/** Longest delay of a message: it arrives after everybody gave up. */
const LATE_MS_MAX = 6_000;
const DISK_MS = 0.3;
const SLOW_DISK_MS_MAX = 800;

/** The store as the enclave `owner` reaches it. */
export const createStoreClient = (world: World, owner: StoreClientOwner): SlashingStore => {
  const { clock, noise } = world;
  const isCut = (): boolean => clock.nowMs < owner.storeCutUntilMs;
  const delay = (place: string, late: boolean): number =>
    late ? noise.longMs(place, LATE_MS_MAX) : noise.delayMs(place);

  /**
   * Starts one call: it settles by `settle`, by the deadline or by a cut, whichever is first, and never after a crash.
   * `settle` says whether the enclave has heard it.
   */
  const begin = <Result>(resolve: (result: Result) => void, unknown: Result): ((result: Result) => boolean) => {
    let settled = false;
    const settle = (result: Result): boolean => {
      if (settled) return false;
      settled = true;
      clock.cancel(timer);
      world.storeCalls.delete(cut);
      if (owner.alive) resolve(result);
      return owner.alive;
    };
    const cut = (): void => void settle(unknown);
    const timer = clock.after(DEADLINE_MS, cut);
    world.storeCalls.add(cut);
    return settle;
  };

  const answer = (place: string, deliver: () => void): void => {
    if (isCut() || noise.happens("store answer lost", place)) return;
    const late = noise.happens("store answer delayed", place);
    clock.after(delay(`${place} answer`, late), () => {
      if (!isCut()) deliver();
    });
  };

  /** A write reaches whichever primary this enclave is connected to. */
  const arrive = (call: ArrivedWrite, sentInTerm: number): void => {
    if (isCut() || sentInTerm < world.severedTerm) return;
    if (world.fork !== undefined && clock.nowMs < owner.onForkUntilMs) writeOnFork(world.fork, call);
    else world.store.write(call);
  };

  const compareAndSet = (key: SimulatedKey, expected: Uint8Array | undefined, next: Uint8Array) =>
    new Promise<CompareAndSetResult>((resolve) => {
      if (!owner.alive) return; // nothing happens after a crash
      const settle = begin<CompareAndSetResult>(resolve, { kind: "unknown", detail: "no answer" });
      const holders = world.lost.get(key.name)?.holders;
      // Class 2: an enclave that holds the floor is asked first, so the others' turn never comes.
      if (holders !== undefined && !holders.has(owner.name)) {
        clock.after(1, () => settle({ kind: "unknown", detail: "the store is not reached" }));
        return;
      }
      const place = `${owner.name} writes ${key.name}`;
      const diskMs = DISK_MS + (noise.happens("store slow to disk", place) ? noise.longMs(place, SLOW_DISK_MS_MAX) : 0);
      const reply = (result: CompareAndSetResult): void => {
        world.tell(() => `store → ${owner.name}: ${describeResult(world, key, result)} (${key.name})`);
        answer(place, () => {
          if (!settle(result)) return;
          if (result.kind === "stored") owner.heard(key, next, true);
          if (result.kind === "conflict" && result.actual) owner.heard(key, result.actual, false);
          if (result.kind === "conflict") expectSuspicion(world, owner, key);
        });
      };
      const call: ArrivedWrite = { keyName: key.name, expected, next, diskMs, reply };
      world.tell(() => `${owner.name} → store: ${key.name} := ${describeState(world.stateOf(key, next))}`);
      const { term } = world.store;
      if (!noise.happens("store request lost", place)) {
        const late = noise.happens("store request delayed", place);
        clock.after(delay(`${place} request`, late), () => arrive(call, term));
      }
      if (noise.happens("store request duplicated", place)) {
        clock.after(noise.longMs(`${place} duplicate`, LATE_MS_MAX), () => arrive({ ...call, reply: nobody }, term));
      }
    });

  const getMany = (keys: readonly Uint8Array[]): Promise<(Uint8Array | undefined)[]> =>
    new Promise((resolve, reject) => {
      if (!owner.alive) return;
      const place = `${owner.name} reads`;
      const settle = begin<(Uint8Array | undefined)[] | undefined>((values) => {
        if (values !== undefined) resolve(values);
        else reject(new SignerError("unavailable", "the store does not answer"));
      }, undefined);
      if (noise.happens("store request lost", place)) return;
      clock.after(delay(`${place} request`, noise.happens("store request delayed", place)), () => {
        if (isCut()) return;
        const onFork = clock.nowMs < owner.onForkUntilMs ? world.fork : undefined;
        const values = keys.map((pubkey) => {
          const { name } = world.keyOf(pubkey);
          return onFork === undefined ? world.store.get(name) : onFork.get(name);
        });
        answer(place, () => {
          if (!settle(values)) return;
          for (const [index, record] of values.entries()) {
            if (record !== undefined) owner.heard(world.keyOf(keys[index] as Uint8Array), record, false);
          }
        });
      });
    });

  return {
    getMany,
    compareAndSet: (pubkey, expected, next) =>
      compareAndSet(world.keyOf(pubkey), expected && new Uint8Array(expected), new Uint8Array(next)),
    scan: notPartOfIt,
    marker: notPartOfIt,
    compareAndSetMarker: notPartOfIt,
    durability: async () => ({ ok: true }),
    close: async () => undefined,
  };
};

/** An enclave that holds the floor of a lost record, and was shown what is left of it, must suspect the store. */
const expectSuspicion = (world: World, owner: StoreClientOwner, key: SimulatedKey): void => {
  if (world.lost.get(key.name)?.holders.has(owner.name) !== true) return;
  world.clock.after(0, () => {
    if (owner.alive && owner.problem === undefined) {
      world.broken.push(
        `${owner.name} was shown that a record of ${key.name} was lost, and does not suspect the store`,
      );
    }
  });
};

const nobody = (): void => undefined;

const notPartOfIt = (): never => {
  throw new Error("simulation: this part of the store is not simulated");
};

const describeResult = (world: World, key: SimulatedKey, result: CompareAndSetResult): string => {
  if (result.kind !== "conflict") return result.kind;
  return `conflict, it holds ${result.actual === undefined ? "no record" : describeState(world.stateOf(key, result.actual))}`;
};
