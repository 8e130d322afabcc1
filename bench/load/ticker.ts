/**
 * Wakes the generator at a time to the tenth of a millisecond. Timers of the event loop have whole milliseconds, several
 * signatures long; a thread that sleeps in `Atomics.wait` has the kernel's resolution and uses no CPU meanwhile.
 */

import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";

/** An alarm clock. */
export interface Ticker {
  onWake(wake: () => void): void;
  /** Wakes once at `atMs` of this thread's `performance.now()`, or at once when that has passed. */
  wakeAt(atMs: number): void;
  close(): Promise<void>;
}

/** Starts the thread. */
export const startTicker = (): Ticker => {
  const worker = new Worker(fileURLToPath(new URL("./ticker-thread.ts", import.meta.url)));
  let isSet = false;
  return {
    onWake: (wake) => {
      worker.on("message", () => {
        isSet = false;
        wake();
      });
    },
    wakeAt: (atMs) => {
      if (isSet) return; // an alarm is never moved: arrivals come in order
      isSet = true;
      worker.postMessage(performance.timeOrigin + atMs);
    },
    close: async () => {
      await worker.terminate();
    },
  };
};
