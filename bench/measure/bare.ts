/**
 * The unit of all ratios: CPU of one bare `@chainsafe/blst` signature. Measured between the load's windows, by as many
 * processes at once as there are cores, so that clock frequency, caches and neighbours are what they are under load.
 */

import { fileURLToPath } from "node:url";
import { type Child, startChild } from "../child.ts";
import type { BareAnswer, BareOrder } from "./bare-child.ts";

/** Signing processes that wait for orders. */
export interface Bare {
  /** All sign for that long; CPU of one signature in µs. */
  measure(milliseconds: number): Promise<number>;
  close(): Promise<void>;
}

/** Below this a thread's CPU clock, which moves with the scheduler's ticks, is too coarse. */
export const BARE_MS_MIN = 200;
/** Time to answer beyond that of the order. */
const ANSWER_MS = 20_000;

/** Starts `processes` of them. */
export const startBare = ({ processes }: { processes: number }): Bare => {
  const path = fileURLToPath(new URL("./bare-child.ts", import.meta.url));
  const children = Array.from({ length: processes }, (): Child<BareOrder, BareAnswer> => startChild(path));
  return {
    measure: async (milliseconds) => {
      const order = { milliseconds: Math.max(milliseconds, BARE_MS_MIN) };
      const answers = await Promise.all(
        children.map((child) => child.ask(order, { timeoutMs: order.milliseconds + ANSWER_MS })),
      );
      const sum = (read: (answer: BareAnswer) => number): number =>
        answers.reduce((total, answer) => total + read(answer), 0);
      return sum(({ cpuMicros }) => cpuMicros) / sum(({ signatures }) => signatures);
    },
    close: async () => {
      await Promise.all(children.map((child) => child.close()));
    },
  };
};
