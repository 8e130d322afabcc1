/** What every scenario gets and gives. */

import type { GeneratorName } from "./load/client.ts";
import type { Run } from "./result.ts";
import type { StoreName } from "./stores.ts";

/** Options of the command line, complete. */
export interface BenchOptions {
  readonly stores: readonly StoreName[];
  /** Undefined: the scenario's own. */
  readonly keys: number | undefined;
  readonly connections: number;
  /** Of load windows together, for each measurement. */
  readonly seconds: number;
  readonly enclaves: number;
  /** Signing threads of each enclave; undefined: cores shared out. */
  readonly threads: number | undefined;
  /** Of the soak. */
  readonly minutes: number;
  readonly seed: number;
  readonly generator: GeneratorName;
  /** Folder for CPU profiles; undefined: none. */
  readonly cpuProfile: string | undefined;
  /** Further arguments of `testudo up`. */
  readonly upArgs: readonly string[];
}

/** What a scenario needs besides. */
export interface BenchModules {
  /** Tells what happens now. */
  readonly status: (text: string) => void;
  /** Has something closed even when the bench is interrupted, and gives it back; closing twice is once. */
  readonly own: <T extends { close(): Promise<unknown> }>(resource: T) => T;
}

/** One scenario. */
export interface Scenario {
  /** One line for the list. */
  readonly summary: string;
  /** Several for `--help`. */
  readonly description: string;
  /** Where they are not the common ones. */
  readonly defaults?: Partial<BenchOptions>;
  run(options: BenchOptions, modules: BenchModules): Promise<Run[]>;
}
