/**
 * When the service could have signed: a writable store and a ready enclave existed. Sampled from outside: the set-up
 * asks its store directly, `/healthcheck` names the ready enclaves, and what a fault takes away counts as gone from the
 * moment the fault begins, whatever the health check still says.
 */

import { setTimeout as sleep } from "node:timers/promises";
import type { Testudo } from "../helpers/testudo.ts";

/** A time in ms of the run's clock during which signing was possible. */
export interface UsablePeriod {
  readonly startMs: number;
  readonly endMs: number;
}

/** A running monitor. */
export interface Monitor {
  /** Periods so far; the last one may still go on. */
  periods(): UsablePeriod[];
  readonly isUsable: boolean;
  /** Enclaves that the last health check called ready and no fault has frozen. */
  readonly readyCids: readonly number[];
  /** Something that every signature needs is gone from now on, until the returned function is called. */
  block(): () => void;
  /** The enclave process is frozen from now on, until the returned function is called. */
  freeze(cid: number, pid: number): () => void;
  /** Waits until signing is possible; false when it was not within the time, or `signal` aborted first. */
  untilUsable(options: { timeoutMs: number; signal: AbortSignal }): Promise<boolean>;
  stop(): Promise<void>;
}

/** What a monitor looks at. */
export interface MonitorOptions {
  readonly testudo: Testudo;
  /** Whether the store takes writes now, asked of the store itself. Never rejects. */
  readonly isWritable: () => Promise<boolean>;
  /** Monotonic clock in ms. */
  readonly now: () => number;
  /** Told when signing becomes possible. */
  readonly log: (text: string) => void;
}

/** Time between two samples, and for a health check: a gateway that needs longer is none. */
const SAMPLE_MS = 50;
const HEALTH_MS = 500;

/** Starts to sample. */
export const startMonitor = ({ testudo, isWritable, now, log }: MonitorOptions): Monitor => {
  const past: UsablePeriod[] = [];
  const frozen = new Map<number, number>();
  let sinceMs: number | undefined;
  let blocks = 0;
  /** Grows with each fault that begins or ends: a sample from before says nothing about after. */
  let generation = 0;
  let readyCids: number[] = [];
  let stopping = false;

  const mark = (usable: boolean): void => {
    if (usable) {
      if (sinceMs === undefined) log("signing is possible");
      sinceMs ??= now();
    } else if (sinceMs !== undefined) {
      past.push({ startMs: sinceMs, endMs: now() });
      sinceMs = undefined;
    }
  };

  const sample = async (): Promise<void> => {
    const begun = generation;
    const [cids, writable] = await Promise.all([readyEnclaves(testudo.url), isWritable()]);
    if (begun !== generation) return;
    readyCids = cids.filter((cid) => !isFrozen(cid));
    mark(blocks === 0 && writable && readyCids.length > 0);
  };
  /** The process may have been replaced meanwhile. */
  const isFrozen = (cid: number): boolean => {
    const pid = frozen.get(cid);
    return pid !== undefined && (enclavePids(testudo).get(cid) ?? pid) === pid;
  };
  const run = async (): Promise<void> => {
    while (!stopping) {
      await sample();
      await sleep(SAMPLE_MS);
    }
  };
  const running = run();

  const monitor: Monitor = {
    periods: () => (sinceMs === undefined ? [...past] : [...past, { startMs: sinceMs, endMs: now() }]),
    get isUsable() {
      return sinceMs !== undefined;
    },
    get readyCids() {
      return readyCids;
    },
    block: () => {
      blocks += 1;
      generation += 1;
      mark(false);
      return () => {
        blocks -= 1;
        generation += 1;
      };
    },
    freeze: (cid, pid) => {
      frozen.set(cid, pid);
      generation += 1;
      readyCids = readyCids.filter((other) => other !== cid);
      if (readyCids.length === 0) mark(false);
      return () => {
        generation += 1;
        if (frozen.get(cid) === pid) frozen.delete(cid);
      };
    },
    untilUsable: async ({ timeoutMs, signal }) => {
      const deadlineMs = now() + timeoutMs;
      while (!monitor.isUsable && !signal.aborted && now() < deadlineMs) await sleep(SAMPLE_MS);
      return monitor.isUsable;
    },
    stop: async () => {
      stopping = true;
      await running;
    },
  };
  return monitor;
};

/** Process ids of the enclaves by CID; none while the pool-manager is being restarted. */
export const enclavePids = (testudo: Testudo): ReadonlyMap<number, number> => {
  try {
    return testudo.processes().enclaves;
  } catch {
    return new Map();
  }
};

interface HealthCheck {
  readonly id: string;
  readonly status: string;
  readonly data?: { readonly cid?: number };
  readonly checks?: readonly HealthCheck[];
}

const readyEnclaves = async (url: string): Promise<number[]> => {
  try {
    const response = await fetch(`${url}/healthcheck`, { signal: AbortSignal.timeout(HEALTH_MS) });
    const { checks = [] } = (await response.json()) as { checks?: readonly HealthCheck[] };
    const enclaves = checks.find(({ id }) => id === "enclaves-check")?.checks ?? [];
    return enclaves.filter(({ status }) => status === "UP").flatMap(({ data }) => data?.cid ?? []);
  } catch {
    return [];
  }
};
