/**
 * The simulated slashing store: one primary with a log. A write is seen by others at once and is durable later, in
 * order; only then is it acknowledged. A crash keeps some prefix of the log that has everything acknowledged in it. A
 * rollback, a corrupted record or a loss of all breaks that promise.
 */

import { bytesEqual } from "#protocol/bytes.ts";
import type { CompareAndSetResult } from "#protocol/slashing/store.ts";
import type { Clock } from "./clock.ts";

/** A compare-and-set as it arrives. */
export interface ArrivedWrite {
  readonly keyName: string;
  readonly expected: Uint8Array | undefined;
  readonly next: Uint8Array;
  /** Time from the write to its being durable. */
  readonly diskMs: number;
  /** Called at most once; never when the connection was cut first. */
  readonly reply: (result: CompareAndSetResult) => void;
}

interface Entry {
  readonly keyName: string;
  readonly previous: Uint8Array | undefined;
  readonly reply: ((result: CompareAndSetResult) => void) | undefined;
}

/** The store, as the world sees it. */
export interface SimulatedStore {
  get(keyName: string): Uint8Array | undefined;
  /** A durable write behind everyone's back. */
  put(keyName: string, value: Uint8Array | undefined): void;
  write(call: ArrivedWrite): void;
  /** Writes that are durable. */
  readonly durableLength: number;
  /** Number of cuts of all connections: a message that was sent before the last one may be told from later ones. */
  readonly term: number;
  /** Keeps what is durable and this part (0..1) of the rest; nobody who waits is answered. */
  crash(keptPart: number): void;
  /** Goes back to the first `length` writes, durable or not. */
  rollback(length: number): void;
  /** What {@link get} would say after such a rollback. */
  getAfterRollback(keyName: string, length: number): Uint8Array | undefined;
  /** The present registers, on their own from now on: a primary that does not know that it was replaced. */
  fork(): Map<string, Uint8Array>;
}

/** A store with these registers. */
export const createSimulatedStore = (first: ReadonlyMap<string, Uint8Array>, clock: Clock): SimulatedStore => {
  const values = new Map(first);
  const log: Entry[] = [];
  let durableLength = 0;
  let durableAtMs = 0;
  let term = 0;

  const undoTo = (length: number): void => {
    while (log.length > length) {
      const entry = log.pop() as Entry;
      assign(values, entry.keyName, entry.previous);
    }
    durableLength = Math.min(durableLength, length);
  };

  const write = (call: ArrivedWrite): void => {
    const actual = values.get(call.keyName);
    if (!isSame(actual, call.expected)) {
      call.reply({ kind: "conflict", actual });
      return;
    }
    const entry: Entry = { keyName: call.keyName, previous: actual, reply: call.reply };
    log.push(entry);
    const index = log.length - 1;
    values.set(call.keyName, call.next);
    durableAtMs = Math.max(durableAtMs, clock.nowMs + call.diskMs);
    clock.after(durableAtMs - clock.nowMs, () => {
      if (log[index] !== entry) return;
      durableLength = Math.max(durableLength, index + 1);
      call.reply({ kind: "stored" });
    });
  };

  return {
    get: (keyName) => values.get(keyName),
    put: (keyName, value) => {
      log.push({ keyName, previous: values.get(keyName), reply: undefined });
      assign(values, keyName, value);
      durableLength = log.length;
    },
    write,
    get durableLength() {
      return durableLength;
    },
    get term() {
      return term;
    },
    crash: (keptPart) => {
      undoTo(durableLength + Math.floor(keptPart * (log.length - durableLength + 1)));
      durableLength = log.length;
      // Entries that stay are durable, and their connections are gone: new objects, so that nobody is answered.
      for (const [index, entry] of log.entries()) log[index] = { ...entry };
      term += 1;
    },
    rollback: (length) => {
      undoTo(length);
      for (const [index, entry] of log.entries()) log[index] = { ...entry };
      durableLength = log.length;
      term += 1;
    },
    getAfterRollback: (keyName, length) => {
      const undone = log.slice(length).find((entry) => entry.keyName === keyName);
      return undone === undefined ? values.get(keyName) : undone.previous;
    },
    fork: () => new Map(values),
  };
};

/** A write on a primary that was replaced: it compares, and can never acknowledge. */
export const writeOnFork = (fork: Map<string, Uint8Array>, call: Omit<ArrivedWrite, "diskMs">): void => {
  const actual = fork.get(call.keyName);
  if (isSame(actual, call.expected)) fork.set(call.keyName, call.next);
  else call.reply({ kind: "conflict", actual });
};

const isSame = (a: Uint8Array | undefined, b: Uint8Array | undefined): boolean =>
  a === undefined || b === undefined ? a === b : bytesEqual(a, b);

const assign = (values: Map<string, Uint8Array>, keyName: string, value: Uint8Array | undefined): void => {
  if (value === undefined) values.delete(keyName);
  else values.set(keyName, value);
};
