/** Faults that a test or a demonstration switches on; each is used up by the requests it hits. */

import { KmsFault } from "./errors.ts";
import type { Answer, Operation } from "./operations.ts";

/** The kinds that are counted down. */
export const FAULT_KINDS = ["throttle", "fail", "hang", "deny"] as const;

/** One of {@link FAULT_KINDS}. */
export type FaultKind = (typeof FAULT_KINDS)[number];

/** Changes an answer before it is sent: what a hostile endpoint would do. */
export type Rewrite = (operation: Operation, answer: Answer) => Answer;

/** The switches. */
export class Faults {
  readonly #left = new Map<FaultKind, number>();
  #rewrite: Rewrite | undefined;

  /** The next `times` requests: throttled, failed with 500, never answered, or denied. Infinity: until set to 0. */
  set(kind: FaultKind, times: number): void {
    this.#left.set(kind, times);
  }

  /** Every answer from now on; undefined: none. */
  setRewrite(rewrite: Rewrite | undefined): void {
    this.#rewrite = rewrite;
  }

  /** The fault that the next request meets, in the order of {@link FAULT_KINDS}. */
  take(): FaultKind | undefined {
    for (const kind of FAULT_KINDS) {
      const left = this.#left.get(kind) ?? 0;
      if (left <= 0) continue;
      this.#left.set(kind, left - 1);
      return kind;
    }
    return undefined;
  }

  rewrite(operation: Operation, answer: Answer): Answer {
    return this.#rewrite?.(operation, answer) ?? answer;
  }
}

/** The error of a fault; hanging has none. */
export const faultOf = (kind: Exclude<FaultKind, "hang">): KmsFault => {
  switch (kind) {
    case "throttle":
      return new KmsFault(
        "ThrottlingException",
        "You have exceeded the rate at which you may call KMS. Reduce the frequency of your calls.",
      );
    case "fail":
      return new KmsFault("KMSInternalException", "", 500);
    case "deny":
      return new KmsFault("AccessDeniedException", "Denied by a switch of the simulator");
  }
};
