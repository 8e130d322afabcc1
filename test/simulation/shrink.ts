/** Makes a failing plan small: leaves out requests, failures, mishaps and retries as long as it still fails. */

import type { Plan } from "./plan.ts";
import { runPlan } from "./run.ts";

/** Runs that shrinking may take: some seconds. */
const RUNS_MAX = 600;

/** A plan that fails as well, and has little in it that could be left out. */
export const shrinkPlan = async (failing: Plan): Promise<Plan> => {
  let runs = 0;
  let best = failing;

  /** Takes a smaller plan if it still fails. */
  const keepIfFailing = async (smaller: Plan): Promise<boolean> => {
    if (runs >= RUNS_MAX) return false;
    runs += 1;
    const { violations } = await runPlan(smaller);
    if (violations.length > 0) best = smaller;
    return violations.length > 0;
  };

  /** Leaves out pieces of a list: halves first, single items at last. */
  const leaveOut = async <Item>(items: () => readonly Item[], without: (left: readonly Item[]) => Plan) => {
    for (let size = Math.ceil(items().length / 2); size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2)) {
      for (let start = 0; start < items().length; ) {
        const left = items().filter((_, index) => index < start || index >= start + size);
        if (!(await keepIfFailing(without(left)))) start += size;
      }
    }
  };

  for (let before = -1; before !== runs && runs < RUNS_MAX; ) {
    const sizeBefore = sizeOf(best);
    await leaveOut(
      () => best.requests,
      (requests) => ({ ...best, requests }),
    );
    await leaveOut(
      () => best.faults,
      (faults) => ({ ...best, faults }),
    );
    await keepIfFailing({ ...best, requests: best.requests.map((request) => ({ ...request, retries: 0 })) });
    const { mishaps } = await runPlan(best);
    let left: readonly string[] = mishaps;
    const muted = best.muted;
    await leaveOut(
      () => left,
      (fewer) => ({ ...best, muted: new Set([...muted, ...mishaps.filter((name) => !fewer.includes(name))]) }),
    ).then(() => undefined);
    left = [];
    before = sizeOf(best) === sizeBefore ? runs : before;
  }
  return best;
};

const sizeOf = (plan: Plan): number =>
  plan.requests.length + plan.faults.length - plan.muted.size + plan.requests.reduce((sum, it) => sum + it.retries, 0);
