/** When a long-running command ends: on a signal, or when the process that started it is gone. */

import type { NetworkJson } from "#protocol/signing/network.ts";

/** Resolves with the reason to stop. Later signals change nothing: the way down has deadlines of its own. */
export const untilStopped = (): Promise<string> =>
  new Promise((resolve) => {
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => resolve(signal));
    // Started with an IPC channel (by `up` or the launcher): its end means that the starter died.
    if (process.channel !== undefined) process.once("disconnect", () => resolve("the starting process is gone"));
  });

/** Tells the starter something, where there is one that listens. */
export const notify = (notice: Notice): void => {
  if (process.connected) process.send?.(notice);
};

/** What `pool` and `gateway` tell `up` over the IPC channel. */
export type Notice =
  | { readonly kind: "opening"; readonly done: number; readonly total: number }
  | {
      readonly kind: "pool-ready" /** the chain, where it is known */;
      readonly genesisValidatorsRootHex?: string | undefined;
      /** What is in force: with `--keys-from aws` the sealed configuration says so, not the options. */
      readonly network: NetworkJson;
      readonly store: string;
      readonly clockBoundEpochs?: number | undefined;
    }
  | { readonly kind: "listening"; readonly url: string; readonly metricsUrl?: string };
