/**
 * The process as metrics, under the usual names. The library's `collectDefaultMetrics` starts observers that nobody can
 * end; these end with `close`.
 */

import { monitorEventLoopDelay } from "node:perf_hooks";
import { Counter, Gauge, type Registry } from "@prometheus-io/client";

/** Resolution of the event loop's delay, as in the library. */
const LOOP_RESOLUTION_MS = 10;
const NANOSECONDS = 1e9;
const MICROSECONDS = 1e6;

/** Adds CPU, memory, start time, version and event loop delay. */
export const registerProcessMetrics = (registers: Registry[]): { close(): void } => {
  new Counter({
    name: "process_cpu_seconds_total",
    help: "User and system CPU time.",
    registers,
    collect() {
      const { user, system } = process.cpuUsage();
      this.reset();
      this.inc((user + system) / MICROSECONDS);
    },
  });
  const gauge = (name: string, help: string, read: () => number): void => {
    new Gauge({
      name,
      help,
      registers,
      collect() {
        this.set(read());
      },
    });
  };
  gauge("process_resident_memory_bytes", "Resident memory.", () => process.memoryUsage.rss());
  gauge("nodejs_heap_size_used_bytes", "Heap in use.", () => process.memoryUsage().heapUsed);
  gauge("nodejs_external_memory_bytes", "Memory outside of the heap.", () => process.memoryUsage().external);
  gauge("process_start_time_seconds", "Start of the process, Unix time.", () => performance.timeOrigin / 1000);
  new Gauge({ name: "nodejs_version_info", help: "Node.js version.", labelNames: ["version"], registers }).set(
    { version: process.version },
    1,
  );
  return registerLoopDelay(registers);
};

const registerLoopDelay = (registers: Registry[]): { close(): void } => {
  const delay = monitorEventLoopDelay({ resolution: LOOP_RESOLUTION_MS });
  delay.enable();
  new Gauge({
    name: "nodejs_eventloop_lag_p99_seconds",
    help: "99th percentile of the event loop's delay since the last scrape.",
    registers,
    collect() {
      this.set(delay.percentile(99) / NANOSECONDS);
      delay.reset();
    },
  });
  return { close: () => void delay.disable() };
};
