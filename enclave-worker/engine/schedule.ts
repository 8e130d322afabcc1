/**
 * What is signed next. Waiting jobs are grouped by root, because signatures over one root share their dearest part.
 * The most urgent duty class goes first, in it the group whose deadline comes first; a batch takes from it, then from
 * the next ones, until it is worth about {@link BATCH_MICROS} of work: a block never waits behind a storm of attestations for
 * longer than that.
 */

import { toByteString } from "#protocol/bytes.ts";
import { DUTY_CLASSES, type DutyClass } from "#protocol/signing/types.ts";
import type { Costs, RootWarmth } from "./costs.ts";

/** A signature that somebody waits for. */
export interface Job {
  /** The secret's slot in the arena. */
  readonly slot: number;
  /** 32 bytes. */
  readonly root: Uint8Array;
  readonly dutyClass: DutyClass;
  /** Time after which nobody waits any more, in ms of the engine's clock; Infinity: never. */
  readonly deadlineMs: number;
  readonly resolve: (signature: Uint8Array) => void;
  readonly reject: (error: Error) => void;
}

/** Jobs of one root in a batch. */
export interface BatchGroup {
  readonly root: Uint8Array;
  readonly jobs: readonly Job[];
  /** Jobs of this root that still wait: whether a multiplication table will pay. */
  readonly waiting: number;
}

/** What a thread does at one go. */
export interface Batch {
  readonly groups: readonly BatchGroup[];
  readonly size: number;
  /** Estimated µs. */
  readonly micros: number;
}

/** The jobs that wait. */
export interface Schedule {
  readonly size: number;
  add(job: Job): void;
  /**
   * Takes the most urgent jobs, at most `sizeMax` and about {@link BATCH_MICROS} of work, at least one; undefined when none
   * waits. Before that, jobs of every class that nobody waits for any more go to `onExpired`.
   */
  take(sizeMax: number): Batch | undefined;
  /** Takes out one job that is less urgent than `dutyClass`, of the least urgent class that waits; undefined when none is. */
  giveUpFor(dutyClass: DutyClass): Job | undefined;
  /** Takes everything. */
  drain(): Job[];
}

/** What the schedule works with. */
export interface ScheduleModules {
  readonly costs: Costs;
  /** What is known to be ready for a root. */
  readonly warmthOf: (root: string) => RootWarmth | undefined;
  /** Monotonic milliseconds. */
  readonly now: () => number;
  readonly onExpired: (job: Job) => void;
}

/** Longest batch: what a block may have to wait for. */
export const BATCH_MICROS = 5_000;
/** Most signatures of a batch, whatever they cost: bounds a thread's answer to 48 KiB. */
export const BATCH_SIZE_MAX = 512;

interface Group {
  readonly key: string;
  readonly root: Uint8Array;
  jobs: Job[];
  /** Earliest deadline of its jobs. */
  deadlineMs: number;
}

const earliest = (jobs: readonly Job[]): number =>
  jobs.reduce((least, job) => Math.min(least, job.deadlineMs), Infinity);

/** An empty schedule. */
export const createSchedule = ({ costs, warmthOf, now, onExpired }: ScheduleModules): Schedule => {
  const classes = Object.fromEntries(DUTY_CLASSES.map((name) => [name, new Map()])) as unknown as Record<
    DutyClass,
    Map<string, Group>
  >;
  let size = 0;

  /**
   * Everywhere, not only where jobs are taken: a class that more urgent ones keep waiting would else fill the queue with
   * dead jobs. All at one go: after a pause of the process thousands of groups may be dead.
   */
  const dropExpired = (): void => {
    const time = now();
    for (const name of DUTY_CLASSES) {
      for (const [key, group] of classes[name]) {
        if (group.deadlineMs > time) continue;
        for (const job of group.jobs) if (job.deadlineMs <= time) onExpired(job);
        const wanted = group.jobs.filter((job) => job.deadlineMs > time);
        size -= group.jobs.length - wanted.length;
        group.jobs = wanted;
        group.deadlineMs = earliest(wanted);
        if (wanted.length === 0) classes[name].delete(key);
      }
    }
  };

  /** Looks at every group of a class, once for each group of a batch: as many as distinct roots wait, mostly a few. */
  const mostUrgent = (): [Map<string, Group>, Group] | undefined => {
    for (const name of DUTY_CLASSES) {
      const groups = classes[name];
      let first: Group | undefined;
      for (const group of groups.values()) {
        if (first === undefined || group.deadlineMs < first.deadlineMs) first = group;
      }
      if (first !== undefined) return [groups, first];
    }
    return undefined;
  };

  /** The oldest jobs of a group; an emptied group is gone. */
  const takeFrom = (groups: Map<string, Group>, group: Group, count: number): Job[] => {
    const taken = group.jobs.splice(0, count);
    size -= taken.length;
    // Of those that are left: a group that never empties must not go on with the urgency of its first job.
    if (group.jobs.length > 0) group.deadlineMs = earliest(group.jobs);
    else groups.delete(group.key);
    return taken;
  };

  return {
    get size() {
      return size;
    },
    add: (job) => {
      const groups = classes[job.dutyClass];
      const key = toByteString(job.root);
      const group = groups.get(key);
      size += 1;
      if (group === undefined) groups.set(key, { key, root: job.root, jobs: [job], deadlineMs: job.deadlineMs });
      else {
        group.jobs.push(job);
        group.deadlineMs = Math.min(group.deadlineMs, job.deadlineMs);
      }
    },
    take: (sizeMax) => {
      dropExpired();
      const bound = Math.min(sizeMax, BATCH_SIZE_MAX);
      const groups: BatchGroup[] = [];
      let taken = 0;
      let micros = 0;
      while (taken < bound && (taken === 0 || micros < BATCH_MICROS)) {
        const next = mostUrgent();
        if (next === undefined) break;
        const [waiting, group] = next;
        const warmth = warmthOf(group.key);
        // A dearer group than there is time left for begins the next batch.
        if (taken > 0 && micros + costs.ofGroup(1, warmth) > BATCH_MICROS) break;
        const jobs = takeFrom(waiting, group, Math.min(bound - taken, costs.fitting(BATCH_MICROS - micros, warmth)));
        taken += jobs.length;
        micros += costs.ofGroup(jobs.length, warmth);
        groups.push({ root: group.root, jobs, waiting: group.jobs.length });
      }
      return taken === 0 ? undefined : { groups, size: taken, micros };
    },
    giveUpFor: (dutyClass) => {
      for (const name of DUTY_CLASSES.toReversed()) {
        if (name === dutyClass) return undefined;
        for (const group of classes[name].values()) return takeFrom(classes[name], group, 1)[0];
      }
      return undefined;
    },
    drain: () => {
      const jobs = DUTY_CLASSES.flatMap((name) => [...classes[name].values()].flatMap((group) => group.jobs));
      for (const name of DUTY_CLASSES) classes[name].clear();
      size = 0;
      return jobs;
    },
  };
};
