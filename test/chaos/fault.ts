/** What a fault is, and the log of those that were injected. */

import type { Random } from "../simulation/random.ts";

/**
 * What a fault takes away.
 * - `worker`: one enclave while others are ready; signing goes on.
 * - `service`: the store, or a process without which nothing is signed.
 */
export type FaultScope = "worker" | "service";

/** The one fault that must lose nothing at all. */
export const WORKER_KILL = "kill -9 of a worker";

/** One way in which something breaks. */
export interface Fault {
  readonly kind: string;
  readonly scope: FaultScope;
  /** From its beginning to its undoing. */
  readonly durationMs: readonly [min: number, max: number];
  /** `up` gives a child up that ends ten times in a minute; default: no limit. */
  readonly perMinuteMax?: number;
  /** Breaks it; undefined when it cannot be done at this moment. */
  apply(random: Random): Promise<Applied | undefined>;
}

/** A fault that is on. */
export interface Applied {
  /** What exactly was broken. */
  readonly detail: string;
  undo(): Promise<void>;
}

/** A fault of the past; times in ms of the run's clock. */
export interface Injected {
  readonly kind: string;
  readonly scope: FaultScope;
  readonly detail: string;
  readonly startMs: number;
  readonly endMs: number;
}
