/**
 * A slashing store in memory whose failures a test can script. Every effect is one synchronous step, so the store is
 * linearizable unless a script says otherwise; what the caller hears, and when, is the script's.
 */

import { bytesEqual, toHex } from "#protocol/bytes.ts";
import type { CompareAndSetResult, Durability, SlashingStore } from "#protocol/slashing/store.ts";

/** How one compare-and-set goes. Nothing said: it takes effect at once and the answer is true. */
export interface Script {
  /** The operation takes effect after this. */
  readonly before?: Promise<unknown>;
  /** The answer leaves after this. */
  readonly after?: Promise<unknown>;
  /**
   * - `never`: no effect.
   * - `late`: takes effect when `before` has passed, but the answer does not wait for that. Only with a scripted answer.
   * - `blind`: writes without comparing (a broken store).
   * - `undone`: others see the write, but a crash takes it back while the answer waits for `after`, unless something
   *   was written there since. Only with a scripted answer.
   */
  readonly effect?: "never" | "late" | "blind" | "undone";
  /** What the caller hears instead of the truth. */
  readonly answer?: CompareAndSetResult;
}

/** A compare-and-set that arrived. */
export interface StoreCall {
  readonly keyHex: string;
  readonly expected: Uint8Array | undefined;
  readonly next: Uint8Array;
}

/** The store with its strings attached. */
export interface MemoryStore extends SlashingStore {
  /** Registers by key in hex. */
  readonly values: Map<string, Uint8Array>;
  markerBytes: Uint8Array | undefined;
  durable: Durability;
  /** Calls of `compareAndSet` in order of arrival. */
  readonly calls: StoreCall[];
  /** Keys asked for by `getMany`, one entry a call. */
  readonly reads: string[][];
  /** Scripts of the next calls, in order; when empty, `script` decides. */
  readonly scripts: Script[];
  script: (call: StoreCall) => Script;
  /** Passes before a read of registers takes effect. */
  readGate: () => Promise<unknown>;
  /** The register's bytes. */
  get(key: Uint8Array): Uint8Array | undefined;
  /** Changes a register behind everyone's back. */
  put(key: Uint8Array, value: Uint8Array | undefined): void;
}

/** The answer of a store that was not reached in time. */
export const UNKNOWN: CompareAndSetResult = { kind: "unknown", detail: "the test says so" };

/** A copy, always: `Buffer.slice` would be a view. */
const copyOf = (bytes: Uint8Array | undefined): Uint8Array | undefined => bytes && new Uint8Array(bytes);

/** An empty store. */
export const createMemoryStore = (): MemoryStore => {
  const values = new Map<string, Uint8Array>();
  /** Grows with every write: what was written after is durable only with what was there before. */
  let version = 0;

  const swap = (keyHex: string, call: Omit<StoreCall, "keyHex">): CompareAndSetResult => {
    const actual = values.get(keyHex);
    const { expected, next } = call;
    const same = actual === undefined || expected === undefined ? actual === expected : bytesEqual(actual, expected);
    if (!same) return { kind: "conflict", actual: copyOf(actual) };
    version += 1;
    values.set(keyHex, new Uint8Array(next));
    return { kind: "stored" };
  };

  /** Writes, and gives back how a crash undoes it. */
  const swapForNow = (call: StoreCall): (() => void) => {
    const previous = values.get(call.keyHex);
    if (swap(call.keyHex, call).kind !== "stored") return () => undefined;
    const written = version;
    return () => {
      if (version !== written) return;
      if (previous === undefined) values.delete(call.keyHex);
      else values.set(call.keyHex, previous);
    };
  };

  const run = async (call: StoreCall, { before, after, effect, answer }: Script): Promise<CompareAndSetResult> => {
    const truth = async (): Promise<CompareAndSetResult> => {
      if (before !== undefined) await before;
      if (effect === "blind") values.set(call.keyHex, new Uint8Array(call.next));
      return effect === "blind" ? { kind: "stored" } : swap(call.keyHex, call);
    };
    if (effect === "undone") {
      await before;
      const undo = swapForNow(call);
      await after;
      undo();
      return answer ?? UNKNOWN;
    }
    const result = effect === "never" || effect === "late" ? undefined : await truth();
    if (effect === "late") void truth();
    if (after !== undefined) await after;
    return answer ?? result ?? UNKNOWN;
  };

  const store: MemoryStore = {
    values,
    markerBytes: undefined,
    durable: { ok: true },
    calls: [],
    reads: [],
    scripts: [],
    script: () => ({}),
    readGate: () => Promise.resolve(),
    get: (key) => values.get(toHex(key)),
    put: (key, value) => {
      if (value === undefined) values.delete(toHex(key));
      else values.set(toHex(key), new Uint8Array(value));
    },
    getMany: async (keys) => {
      store.reads.push(keys.map(toHex));
      await store.readGate();
      return keys.map((key) => copyOf(values.get(toHex(key))));
    },
    compareAndSet: async (key, expected, next) => {
      const call = { keyHex: toHex(key), expected: copyOf(expected), next: new Uint8Array(next) };
      store.calls.push(call);
      return run(call, store.scripts.shift() ?? store.script(call));
    },
    scan: async function* () {
      for (const [keyHex, value] of values)
        yield { key: Buffer.from(keyHex.slice(2), "hex"), value: new Uint8Array(value) };
    },
    marker: async () => copyOf(store.markerBytes),
    compareAndSetMarker: async (expected, next) => {
      const actual = store.markerBytes;
      const same = actual === undefined || expected === undefined ? actual === expected : bytesEqual(actual, expected);
      if (!same) return { kind: "conflict", actual: copyOf(actual) };
      store.markerBytes = new Uint8Array(next);
      return { kind: "stored" };
    },
    durability: async () => store.durable,
    close: async () => undefined,
  };
  return store;
};
