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
   * BLS signature of `root` under the secret in `slot`.
   * @param root 32 bytes
   * @returns 96 bytes, compressed
   * @throws SignerError `overloaded` when the queue is full, `unavailable` when the engine was closed
   */
  sign(slot: number, root: Uint8Array): Promise<Uint8Array>;
  close(): Promise<void>;
}

/** 5 ms of work at ≈370 µs a signature. */
const BATCH_MAX = 14;
/** Signatures that may wait: about 3 s of work of one thread. */
const QUEUE_MAX = 8192;

interface Job {
  readonly slot: number;
  readonly root: Uint8Array;
  readonly resolve: (signature: Uint8Array) => void;
  readonly reject: (error: SignerError) => void;
}

/** Starts `threads` signing threads over an arena. */
export const createEngine = ({ threads, arena }: { threads: number; arena: SharedArrayBuffer }): Engine => {
  const pool = new Piscina<SignBatch, Uint8Array>({
    filename: new URL("./thread.ts", import.meta.url).href,
    name: "signBatch",
    minThreads: threads,
    maxThreads: threads,
    workerData: { arena },
  });
  const queue: Job[] = [];
  let running = 0;
  let closed = false;

  const pull = (): void => {
    while (running < threads && queue.length > 0) {
      running += 1;
      // Shared out between the threads: one long batch and an idle thread would be the slower way.
      const size = Math.min(BATCH_MAX, Math.ceil(queue.length / (threads - running + 1)));
      void run(queue.splice(0, size));
    }
  };

  const run = async (jobs: readonly Job[]): Promise<void> => {
    try {
      const signatures = await pool.run({
        slots: Uint32Array.from(jobs, (job) => job.slot),
        roots: Buffer.concat(jobs.map((job) => job.root)),
      });
      for (const [index, job] of jobs.entries()) {
        job.resolve(signatures.slice(index * SIGNATURE_BYTES, (index + 1) * SIGNATURE_BYTES));
      }
    } catch (error) {
      const failure = new SignerError("internal", "a signing thread failed", { cause: error });
      for (const job of jobs) job.reject(failure);
    } finally {
      running -= 1;
      pull();
    }
  };

  return {
    sign: (slot, root) =>
      new Promise((resolve, reject) => {
        if (closed) return reject(new SignerError("unavailable", "the engine is closed"));
        if (queue.length >= QUEUE_MAX) return reject(new SignerError("overloaded", "too many signatures wait"));
        if (root.length !== ROOT_BYTES) return reject(new SignerError("internal", "root: expected 32 bytes"));
        queue.push({ slot, root, resolve, reject });
        pull();
      }),
    close: async () => {
      closed = true;
      const failure = new SignerError("unavailable", "the engine is closed");
      for (const job of queue.splice(0)) job.reject(failure);
      await pool.destroy();
    },
  };
};
