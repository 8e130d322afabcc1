/** The bench's end of the load generator. */

import { fileURLToPath } from "node:url";
import { type Child, startChild } from "../child.ts";
import type { ArriveOrder, OpenOrder, Order, SaturateOrder, WindowResult } from "./orders.ts";

/** A generator with open connections. */
export interface Generator {
  readonly pid: number;
  saturate(order: Omit<SaturateOrder, "kind">): Promise<WindowResult>;
  arrive(order: Omit<ArriveOrder, "kind">): Promise<WindowResult>;
  close(): Promise<void>;
}

/** Time to open the connections. */
const OPEN_MS = 30_000;
/** Time for a window beyond its own: a round that began within it is finished. */
const WINDOW_EXTRA_MS = 300_000;

/** Our own driver, and autocannon to check it. */
const PROGRAMS = {
  raw: new URL("./generator.ts", import.meta.url),
  autocannon: new URL("./cross-check.ts", import.meta.url),
} as const;

/** Which of them. */
export type GeneratorName = keyof typeof PROGRAMS;

/** Starts a generator and opens its connections. */
export const startGenerator = async (name: GeneratorName, options: Omit<OpenOrder, "kind">): Promise<Generator> => {
  const child: Child<Order, WindowResult> = startChild(fileURLToPath(PROGRAMS[name]));
  try {
    await child.ask({ kind: "open", ...options }, { timeoutMs: OPEN_MS });
  } catch (error) {
    await child.close();
    throw error;
  }
  const timeoutMs = (seconds: number): number => seconds * 1_000 + WINDOW_EXTRA_MS;
  return {
    pid: child.pid,
    saturate: (order) => child.ask({ kind: "saturate", ...order }, { timeoutMs: timeoutMs(order.seconds) }),
    arrive: (order) => child.ask({ kind: "arrive", ...order }, { timeoutMs: timeoutMs(order.seconds) }),
    close: () => child.close(),
  };
};
