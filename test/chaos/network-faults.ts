/** Faults of the network between Testudo and Redis, by the proxy in front of each server. */

import type { Fault } from "./fault.ts";
import type { Monitor } from "./monitor.ts";
import type { ChaosProxy, ProxyMode } from "./proxy.ts";

/** What they break. */
export interface NetworkFaultOptions {
  readonly monitor: Monitor;
  /** The proxies that may be cut now; all of one fault's are cut at once. */
  readonly proxies: () => readonly ChaosProxy[];
}

/** Delay of each chunk in ms: beyond any region's round trip, below and above the 300 ms of a test's Sentinel. */
const DELAY_MS = [20, 400] as const;

const KINDS: readonly (readonly [mode: Exclude<ProxyMode, "pass">, kind: string])[] = [
  ["delay", "network: slow"],
  ["stall", "network: stalled"],
  ["drop", "network: everything dropped"],
  ["drop-replies", "network: replies dropped"],
  ["half-close", "network: half-closed"],
  ["refuse", "network: refused"],
];

/** All faults of the network. */
export const networkFaults = ({ monitor, proxies }: NetworkFaultOptions): Fault[] =>
  KINDS.map(([mode, kind]) => ({
    kind,
    scope: "service",
    durationMs: [200, mode === "refuse" ? 8_000 : 2_500],
    apply: async (random) => {
      const unblock = monitor.block();
      const cut = [random.pick(proxies())];
      const delayMs = Math.round(random.between(...DELAY_MS));
      for (const proxy of cut) proxy.set(mode, { delayMs });
      return {
        detail: `${cut.map(({ port }) => `port ${port}`).join(", ")}${mode === "delay" ? `, ${delayMs} ms` : ""}`,
        undo: async () => {
          for (const proxy of cut) proxy.set("pass");
          unblock();
        },
      };
    },
  }));
