/** How long a lone durable write to the store takes under the load of the moment: what every protected duty waits for. */

import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Bed } from "../bed.ts";
import { type Child, startChild } from "../child.ts";
import type { CommitOrder, CommitTarget } from "./commit-child.ts";
import type { HistogramData } from "./histogram.ts";

/** A process that commits. */
export interface CommitProbe {
  /** Commits now and then for so long. */
  measure(seconds: number): Promise<HistogramData>;
  close(): Promise<void>;
}

const ANSWER_MS = 30_000;

/** Starts it for the store of a bed. */
export const startCommitProbe = ({ store, testudo }: Bed): CommitProbe => {
  const child: Child<CommitOrder, HistogramData> = startChild(
    fileURLToPath(new URL("./commit-child.ts", import.meta.url)),
  );
  const target: CommitTarget =
    store.socketPath === undefined
      ? { kind: "sqlite", path: join(testudo.dataPath, "bench-probe.sqlite") }
      : { kind: "redis", path: store.socketPath };
  return {
    measure: (seconds) => child.ask({ seconds, target }, { timeoutMs: seconds * 1_000 + ANSWER_MS }),
    close: () => child.close(),
  };
};
