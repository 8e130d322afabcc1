/** The result of a run in words and numbers, and whether it is good enough. */

import { CLIENT_KINDS, type Exchange, isFailure } from "./ledger.ts";
import { countInTime, findLate, IN_TIME_MS, longestUnavailabilityMs, lostByWorkerKill } from "./measures.ts";
import type { RunResult } from "./run.ts";

/** Least share of honest duties that are answered in time. */
export const IN_TIME_SHARE_MIN = 0.99;

/** Why a run is not good enough; none: it is. */
export const findShortcomings = (result: RunResult): string[] => {
  const { inTime, late } = countInTime(result);
  const lost = lostByWorkerKill(result);
  const [example] = lost;
  return [
    ...(result.isSafe && result.violations.length > 0 ? [`${result.violations.length} violations`] : []),
    ...(inTime < IN_TIME_SHARE_MIN * (inTime + late)
      ? [`honest duties in time: expected ≥ ${percent(IN_TIME_SHARE_MIN)}, got ${percent(inTime / (inTime + late))}`]
      : []),
    // Every write that a safe store acknowledged is kept: suspicion is a loss, or a false alarm.
    ...(result.isSafe && result.suspicion !== undefined ? ["the store was found suspect"] : []),
    ...(inTime === 0 ? ["no honest duty was signed"] : []),
    ...(example === undefined ? [] : [`${lost.length} responses lost by a worker kill alone: ${describe(example)}`]),
    ...result.problems,
  ];
};

/** The report of one run, several lines. */
export const describeRun = (result: RunResult): string => {
  const { exchanges, injected, recoveriesMs, periods } = result;
  const signed = exchanges.filter(({ status }) => status === 200);
  const refused = exchanges.filter(({ status }) => status === 412);
  const failed = exchanges.filter(isFailure);
  const { inTime, late, unjudged } = countInTime(result);
  const usableMs = periods.reduce((sum, { startMs, endMs }) => sum + endMs - startMs, 0);
  const slowest = recoveriesMs.toSorted((left, right) => right.ms - left.ms)[0];
  const lines: (readonly [string, string])[] = [
    ["requests", `${exchanges.length} (${counts(exchanges, ({ client }) => client, CLIENT_KINDS)})`],
    ["signatures", String(signed.length)],
    ["refusals (412)", `${refused.length} (${counts(refused, ruleOf)})`],
    ["failures", `${failed.length} (${counts(failed, failureOf)})`],
    ["faults", `${injected.length} (${counts(injected, ({ kind }) => kind)})`],
    ["usable", `${seconds(usableMs)} of ${seconds(result.elapsedMs)}, in ${periods.length} periods`],
    ["longest unavailability", `${seconds(longestUnavailabilityMs(result))} while a store and an enclave were there`],
    ["slowest recovery", slowest === undefined ? "none" : `${seconds(slowest.ms)} after: ${slowest.kind}`],
    [
      "honest duties",
      `${inTime + late + unjudged}: ${percent(inTime / (inTime + late))} within ${seconds(IN_TIME_MS)} (${late} late, ${unjudged} not judged)`,
    ],
    ...lateAfter(result).map((text) => ["", text] as const),
    ["honest latency", describeLatency(signed.filter(({ client }) => client === "honest"))],
    ["lost by worker kill", String(lostByWorkerKill(result).length)],
    ["violations", `${result.violations.length}${result.isSafe ? "" : " (safety is not promised over this store)"}`],
    ...(result.suspicion === undefined ? [] : [["store found suspect", describe(result.suspicion)] as const]),
    ...result.violations.slice(0, 10).map(({ kind, pubkey, detail }) => ["", `${kind}: ${pubkey} ${detail}`] as const),
    ...result.notes.map((text) => ["store", text] as const),
    ...result.skipped.map((text) => ["skipped", text] as const),
    ...findShortcomings(result).map((text) => ["not good enough", text] as const),
  ];
  const width = Math.max(...lines.map(([name]) => name.length));
  const body = lines.map(([name, text]) => `  ${name.padEnd(width)}  ${text}`);
  return [`${result.name}: ${result.description}`, ...body].join("\n");
};

const describe = ({ status, body, startMs, endMs, message }: Exchange): string =>
  `status ${status} at ${seconds(startMs)} after ${Math.round(endMs - startMs)} ms for ${message.kind}: ${body.slice(0, 200)}`;

/** The faults after which duties were late, and by how many. */
const lateAfter = (result: RunResult): string[] => {
  const before = (ms: number): string => result.injected.findLast(({ startMs }) => startMs <= ms)?.kind ?? "the start";
  return [...Map.groupBy(findLate(result), ({ endMs }) => before(endMs))].map(([kind, late]) => {
    const longestMs = Math.max(...late.map(({ startMs, endMs }) => endMs - startMs));
    return `${late.length} late after: ${kind}, at ${seconds(late[0]?.endMs ?? 0)}, asked for up to ${seconds(longestMs)}`;
  });
};

/** `a 3, b 1`, the most frequent first, or in the order of `names`. */
const counts = <T>(list: readonly T[], nameOf: (item: T) => string, names?: readonly string[]): string => {
  const groups = Map.groupBy(list, nameOf);
  const order = names ?? [...groups.keys()].sort((left, right) => size(groups, right) - size(groups, left));
  return order.map((name) => `${name} ${size(groups, name)}`).join(", ") || "none";
};

const size = (groups: ReadonlyMap<string, readonly unknown[]>, name: string): number => groups.get(name)?.length ?? 0;

const ruleOf = ({ body }: Exchange): string => /refused by rule (\w+)/.exec(body)?.[1] ?? "no rule";

/** Status and the first words of the reason, without what differs from time to time. */
const failureOf = ({ status, body }: Exchange): string => {
  const text = /"message":"([^"]*)"/.exec(body)?.[1] ?? body;
  return `${status} "${text
    .replaceAll(/0x[0-9a-f]+/g, "0x…")
    .replaceAll(/\d+/g, "n")
    .slice(0, 90)}"`;
};

const describeLatency = (exchanges: readonly Exchange[]): string => {
  const sorted = exchanges.map(({ startMs, endMs }) => endMs - startMs).sort((left, right) => left - right);
  const at = (share: number): string => `${Math.round(sorted[Math.floor(share * (sorted.length - 1))] ?? 0)} ms`;
  return `median ${at(0.5)}, 99 % ${at(0.99)}, longest ${at(1)}`;
};

const seconds = (ms: number): string => `${(ms / 1_000).toFixed(1)} s`;
const percent = (share: number): string => `${(100 * share).toFixed(2)} %`;
