/**
 * Keeps a child of `up` running: one that dies is started again, at once after a time of calm, and after pauses that grow with
 * its recent ends. Before everything was up, and when it dies again and again, its end is the end of `up`.
 */

import { SignerError } from "#protocol/errors.ts";
import type { Logger } from "#protocol/log.ts";
import type { Child, ChildEnd } from "./child.ts";
import { EXIT_USAGE } from "./output.ts";

/** A child and its successors. */
export interface Supervised {
  /** Rejects when the child ended and is not started again; never resolves. */
  readonly failed: Promise<never>;
  /** Ends it for good. */
  stop(options: { timeoutMs: number }): Promise<void>;
}

/** What supervision needs. */
export interface SupervisorModules {
  /** Starts the child, or its successor. */
  readonly start: () => Child;
  /** Whether everything was up once. */
  readonly mayRestart: () => boolean;
  readonly logger: Logger;
  /** Monotonic clock in ms. */
  readonly now: () => number;
  /** Ends early, without an error, when `signal` aborts. */
  readonly sleep: (ms: number, signal: AbortSignal) => Promise<void>;
}

/**
 * The first end within the window is mended at once: while a gateway or pool-manager is away, nobody signs. Each further
 * one has a pause, doubled each time up to the longest.
 */
const PAUSE_MS_MIN = 250;
const PAUSE_MS_MAX = 5_000;
/**
 * So many ends within the window, and it is given up: starting again does not help. The pauses before sum up to 23 s, so
 * that a disk that was full for a while, or a store that was away at the start, is outlived.
 */
const ENDS_MAX = 10;
/** How long an end counts. */
const WINDOW_MS = 60_000;

/** Starts a child and watches over it. `name` is for messages. */
export const supervise = (name: string, modules: SupervisorModules): Supervised => {
  const stopping = new AbortController();
  let child = modules.start();

  const run = async (): Promise<void> => {
    let ends: number[] = [];
    for (;;) {
      const end = await child.exited;
      if (stopping.signal.aborted) return;
      if (!modules.mayRestart()) throw stopsAll(name, end);
      const endedMs = modules.now();
      ends = [...ends.filter((earlierMs) => endedMs - earlierMs < WINDOW_MS), endedMs];
      if (ends.length >= ENDS_MAX) {
        const detail = `the ${name} ended ${ENDS_MAX} times within ${WINDOW_MS / 1000} s (last: ${end.reason})`;
        throw new SignerError("unavailable", `${detail}, see above; everything is stopped`);
      }
      const pauseMs = ends.length === 1 ? 0 : Math.min(PAUSE_MS_MAX, PAUSE_MS_MIN * 2 ** (ends.length - 2));
      modules.logger.warn("restarting a process that ended", { name, reason: end.reason, pauseMs });
      await modules.sleep(pauseMs, stopping.signal);
      if (stopping.signal.aborted) return;
      child = modules.start();
    }
  };
  const life = run();
  const failed = life.then(() => new Promise<never>(() => undefined));
  failed.catch(() => undefined); // raced by the caller, or too late

  return {
    failed,
    stop: async (options) => {
      stopping.abort();
      await child.stop(options);
      await life.catch(() => undefined);
    },
  };
};

/** Its own message stands above; wrong usage stays wrong usage. */
const stopsAll = (name: string, { reason, code }: ChildEnd): SignerError =>
  new SignerError(
    code === EXIT_USAGE ? "bad_request" : "unavailable",
    `the ${name} ended (${reason}), see above; everything is stopped`,
  );
