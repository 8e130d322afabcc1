/**
 * The signing engine: threads that pull batches. A lone request is signed at once; while every thread is busy, work
 * collects and leaves as one batch, so that the cost of crossing to a thread (44–59 µs alone, about 10 µs a signature
 * with 16) is shared, and signatures over one root share its hash. What goes first is the schedule's to say.
 */

import { Piscina } from "piscina";
import { ROOT_BYTES, SIGNATURE_BYTES, toByteString } from "#protocol/bytes.ts";
import { SignerError } from "#protocol/errors.ts";
import type { DutyClass } from "#protocol/signing/types.ts";
import type { SignerBackend } from "./backend.ts";
import { createCosts, type RootWarmth } from "./costs.ts";
import { type Batch, createSchedule } from "./schedule.ts";
import type { SignedBatch, ThreadBatch } from "./thread.ts";

/** Makes signatures. */
export interface Engine {
  /**
   * BLS signature (96 bytes, compressed) under the secret in `slot`. The caller holds the slot until this settles.
   * @throws SignerError `overloaded` when the queue is full of work as urgent, or was and more urgent work came;
   * `deadline_exceeded` when nobody waits any more, `unavailable` when the engine was closed, `internal` when the slot
   * holds no key
   */
  sign(work: SignWork): Promise<Uint8Array>;
  /** Fails what waits, lets the batches under way end (5 ms each), ends the threads. */
  close(): Promise<void>;
}

/** One signature to make. */
export interface SignWork {
  readonly slot: number;
  /** 32 bytes. */
  readonly root: Uint8Array;
  readonly dutyClass: DutyClass;
  /** Time after which the work is dropped instead of begun, in ms of the engine's clock; undefined: never. */
  readonly deadlineMs?: number;
}

/** Signatures that may wait: about 3 s of work of one thread without the native signer. */
const QUEUE_MAX = 8192;
/** Roots of which the engine remembers how warm they are: as many as the native signer keeps hashes. */
const ROOTS_MAX = 64;

/** What the engine signs with. */
export interface EngineOptions {
  readonly threads: number;
  readonly backend: Pick<SignerBackend, "kind" | "threadData">;
}

/** Starts signing threads. `now` is monotonic, in ms. */
export const createEngine = ({ threads, backend }: EngineOptions, { now }: { now: () => number }): Engine => {
  const pool = new Piscina<ThreadBatch, SignedBatch>({
    filename: new URL("./thread.ts", import.meta.url).href,
    name: "signBatch",
    minThreads: threads,
    maxThreads: threads,
    // "sync" would never let a thread reach its event loop, where the memory of blst's objects is given back.
    atomics: "async",
    workerData: backend.threadData,
  });
  const costs = createCosts({ native: backend.kind === "native" });
  const warmth = createMemory();
  const schedule = createSchedule({
    costs,
    warmthOf: warmth.of,
    now,
    onExpired: (job) => job.reject(new SignerError("deadline_exceeded", "no time left to sign")),
  });
  const batches = new Set<Promise<void>>();
  let closed = false;
  let isPullDue = false;

  const pull = (): void => {
    while (batches.size < threads) {
      // Shared out between the threads: one long batch and an idle thread would be the slower way.
      const taken = schedule.take(Math.ceil(schedule.size / (threads - batches.size)));
      if (taken === undefined) return;
      const batch = run(taken).finally(() => {
        batches.delete(batch);
        pull();
      });
      batches.add(batch);
    }
  };

  /** After this turn's other requests have come in: no timer, so a lone request does not wait. */
  const pullSoon = (): void => {
    if (isPullDue || batches.size === threads) return; // a thread that ends its batch pulls
    isPullDue = true;
    setImmediate(() => {
      isPullDue = false;
      pull();
    });
  };

  /** A storm of other duties must not refuse a block: when the queue is full, something less urgent makes room. */
  const hasRoomFor = (dutyClass: DutyClass): boolean => {
    if (schedule.size < QUEUE_MAX) return true;
    const givenUp = schedule.giveUpFor(dutyClass);
    givenUp?.reject(new SignerError("overloaded", "too many signatures wait, and a more urgent one came"));
    return givenUp !== undefined;
  };

  const run = async (batch: Batch): Promise<void> => {
    try {
      const signed = await pool.run(toThreadBatch(batch));
      for (const [index, group] of batch.groups.entries()) {
        warmth.keep(toByteString(group.root), signed.warmth[index] as RootWarmth);
      }
      costs.learn(batch.micros, signed.micros);
      deliver(batch, signed.signatures);
    } catch (error) {
      const failure = new SignerError("internal", "a signing thread failed", { cause: error });
      for (const { jobs } of batch.groups) for (const job of jobs) job.reject(failure);
    }
  };

  return {
    sign: ({ slot, root, dutyClass, deadlineMs = Infinity }) =>
      new Promise((resolve, reject) => {
        if (closed) return reject(new SignerError("unavailable", "the engine is closed"));
        if (root.length !== ROOT_BYTES) return reject(new SignerError("internal", "root: expected 32 bytes"));
        if (!hasRoomFor(dutyClass)) return reject(new SignerError("overloaded", "too many signatures wait"));
        schedule.add({ slot, root, dutyClass, deadlineMs, resolve, reject });
        pullSoon();
      }),
    close: async () => {
      closed = true;
      const failure = new SignerError("unavailable", "the engine is closed");
      for (const job of schedule.drain()) job.reject(failure);
      // Piscina throws, uncaught, when a thread answers after `destroy`.
      await Promise.all(batches);
      await pool.destroy();
    },
  };
};

const toThreadBatch = ({ groups, size }: Batch): ThreadBatch => {
  const roots = new Uint8Array(groups.length * ROOT_BYTES);
  const counts = new Uint32Array(groups.length);
  const waiting = new Uint32Array(groups.length);
  const slots = new Uint32Array(size);
  let at = 0;
  for (const [index, group] of groups.entries()) {
    roots.set(group.root, index * ROOT_BYTES);
    counts[index] = group.jobs.length;
    waiting[index] = group.waiting;
    for (const job of group.jobs) slots[at++] = job.slot;
  }
  return { roots, counts, waiting, slots };
};

/** A compressed point always has its first bit set: a zero byte is the thread's word for "no key there". */
const deliver = ({ groups }: Batch, signatures: Uint8Array): void => {
  let at = 0;
  for (const { jobs } of groups) {
    for (const job of jobs) {
      const signature = signatures.subarray(at, at + SIGNATURE_BYTES);
      at += SIGNATURE_BYTES;
      if (signature[0] === 0) job.reject(new SignerError("internal", "no key in that slot"));
      else job.resolve(signature);
    }
  }
};

/** How warm the latest roots are. */
const createMemory = () => {
  const roots = new Map<string, RootWarmth>();
  return {
    of: (root: string): RootWarmth | undefined => roots.get(root),
    keep: (root: string, warmth: RootWarmth): void => {
      roots.delete(root); // to the end
      roots.set(root, warmth);
      if (roots.size <= ROOTS_MAX) return;
      for (const oldest of roots.keys()) {
        roots.delete(oldest);
        return;
      }
    },
  };
};
