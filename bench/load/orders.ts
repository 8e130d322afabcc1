/** What the bench tells the load generator, and what it answers. */

import type { HistogramData } from "../measure/histogram.ts";
import type { WorkloadName } from "./workload.ts";

/** Opens the connections. */
export interface OpenOrder {
  readonly kind: "open";
  readonly url: string;
  readonly publicKeys: readonly string[];
  readonly connections: number;
  readonly workload: WorkloadName;
}

/** Closed loop: every connection sends its next request when the last was answered; whole rounds, at least so long. */
export interface SaturateOrder {
  readonly kind: "saturate";
  readonly seconds: number;
}

/** Open loop: requests arrive at their times, whether earlier ones were answered or not. */
export interface ArriveOrder {
  readonly kind: "arrive";
  readonly ratePerSecond: number;
  readonly seconds: number;
  readonly seed: number;
}

/** Any of them. */
export type Order = OpenOrder | SaturateOrder | ArriveOrder;

/** A signature to be verified. */
export interface Sample {
  readonly publicKey: string;
  /** 0x-hex of what should have been signed. */
  readonly root: string;
  readonly signature: string;
}

/** What came of a window of load. */
export interface WindowResult {
  /** From the first request to the last answer. */
  readonly elapsedMs: number;
  /** Answers with status 200 and a signature. */
  readonly signatures: number;
  /** All others. */
  readonly errors: number;
  /** The first of them, in words. */
  readonly firstError?: string;
  /** Of the signatures, in µs: from the sending, or in open loop from the scheduled arrival. */
  readonly latency: HistogramData;
  /** Open loop: from the scheduled arrival until the generator noticed. It is part of the latency, and not the server's. */
  readonly lateness?: HistogramData;
  readonly samples: readonly Sample[];
}

/** A generator's process: obeys one order after the other, and ends with the bench or at the first failure. */
export const serveOrders = (name: string, obey: (order: Order) => Promise<object>): void => {
  process.on("message", (order) => {
    void obey(order as Order).then(
      (result) => process.send?.(result),
      (error: unknown) => {
        process.stderr.write(`${name}: ${error instanceof Error ? error.stack : String(error)}\n`);
        process.exit(1);
      },
    );
  });
  process.once("disconnect", () => process.exit(0));
};
