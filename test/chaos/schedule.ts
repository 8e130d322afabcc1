/**
 * The course of one run: which fault comes when, from the seed alone. Every kind comes once before any comes again, some
 * begin before the one before is over, and most are followed by a calm long enough to see whether all is well again.
 */

import { setTimeout as sleep } from "node:timers/promises";
import { createRandom, type Random } from "../simulation/random.ts";
import type { Applied, Fault, Injected } from "./fault.ts";
import type { Monitor } from "./monitor.ts";

/** What a schedule needs. */
export interface ScheduleOptions {
  readonly faults: readonly Fault[];
  readonly monitor: Monitor;
  readonly seed: number;
  /** Nothing is begun after it. */
  readonly endsMs: number;
  /** Ends it early. */
  readonly signal: AbortSignal;
  /** Monotonic clock in ms. */
  readonly now: () => number;
  /** Longest calm and fault: a short run has to be quick to meet many kinds. */
  readonly isShort: boolean;
  /** Told of each fault that begins or ends. */
  readonly log: (text: string) => void;
}

/** What a run's schedule did. */
export interface Course {
  readonly injected: readonly Injected[];
  /** From the undoing of a fault until a signature was possible again. */
  readonly recoveriesMs: readonly { kind: string; ms: number }[];
}

const CALM_MS = [700, 3_300] as const;
const CALM_SHORT_MS = [200, 600] as const;
const DURATION_SHORT_MS = 700;
const OVERLAP_CHANCE = 0.25;
/** A minute of faults without one signature is not chaos but an end. */
const RECOVERY_MS = 30_000;
const MINUTE_MS = 60_000;

/** Runs until the time is over; all faults are undone then. @throws Error when signing does not become possible again */
export const runSchedule = async (options: ScheduleOptions): Promise<Course> => {
  const { monitor, now, log, signal, isShort } = options;
  const random = createRandom(options.seed);
  const injected: Injected[] = [];
  const recoveriesMs: { kind: string; ms: number }[] = [];
  const begun: { kind: string; atMs: number }[] = [];
  const isOver = (): boolean => signal.aborted || now() >= options.endsMs;
  const nextFault = bagOf(options.faults, random);
  const isAllowed = ({ kind, perMinuteMax = Number.POSITIVE_INFINITY }: Fault): boolean =>
    begun.filter((other) => other.kind === kind && now() - other.atMs < MINUTE_MS).length < perMinuteMax;

  /** One fault from beginning to end; `meanwhile` runs in between. */
  const inject = async (fault: Fault, meanwhile: () => Promise<void>): Promise<void> => {
    const startMs = now();
    const applied = await fault.apply(random);
    if (applied === undefined) return;
    begun.push({ kind: fault.kind, atMs: startMs });
    const [min, max] = fault.durationMs;
    const durationMs = Math.min(random.between(min, max), isShort ? DURATION_SHORT_MS : max);
    log(`${fault.kind} (${applied.detail}) for ${Math.round(durationMs)} ms`);
    try {
      await Promise.all([sleepUntil(durationMs, signal), meanwhile()]);
    } finally {
      await undo(applied, fault);
      const { kind, scope } = fault;
      injected.push({ kind, scope, detail: applied.detail, startMs, endMs: now() });
    }
  };
  const undo = async (applied: Applied, { kind }: Fault): Promise<void> => {
    await applied.undo();
    log(`${kind} is over`);
  };

  while (!isOver()) {
    const [calmMin, calmMax] = isShort ? CALM_SHORT_MS : CALM_MS;
    await sleepUntil(random.between(calmMin, calmMax), signal);
    const fault = nextFault(isAllowed);
    if (fault === undefined || isOver()) continue;
    const hasOverlap = random.chance(OVERLAP_CHANCE);
    await inject(fault, async () => {
      const overlapping = hasOverlap ? nextFault((other) => other.kind !== fault.kind && isAllowed(other)) : undefined;
      if (overlapping === undefined) return;
      await sleepUntil(random.between(50, 500), signal);
      await inject(overlapping, async () => undefined);
    });
    const undoneMs = now();
    if (!(await monitor.untilUsable({ timeoutMs: RECOVERY_MS, signal }))) {
      if (signal.aborted) break;
      throw new Error(`no signature was possible within ${RECOVERY_MS} ms after: ${fault.kind}`);
    }
    recoveriesMs.push({ kind: fault.kind, ms: now() - undoneMs });
  }
  return { injected, recoveriesMs };
};

/** Draws every fault once, in a random order, before any again. Undefined when none is allowed now. */
const bagOf = (
  faults: readonly Fault[],
  random: Random,
): ((isAllowed: (fault: Fault) => boolean) => Fault | undefined) => {
  let bag: Fault[] = [];
  return (isAllowed) => {
    if (!bag.some(isAllowed)) bag = [...faults];
    const allowed = bag.filter(isAllowed);
    if (allowed.length === 0) return undefined;
    const fault = random.pick(allowed);
    bag = bag.filter((other) => other !== fault);
    return fault;
  };
};

const sleepUntil = (ms: number, signal: AbortSignal): Promise<void> =>
  sleep(ms, undefined, { signal }).catch(() => undefined);
