/** A real `testudo up` over a real store, with as many keys as asked for: what a scenario measures. */

import { createHash } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { SecretKey } from "@chainsafe/blst";
import { createTestbed, type Testbed, type Testudo } from "../test/helpers/testudo.ts";
import type { PartPids } from "./measure/parts.ts";
import { PROFILED_ENVIRONMENT } from "./profile.ts";
import type { BenchModules } from "./scenario.ts";
import { openStore, type Store, type StoreName } from "./stores.ts";

/** What to set up. */
export interface BedOptions {
  readonly store: StoreName;
  readonly keys: number;
  readonly enclaves: number;
  /** Signing threads of each enclave. */
  readonly threads: number;
  readonly seed: number;
  /** Further arguments of `testudo up`. */
  readonly args?: readonly string[];
  /** Whether its processes shall be able to be profiled. */
  readonly profiled?: boolean;
}

/** Kinds of signers that an enclave reports; `unknown` when it reports none. */
export type Engine = "native" | "portable" | "unknown";

/** What runs. */
export interface Bed {
  readonly testudo: Testudo;
  readonly store: Store;
  readonly engine: Engine;
  /** From the start of the command until all enclaves are ready and all keys listed. */
  readonly readyMs: number;
  /** Looked up anew at each call. */
  pids(): PartPids;
  /** Stops it and starts it again on the same data, under the same rules as {@link readyMs}; {@link testudo} is the old one. */
  restart(): Promise<number>;
  /** Stops Testudo in order and removes everything. */
  close(): Promise<void>;
}

/** A Testudo that was refused its store; the message says why. */
export class StoreRefused extends Error {}

/** Time to open a key, with a wide margin: `up` must not be given up while it works. */
const READY_MS_PER_KEY = 10;
const READY_MS_MIN = 45_000;

/**
 * Sets it up. The keys are the same for the same seed. What is started is `own`ed from the beginning.
 * @throws StoreRefused when the enclaves do not take the store
 */
export const openBed = async (options: BedOptions, { own }: Pick<BenchModules, "own">): Promise<Bed> => {
  const { keys, enclaves, threads, seed, args = [], profiled = false } = options;
  const bed = createTestbed();
  const keysPath = bed.file("keys.txt", secretLines({ keys, seed }));
  const dataPath = bed.folder();
  const store = own(await openStore(options.store));
  own(bed);
  const upArgs = [
    ...["--keys", keysPath, "--enclaves", String(enclaves), "--threads", String(threads)],
    ...["--log-level", "info", ...store.args, ...args],
  ];
  const timeoutMs = Math.max(READY_MS_MIN, keys * READY_MS_PER_KEY);
  const start = async (): Promise<{ testudo: Testudo; readyMs: number }> => {
    const startedMs = performance.now();
    const testudo = await bed.up(upArgs, { dataPath, timeoutMs, env: profiled ? PROFILED_ENVIRONMENT : {} });
    await untilAllReady(testudo, { enclaves });
    return { testudo, readyMs: performance.now() - startedMs };
  };
  let running: Testudo | undefined;
  const close = async (): Promise<void> => {
    try {
      await bed.close(running);
    } finally {
      await store.close();
    }
  };
  try {
    if (!store.isAccepted) throw new StoreRefused(await findRefusal(bed, store));
    const { testudo, readyMs } = await start();
    running = testudo;
    if (testudo.publicKeys.length !== keys) throw new Error(`expected ${keys} keys, got ${testudo.publicKeys.length}`);
    return {
      testudo,
      store,
      engine: engineIn(testudo.command.stderr(), args),
      readyMs,
      pids: () => {
        const { up, pool, gateway, enclaves: workers } = testudo.processes();
        const enclavePids = [...workers.values()];
        return { gateway: [gateway], enclaves: enclavePids, poolManager: [pool], launcher: [up], redis: store.pids };
      },
      restart: async () => {
        await testudo.stop();
        running = undefined;
        const again = await start();
        running = again.testudo;
        return again.readyMs;
      },
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
};

/** What the enclaves say about a store that they must not take. @throws Error when they take it, or say nothing */
const findRefusal = async (bed: Testbed, store: Store): Promise<string> => {
  const command = bed.start("up", "--data", bed.folder(), "--port", "0", "--metrics-port", "0", ...store.args);
  const [, reason = ""] = await command.waitFor(/"reason":"slashing store: ([^"]+)"/, { stream: "stderr" });
  command.signal("SIGINT");
  await command.ended;
  return reason;
};

/** `up` is up with its first enclave; the others follow. */
const untilAllReady = async ({ url }: Testudo, { enclaves }: { enclaves: number }): Promise<void> => {
  const deadlineMs = performance.now() + READY_MS_MIN;
  for (;;) {
    const health = await (await fetch(`${url}/healthcheck`)).text();
    if ((health.match(/"state":"ready"/g) ?? []).length === enclaves) return;
    if (performance.now() > deadlineMs) throw new Error(`expected ${enclaves} ready enclaves: ${health}`);
    await sleep(50);
  }
};

/** Lines for `--keys <file>`. */
const secretLines = ({ keys, seed }: { keys: number; seed: number }): string =>
  Array.from({ length: keys }, (_, index) => {
    const material = createHash("sha256").update(`testudo bench ${seed} ${index}`).digest();
    return `${SecretKey.fromKeygen(material).toHex()}\n`;
  }).join("");

/** Enclaves say in their log what they sign with, unless they were told. */
const engineIn = (log: string, args: readonly string[]): Engine => {
  if (log.includes("signing with the native signer")) return "native";
  return log.includes("signing with @chainsafe/blst") || args.includes("--no-native") ? "portable" : "unknown";
};
