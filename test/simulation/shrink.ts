/** Makes a failing plan small: leaves out requests, failures, mishaps and retries as long as it still fails. */

import type { Plan } from "./plan.ts";
import { runPlan } from "./run.ts";

/** Runs that shrinking may take: some seconds. */
const RUNS_MAX = 800;
/** What is left out later may make more of the earlier needless. */
const ROUNDS_MAX = 4;

/** A plan that fails as well, and has little in it that could be left out. */
export const shrinkPlan = async (failing: Plan): Promise<Plan> => {
  let runs = 0;
  const fails = async (plan: Plan): Promise<boolean> => {
    runs += 1;
    return runs <= RUNS_MAX && (await runPlan(plan)).violations.length > 0;
  };
  let best = failing;
  for (let round = 0; round < ROUNDS_MAX; round += 1) {
    const before = best;
    best = await shrinkOnce(best, fails);
    if (sizeOf(best) === sizeOf(before)) break;
  }
  return best;
};

type Fails = (plan: Plan) => Promise<boolean>;

const shrinkOnce = async (failing: Plan, fails: Fails): Promise<Plan> => {
  let plan = failing;
  const requests = await reduce(plan.requests, (left) => fails({ ...plan, requests: left }));
  plan = { ...plan, requests };
  const faults = await reduce(plan.faults, (left) => fails({ ...plan, faults: left }));
  plan = { ...plan, faults };
  const patient = { ...plan, requests: plan.requests.map((request) => ({ ...request, retries: 0 })) };
  if (await fails(patient)) plan = patient;
  const { mishaps } = await runPlan(plan);
  const mute = (left: readonly string[]): Plan => {
    const kept = new Set(left);
    return { ...plan, muted: new Set([...plan.muted, ...mishaps.filter((name) => !kept.has(name))]) };
  };
  return mute(await reduce(mishaps, (left) => fails(mute(left))));
};

/** Leaves items out while the rest still fails: halves first, single ones at last. */
const reduce = async <Item>(
  items: readonly Item[],
  fails: (left: readonly Item[]) => Promise<boolean>,
): Promise<readonly Item[]> => {
  let kept = items;
  for (let size = Math.ceil(items.length / 2); size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2)) {
    for (let start = 0; start < kept.length; ) {
      const left = kept.filter((_, index) => index < start || index >= start + size);
      if (await fails(left)) kept = left;
      else start += size;
    }
  }
  return kept;
};

const sizeOf = ({ requests, faults, muted }: Plan): number =>
  requests.reduce((sum, { retries }) => sum + 1 + retries, 0) + faults.length - muted.size;
