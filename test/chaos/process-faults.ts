/** Faults of Testudo's own processes: killed and frozen, found by process id below the one that was started. */

import { readFileSync } from "node:fs";
import type { Testudo } from "../helpers/testudo.ts";
import type { Random } from "../simulation/random.ts";
import { type Applied, type Fault, WORKER_KILL } from "./fault.ts";
import { enclavePids, type Monitor } from "./monitor.ts";

/** What they break. */
export interface ProcessFaultOptions {
  readonly testudo: Testudo;
  readonly monitor: Monitor;
}

/** Below the limit at which `up` gives up (10 within a minute), also when a minute begins in the middle. */
const RESTARTS_PER_MINUTE_MAX = 3;

/** All faults of processes. */
export const processFaults = (options: ProcessFaultOptions): Fault[] => [
  {
    kind: WORKER_KILL,
    scope: "worker",
    durationMs: [300, 1_000],
    apply: async (random) => killWorker(options, random),
  },
  {
    kind: "SIGSTOP of a worker",
    scope: "worker",
    durationMs: [300, 4_000],
    apply: async (random) => freezeWorker(options, random),
  },
  {
    kind: "kill -9 of all workers",
    scope: "service",
    durationMs: [100, 100],
    apply: async () => killAllWorkers(options),
  },
  {
    kind: "kill -9 of the gateway",
    scope: "service",
    durationMs: [100, 100],
    perMinuteMax: RESTARTS_PER_MINUTE_MAX,
    apply: async () => signalPart(options, { part: "gateway", signal: "SIGKILL" }),
  },
  {
    kind: "SIGSTOP of the gateway",
    scope: "service",
    durationMs: [200, 3_000],
    apply: async () => signalPart(options, { part: "gateway", signal: "SIGSTOP" }),
  },
  {
    kind: "kill -9 of the pool-manager",
    scope: "service",
    durationMs: [100, 100],
    perMinuteMax: RESTARTS_PER_MINUTE_MAX,
    apply: async () => signalPart(options, { part: "pool", signal: "SIGKILL" }),
  },
  {
    kind: "SIGSTOP of the pool-manager",
    scope: "service",
    durationMs: [200, 2_000],
    apply: async () => signalPart(options, { part: "pool", signal: "SIGSTOP" }),
  },
];

/** One that is ready, while another one stays. */
const readyWorker = (
  { testudo, monitor }: ProcessFaultOptions,
  random: Random,
): { cid: number; pid: number } | undefined => {
  const { readyCids } = monitor;
  if (readyCids.length < 2) return undefined;
  const cid = random.pick(readyCids);
  const pid = enclavePids(testudo).get(cid);
  return pid === undefined ? undefined : { cid, pid };
};

const killWorker = (options: ProcessFaultOptions, random: Random): Applied | undefined => {
  const worker = readyWorker(options, random);
  if (worker === undefined) return undefined;
  process.kill(worker.pid, "SIGKILL");
  return { detail: `enclave ${worker.cid}`, undo: async () => undefined };
};

const freezeWorker = (options: ProcessFaultOptions, random: Random): Applied | undefined => {
  const worker = readyWorker(options, random);
  if (worker === undefined) return undefined;
  const thaw = freezeProcess(worker.pid);
  const forget = options.monitor.freeze(worker.cid, worker.pid);
  return {
    detail: `enclave ${worker.cid}`,
    undo: async () => {
      thaw();
      forget();
    },
  };
};

const killAllWorkers = ({ testudo, monitor }: ProcessFaultOptions): Applied | undefined => {
  const pids = [...enclavePids(testudo).values()];
  if (pids.length === 0) return undefined;
  const unblock = monitor.block();
  for (const pid of pids) signalProcess(pid, "SIGKILL");
  return { detail: `${pids.length} enclaves`, undo: async () => unblock() };
};

const signalPart = (
  { testudo, monitor }: ProcessFaultOptions,
  { part, signal }: { part: "gateway" | "pool"; signal: "SIGKILL" | "SIGSTOP" },
): Applied | undefined => {
  const pid = pidOf(testudo, part);
  if (pid === undefined) return undefined;
  const unblock = monitor.block();
  const undo = signal === "SIGKILL" ? kill(pid) : freezeProcess(pid);
  return {
    detail: `process ${pid}`,
    undo: async () => {
      undo();
      unblock();
    },
  };
};

const pidOf = (testudo: Testudo, part: "gateway" | "pool"): number | undefined => {
  try {
    return testudo.processes()[part];
  } catch {
    return undefined; // it is being restarted
  }
};

const kill = (pid: number): (() => void) => {
  signalProcess(pid, "SIGKILL");
  return () => undefined;
};

/** Stops a process; the returned function lets it go on, if it is still the same. */
const freezeProcess = (pid: number): (() => void) => {
  const startTicks = startTicksOf(pid);
  signalProcess(pid, "SIGSTOP");
  return () => {
    if (startTicks !== undefined && startTicksOf(pid) === startTicks) signalProcess(pid, "SIGCONT");
  };
};

/** When a process began, in clock ticks since boot (proc(5), field 22): with the id it names one process for ever. */
const startTicksOf = (pid: number): string | undefined => {
  try {
    // The second field is a name in brackets that may hold spaces.
    return readFileSync(`/proc/${pid}/stat`, "utf8").split(") ").at(-1)?.split(" ")[19];
  } catch {
    return undefined;
  }
};

const signalProcess = (pid: number, signal: NodeJS.Signals): void => {
  try {
    process.kill(pid, signal);
  } catch {
    // gone already
  }
};
