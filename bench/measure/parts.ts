/** CPU of the parts of a running Testudo, its store and the load generator. */

import { readThreadNanos, subtractNanos, THREAD_KINDS, type ThreadKind, type ThreadNanos } from "./cpu.ts";

/** Whose CPU is told apart. `launcher` is `testudo up` itself, which only waits. */
export const PARTS = ["gateway", "enclaves", "poolManager", "redis", "launcher", "generator"] as const;
/** One of {@link PARTS}. */
export type Part = (typeof PARTS)[number];

/** Process ids of each part. */
export type PartPids = Readonly<Partial<Record<Part, readonly number[]>>>;

/** CPU nanoseconds of each part, by kind of thread. */
export type PartNanos = Readonly<Record<Part, ThreadNanos>>;

const NONE: ThreadNanos = { main: 0, workers: 0, helpers: 0 };

/** Reads all parts, one after the other, within a millisecond or two. */
export const readParts = (pids: PartPids): PartNanos =>
  forEachPart((part) => (pids[part] ?? []).map(readThreadNanos).reduce(addNanos, NONE));

/** What came on top between two readings. */
export const subtractParts = (after: PartNanos, before: PartNanos): PartNanos =>
  forEachPart((part) => subtractNanos(after[part], before[part]));

/** Sum of several windows. */
export const addParts = (one: PartNanos, other: PartNanos): PartNanos =>
  forEachPart((part) => addNanos(one[part], other[part]));

/** Nothing yet. */
export const noParts = (): PartNanos => forEachPart(() => NONE);

const addNanos = (one: ThreadNanos, other: ThreadNanos): ThreadNanos =>
  Object.fromEntries(THREAD_KINDS.map((kind) => [kind, one[kind] + other[kind]])) as Record<ThreadKind, number>;

const forEachPart = (read: (part: Part) => ThreadNanos): PartNanos =>
  Object.fromEntries(PARTS.map((part) => [part, read(part)])) as Record<Part, ThreadNanos>;
