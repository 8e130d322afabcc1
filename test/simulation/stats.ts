/** What is counted in a run, and added up over runs. */

/** Counts by name. */
export type Counts = Record<string, number>;

/** The counts of one run or of many. */
export interface Stats {
  /** Runs. */
  seeds: number;
  /** Requests that validator clients sent, retries included. */
  operations: number;
  /** Signatures that left an enclave, repeats included. */
  signatures: number;
  /** Events of the simulated clock: messages, answers, timers. */
  events: number;
  /** Refusals of enclaves, by rule. */
  refusals: Counts;
  /** Failures that clients were told of, by code. */
  failures: Counts;
  /** Failures and mishaps that were injected, by kind. */
  faults: Counts;
  /** What guards counted: conflicts, repeats, round trips, suspicions. */
  guards: Counts;
}

/** Nothing counted yet. */
export const createStats = (): Stats => ({
  seeds: 0,
  operations: 0,
  signatures: 0,
  events: 0,
  refusals: {},
  failures: {},
  faults: {},
  guards: {},
});

/** One more of a name. */
export const countOne = (counts: Counts, name: string): void => {
  counts[name] = (counts[name] ?? 0) + 1;
};

/** Adds `more` to `total`. */
export const addStats = (total: Stats, more: Stats): void => {
  for (const name of ["seeds", "operations", "signatures", "events"] as const) total[name] += more[name];
  for (const name of ["refusals", "failures", "faults", "guards"] as const) {
    for (const [kind, count] of Object.entries(more[name])) total[name][kind] = (total[name][kind] ?? 0) + count;
  }
};
