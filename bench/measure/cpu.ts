/**
 * CPU time of other processes, thread by thread, in nanoseconds: `/proc/<pid>/task/<tid>/schedstat` (Linux,
 * Documentation/scheduler/sched-stats.rst), which counts user and system time and is no estimate by clock ticks.
 */

import { existsSync, readdirSync, readFileSync } from "node:fs";

/** What a thread of a Node process does. */
export const THREAD_KINDS = ["main", "workers", "helpers"] as const;
/** One of {@link THREAD_KINDS}. */
export type ThreadKind = (typeof THREAD_KINDS)[number];

/** CPU nanoseconds by kind of thread. */
export type ThreadNanos = Readonly<Record<ThreadKind, number>>;

/** Names that Node and V8 give their own threads: garbage collection, compilation, file access. */
const HELPER_NAMES = /^(node-)?(V8Worker|libuv-worker|DelayedTaskSche|SignalInspector|Signal inspector)/;

/** Whether this system tells. */
export const canMeasureCpu = (): boolean => existsSync("/proc/self/task") && existsSync("/proc/self/schedstat");

/** CPU that the threads of a process have used since each began. A process that is gone has used none. */
export const readThreadNanos = (pid: number): ThreadNanos => {
  const nanos = { main: 0, workers: 0, helpers: 0 };
  for (const tid of threadsOf(pid)) {
    const folder = `/proc/${pid}/task/${tid}`;
    try {
      const [ran = "0"] = readFileSync(`${folder}/schedstat`, "utf8").split(" ");
      nanos[kindOf({ pid, tid, name: readFileSync(`${folder}/comm`, "utf8").trim() })] += Number(ran);
    } catch {
      // the thread ended in between
    }
  }
  return nanos;
};

/** What came on top between two readings. */
export const subtractNanos = (after: ThreadNanos, before: ThreadNanos): ThreadNanos => ({
  main: after.main - before.main,
  workers: after.workers - before.workers,
  helpers: after.helpers - before.helpers,
});

/** Of all threads. */
export const totalNanos = ({ main, workers, helpers }: ThreadNanos): number => main + workers + helpers;

/** Resident memory in bytes (`VmRSS`); 0 for a process that is gone. */
export const readResidentBytes = (pid: number): number => {
  try {
    const [, kibibytes = "0"] = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, "utf8")) ?? [];
    return Number(kibibytes) * 1024;
  } catch {
    return 0;
  }
};

const threadsOf = (pid: number): readonly string[] => {
  try {
    return readdirSync(`/proc/${pid}/task`);
  } catch {
    return [];
  }
};

const kindOf = ({ pid, tid, name }: { pid: number; tid: string; name: string }): ThreadKind => {
  if (Number(tid) === pid) return "main";
  return HELPER_NAMES.test(name) ? "helpers" : "workers";
};
