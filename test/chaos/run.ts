/** One run: a store, a real Testudo over it, clients, faults; then the verdict. Ends and removes all it started. */

import { setTimeout as sleep } from "node:timers/promises";
import { createTestbed, type Testudo } from "../helpers/testudo.ts";
import { findViolations, type Violation } from "./checker.ts";
import { startLoad } from "./clients.ts";
import { type Injected, WORKER_KILL } from "./fault.ts";
import { createLedger, type Exchange } from "./ledger.ts";
import type { Evidence } from "./measures.ts";
import { startMonitor } from "./monitor.ts";
import { processFaults } from "./process-faults.ts";
import { type Course, runSchedule } from "./schedule.ts";
import { openSetUp, type SetUpName } from "./set-up.ts";

/** Settings of a run. */
export interface RunOptions {
  readonly name: SetUpName;
  /** Time of load and faults; starting and stopping come on top. */
  readonly seconds: number;
  readonly seed: number;
  /** Only faults whose name contains it, to look at one closely; the kills of single workers come first all the same. */
  readonly only?: string | undefined;
  /** Ends it early, in order. */
  readonly signal: AbortSignal;
  /** Told what happens, one line at a time. */
  readonly log: (text: string) => void;
}

/** What came of a run. */
export interface RunResult extends Evidence, Course {
  readonly name: SetUpName;
  readonly description: string;
  /** False: violations are counted, and prove nothing against Testudo. */
  readonly isSafe: boolean;
  readonly violations: readonly Violation[];
  /** The first answer that called the store suspect. Where safety is not promised, the run ends there. */
  readonly suspicion: Exchange | undefined;
  readonly notes: readonly string[];
  readonly skipped: readonly string[];
  /** What went wrong with the run itself: it did not come back, or did not stop in order. */
  readonly problems: readonly string[];
  readonly elapsedMs: number;
}

const ENCLAVES = 3;
/** Of the time: nothing but single workers is killed, so that what is lost is lost by that alone. */
const KILLS_ALONE_SHARE = 0.2;
/** Shorter runs have shorter faults and calms. */
const SHORT_SECONDS = 20;
/** At the end, with nothing broken any more. */
const LAST_CALM_MS = 2_500;
const LAST_CALM_SHORT_MS = 1_000;
/** Between two looks at whether the store is suspect: nothing slashable is signed from then on. */
const SUSPICION_MS = 100;
const READY_MS = 20_000;
const VERIFY_MAX = 1_000;

/** Runs it. Problems of the run are part of the result; only what could not be started throws. */
export const runChaos = async (options: RunOptions): Promise<RunResult> => {
  const { name, log } = options;
  const startedMs = performance.now();
  const now = (): number => performance.now() - startedMs;
  const bed = createTestbed();
  const setUp = await openSetUp[name]();
  try {
    log(`starting: ${setUp.description}`);
    const testudo = await bed.up(["--enclaves", String(ENCLAVES), ...setUp.args], {
      ...(setUp.dataPath !== undefined && { dataPath: setUp.dataPath }),
    });
    const monitor = startMonitor({ testudo, isWritable: () => setUp.isWritable(), now, log });
    const ledger = createLedger();
    const problems: string[] = [];
    const courses: Course[] = [];
    if (!(await untilComplete(monitor, now))) problems.push(`not all ${ENCLAVES} enclaves became ready`);
    const load = startLoad({ url: testudo.url, publicKeys: testudo.publicKeys, seed: options.seed, ledger, now });
    const ending = new AbortController();
    const signal = AbortSignal.any([options.signal, ending.signal]);
    const watch = setInterval(() => {
      if (ledger.suspicion === undefined || signal.aborted) return;
      log(`the store was found suspect: ${ledger.suspicion.body}`);
      monitor.block();
      ending.abort();
    }, SUSPICION_MS);
    const isShort = options.seconds < SHORT_SECONDS;
    const beginMs = now();
    const known = [...processFaults({ testudo, monitor }), ...setUp.faults({ testudo, monitor })];
    const alone = known.filter(({ kind }) => kind === WORKER_KILL);
    const faults = known.filter(({ kind }) => kind.includes(options.only ?? ""));
    if (faults.length === 0) problems.push(`no fault is called "${options.only}"`);
    const part = (share: number) => beginMs + share * options.seconds * 1_000;
    try {
      for (const [index, which] of [alone, faults].entries()) {
        const endsMs = part(index === 0 ? KILLS_ALONE_SHARE : 1);
        const seed = options.seed + index;
        courses.push(await runSchedule({ faults: which, monitor, seed, endsMs, signal, now, isShort, log }));
      }
    } catch (error) {
      problems.push(messageOf(error));
    } finally {
      clearInterval(watch);
    }
    await sleep(isShort ? LAST_CALM_SHORT_MS : LAST_CALM_MS);
    await load.stop();
    const periods = monitor.periods();
    await monitor.stop();
    problems.push(...(await stop(testudo)));
    const injected = courses.flatMap((course): readonly Injected[] => course.injected);
    const recoveriesMs = courses.flatMap((course) => course.recoveriesMs);
    const violations = findViolations(ledger.exchanges, { verifyMax: VERIFY_MAX });
    const { description, isSafe, skipped } = setUp;
    const { exchanges, duties, suspicion } = ledger;
    const evidence: Evidence = { exchanges, duties, periods, injected };
    const verdict = { violations, suspicion, problems, recoveriesMs, elapsedMs: now() };
    return { ...evidence, ...verdict, name, description, isSafe, notes: setUp.notes?.() ?? [], skipped };
  } finally {
    await bed.close();
    await setUp.close();
  }
};

const untilComplete = async (monitor: { readyCids: readonly number[] }, now: () => number): Promise<boolean> => {
  const deadlineMs = now() + READY_MS;
  while (monitor.readyCids.length < ENCLAVES && now() < deadlineMs) await sleep(50);
  return monitor.readyCids.length >= ENCLAVES;
};

const stop = async (testudo: Testudo): Promise<string[]> => {
  try {
    await testudo.stop();
    return [];
  } catch (error) {
    return [messageOf(error)];
  }
};

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
