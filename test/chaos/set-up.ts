/** What a run needs to know of its store, and the stores there are. */

import type { Testudo } from "../helpers/testudo.ts";
import type { Fault } from "./fault.ts";
import type { Monitor } from "./monitor.ts";
import { openCluster } from "./set-ups/cluster.ts";
import { openRedis } from "./set-ups/redis.ts";
import { openSentinel } from "./set-ups/sentinel.ts";
import { openSqlite } from "./set-ups/sqlite.ts";

/** Names for `--set-up`. */
export const SET_UPS = ["sqlite", "redis", "sentinel", "cluster"] as const;
export type SetUpName = (typeof SET_UPS)[number];

/** A store that runs, with its own ways to break. */
export interface SetUp {
  /** For the report. */
  readonly description: string;
  /** Arguments of `testudo up`. */
  readonly args: readonly string[];
  /** Data folder of `testudo up`; undefined: any. */
  readonly dataPath?: string;
  /** Whether slashing protection is promised over this store, whatever happens to it. */
  readonly isSafe: boolean;
  /** Its own faults; Testudo's processes are the runner's. */
  faults(options: { testudo: Testudo; monitor: Monitor }): Fault[];
  /** Whether it takes writes now, asked of the store itself. Never rejects. */
  isWritable(): Promise<boolean>;
  /** What happened to the store, for the report. */
  notes?(): readonly string[];
  /** What could not be set up, in words. */
  readonly skipped: readonly string[];
  /** Ends what it started and removes what it made; Testudo has ended before. */
  close(): Promise<void>;
}

/** How each is started. */
export const openSetUp = {
  sqlite: openSqlite,
  redis: openRedis,
  sentinel: openSentinel,
  cluster: openCluster,
} as const satisfies Record<SetUpName, () => Promise<SetUp>>;
