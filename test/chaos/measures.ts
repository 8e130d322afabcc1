/** Availability, computed from what was answered when, what was broken when, and when signing was possible. */

import { type Injected, WORKER_KILL } from "./fault.ts";
import { type Exchange, type HonestDuty, isFailure } from "./ledger.ts";
import type { UsablePeriod } from "./monitor.ts";

/** What a run has left behind. */
export interface Evidence {
  readonly exchanges: readonly Exchange[];
  readonly duties: readonly HonestDuty[];
  readonly periods: readonly UsablePeriod[];
  readonly injected: readonly Injected[];
}

/** An honest duty is in time when it is answered so soon after signing became possible (or after it was asked for). */
export const IN_TIME_MS = 2_000;
/** Requests under way when a fault ended may still fail for so long; the gateway's own deadline is 5 s. */
const AFTERMATH_MS = 5_000;

/** Longest time without an honest signature within a period in which signing was possible. */
export const longestUnavailabilityMs = ({ exchanges, periods }: Evidence): number => {
  const signedMs = exchanges
    .filter(({ client, status }) => client === "honest" && status === 200)
    .map(({ endMs }) => endMs)
    .sort((left, right) => left - right);
  const gaps = periods.flatMap(({ startMs, endMs }) => {
    const within = [startMs, ...signedMs.filter((ms) => ms > startMs && ms < endMs), endMs];
    return within.slice(1).map((ms, index) => ms - (within[index] as number));
  });
  return Math.max(0, ...gaps);
};

/**
 * How many honest duties were answered in time. A duty counts from its start or, when signing was not possible then,
 * from the next period in which it was; if that period ends before the time is over, from the next. A duty that was
 * given up, or whose time did not come before the run ended, counts not at all.
 */
export const countInTime = ({ duties, periods }: Evidence): { inTime: number; late: number; unjudged: number } => {
  const count = { inTime: 0, late: 0, unjudged: 0 };
  for (const duty of duties) count[judge(duty, periods)] += 1;
  return count;
};

/** The duties that were late. */
export const findLate = ({ duties, periods }: Evidence): HonestDuty[] =>
  duties.filter((duty) => judge(duty, periods) === "late");

const judge = (duty: HonestDuty, periods: readonly UsablePeriod[]): "inTime" | "late" | "unjudged" => {
  for (const period of periods) {
    if (period.endMs <= duty.startMs) continue;
    const countsFromMs = Math.max(duty.startMs, period.startMs);
    const dueMs = countsFromMs + IN_TIME_MS;
    if (duty.outcome === "signed" && duty.endMs <= dueMs) return "inTime";
    if (dueMs <= Math.min(period.endMs, duty.endMs)) return "late";
    if (duty.outcome === "refused" && duty.endMs <= dueMs) return "late";
  }
  // Also signed in a moment that no sample saw as usable.
  return duty.outcome === "signed" ? "inTime" : "unjudged";
};

/** Honest requests that failed although nothing was broken, or nothing but single workers by `kill -9`. */
export const lostByWorkerKill = ({ exchanges, injected, periods }: Evidence): Exchange[] => {
  const disturbed = injected
    .filter(({ kind }) => kind !== WORKER_KILL)
    .map(({ startMs, endMs }) => ({ startMs, endMs: aftermathEndMs(endMs, periods) }));
  const isDisturbed = (exchange: Exchange): boolean =>
    disturbed.some(({ startMs, endMs }) => exchange.startMs < endMs && exchange.endMs > startMs);
  return exchanges.filter((exchange) => exchange.client === "honest" && isFailure(exchange) && !isDisturbed(exchange));
};

/**
 * When a fault that ended at `endMs` explains nothing any more. A killed pool-manager takes its workers along a moment
 * later: an outage that begins in the aftermath belongs to the fault, and has an aftermath of its own.
 */
const aftermathEndMs = (endMs: number, periods: readonly UsablePeriod[]): number => {
  let untilMs = endMs + AFTERMATH_MS;
  for (const [index, { endMs: outageMs }] of periods.entries()) {
    const wellMs = periods[index + 1]?.startMs ?? Number.POSITIVE_INFINITY;
    if (wellMs > endMs && outageMs <= untilMs) untilMs = Math.max(untilMs, wellMs + AFTERMATH_MS);
  }
  return untilMs;
};
