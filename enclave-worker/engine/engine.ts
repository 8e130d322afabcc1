/**
 * The signing engine: threads that pull batches. A lone request is signed at once; while every thread is busy, work
 * collects and leaves as one batch, so that the cost of crossing to a thread (44–59 µs alone, about 10 µs a signature
 * with 16) is shared. A batch is at most 5 ms of work, so that nothing waits long behind it.
 */

import { Piscina } from "piscina";
import { ROOT_BYTES, SIGNATURE_BYTES } from "#protocol/bytes.ts";
import { SignerError } from "#protocol/errors.ts";
import type { SignBatch } from "./thread.ts";

/** Makes signatures. */
export interface Engine {
  /**
   * BLS signature (96 bytes, compressed) under the secret in `slot`. The caller holds the slot until this settles.
   * @throws SignerError `overloaded` when the queue is full, `deadline_exceeded` when nobody waits any more,
   * `unavailable` when the engine was closed, `internal` when the slot holds no key
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
  /** Time after which the work is dropped instead of begun, in ms of the engine's clock; undefined: never. */
  readonly deadlineMs?: number;
}

/** 5 ms of work at ≈370 µs a signature. */
const BATCH_MAX = 14;
/** Signatures that may wait: about 3 s of work of one thread. */
const QUEUE_MAX = 8192;

interface Job extends SignWork {
  readonly resolve: (signature: Uint8Array) => void;
  readonly reject: (error: SignerError) => void;
}

/** What the engine signs with. */
export interface EngineOptions {
  readonly threads: number;
  /** Secret keys by slot (`keys/arena.ts`). */
  readonly arena: SharedArrayBuffer;
}

/** Starts signing threads over an arena. `now` is monotonic, in ms. */
export const createEngine = ({ threads, arena }: EngineOptions, { now }: { now: () => number }): Engine => {
  const pool = new Piscina<SignBatch, Uint8Array>({
    filename: new URL("./thread.ts", import.meta.url).href,
    name: "signBatch",
    minThreads: threads,
    maxThreads: threads,
    workerData: { arena },
  });
  const queue: Job[] = [];
  const batches = new Set<Promise<void>>();
  let closed = false;

  /** The next jobs that somebody still waits for. */
  const take = (size: number): Job[] => {
    const [expired, wanted] = partition(queue.splice(0, size), ({ deadlineMs }) => (deadlineMs ?? Infinity) <= now());
    for (const job of expired) job.reject(new SignerError("deadline_exceeded", "no time left to sign"));
    return wanted;
  };

  const pull = (): void => {
    while (batches.size < threads && queue.length > 0) {
      // Shared out between the threads: one long batch and an idle thread would be the slower way.
      const jobs = take(Math.min(BATCH_MAX, Math.ceil(queue.length / (threads - batches.size))));
      if (jobs.length === 0) continue;
      const batch = run(jobs).finally(() => {
        batches.delete(batch);
        pull();
      });
      batches.add(batch);
    }
  };

  const run = async (jobs: readonly Job[]): Promise<void> => {
    try {
      const signatures = await pool.run({
        slots: Uint32Array.from(jobs, (job) => job.slot),
        roots: Buffer.concat(jobs.map((job) => job.root)),
      });
      for (const [index, job] of jobs.entries()) {
        const signature = signatures.slice(index * SIGNATURE_BYTES, (index + 1) * SIGNATURE_BYTES);
        // A compressed point always has its first bit set: a zero byte is the thread's word for "no key there".
        if (signature[0] === 0) job.reject(new SignerError("internal", "no key in that slot"));
        else job.resolve(signature);
      }
    } catch (error) {
      const failure = new SignerError("internal", "a signing thread failed", { cause: error });
      for (const job of jobs) job.reject(failure);
    }
  };

  return {
    sign: ({ slot, root, ...rest }) =>
      new Promise((resolve, reject) => {
        if (closed) return reject(new SignerError("unavailable", "the engine is closed"));
        if (queue.length >= QUEUE_MAX) return reject(new SignerError("overloaded", "too many signatures wait"));
        if (root.length !== ROOT_BYTES) return reject(new SignerError("internal", "root: expected 32 bytes"));
        queue.push({ slot, root, ...rest, resolve, reject });
        pull();
      }),
    close: async () => {
      closed = true;
      const failure = new SignerError("unavailable", "the engine is closed");
      for (const job of queue.splice(0)) job.reject(failure);
      // Piscina throws, uncaught, when a thread answers after `destroy`.
      await Promise.all(batches);
      await pool.destroy();
    },
  };
};

const partition = <T>(items: readonly T[], isFirst: (item: T) => boolean): [T[], T[]] => [
  items.filter(isFirst),
  items.filter((item) => !isFirst(item)),
];
