/**
 * SQLite in the data folder, which gets a small disk of its own when this process may mount one; otherwise (or besides)
 * the pool-manager's files may not grow any more (RLIMIT_FSIZE), which SQLite meets as a failed write.
 */

import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Testudo } from "../../helpers/testudo.ts";
import type { Applied, Fault } from "../fault.ts";
import type { Monitor } from "../monitor.ts";
import type { SetUp } from "../set-up.ts";

/** Size of the disk: the data folder takes about 6 MiB of it. */
const DISK_MIB = 32;
/** SQLite's log is used from its beginning again after 1000 pages (https://www.sqlite.org/wal.html#ckpt): a full disk only hurts while it still grows. */
const LOG_BYTES_MAX = 3_000_000;
/** Time between two fillings: a checkpoint gives space back. */
const REFILL_MS = 20;

/** Makes the folder and, if possible, the disk. */
export const openSqlite = async (): Promise<SetUp> => {
  const folder = mkdtempSync(join(tmpdir(), "tt-"));
  const hasDisk = run("mount", ["-t", "tmpfs", "-o", `size=${DISK_MIB}m,mode=700`, "testudo-chaos", folder]);
  const hasLimit = run("prlimit", ["--version"]);
  const dataPath = join(folder, "data");
  return {
    description: `SQLite in the data folder${hasDisk ? `, on a disk of ${DISK_MIB} MiB` : ""}`,
    args: ["--store", "sqlite"],
    dataPath,
    isSafe: true,
    faults: (options) => [
      ...(hasDisk ? [diskFull({ ...options, folder, dataPath })] : []),
      ...(hasLimit ? [filesLimited(options)] : []),
    ],
    // It has no face of its own: it is writable whenever nothing above is broken.
    isWritable: async () => true,
    skipped: [
      ...(hasDisk ? [] : ["full disk: skipped, this user may not mount a tmpfs"]),
      ...(hasLimit ? [] : ["limited files: skipped, there is no prlimit"]),
    ],
    close: async () => {
      if (hasDisk) execFileSync("umount", [folder]);
      rmSync(folder, { recursive: true, force: true });
    },
  };
};

interface DiskOptions {
  readonly testudo: Testudo;
  readonly monitor: Monitor;
}

/** Every free byte is taken, and whatever is given back meanwhile. */
const diskFull = ({
  testudo,
  monitor,
  folder,
  dataPath,
}: DiskOptions & { folder: string; dataPath: string }): Fault => ({
  kind: "full disk",
  scope: "service",
  // Long enough for a new pool-manager to come up on it.
  durationMs: [500, 5_000],
  // Where the log is long, the pool-manager is killed too, see below.
  perMinuteMax: 1,
  apply: async (): Promise<Applied | undefined> => {
    const unblock = monitor.block();
    const filler = new AbortController();
    const filling = fillUp(join(folder, "filler"), filler.signal);
    const logBytes = sizeOf(join(dataPath, "slashing.sqlite-wal"));
    const isLong = logBytes > LOG_BYTES_MAX;
    // The log would be overwritten, not grown. A new pool-manager empties it, and has to start on a full disk.
    if (isLong) killPool(testudo);
    return {
      detail: `log of ${logBytes} bytes${isLong ? ", pool-manager killed" : ""}`,
      undo: async () => {
        filler.abort();
        await filling;
        rmSync(join(folder, "filler"), { force: true });
        unblock();
      },
    };
  },
});

const fillUp = async (path: string, signal: AbortSignal): Promise<void> => {
  // Finer at the end: the last page, too.
  const sizes = [1 << 20, 1 << 16, 1 << 12];
  while (!signal.aborted) {
    for (const size of sizes) while (append(path, size));
    await sleep(REFILL_MS);
  }
};

const append = (path: string, size: number): boolean => {
  const before = sizeOf(path);
  try {
    writeFileSync(path, Buffer.alloc(size), { flag: "a" });
    return true;
  } catch {
    return sizeOf(path) > before + size; // never: but what was written in part stays
  }
};

/** No file of the pool-manager may be written any more, wherever it has free space. */
const filesLimited = ({ testudo, monitor }: DiskOptions): Fault => ({
  kind: "failing disk (RLIMIT_FSIZE)",
  scope: "service",
  durationMs: [300, 3_000],
  apply: async (): Promise<Applied | undefined> => {
    const pid = poolOf(testudo);
    if (pid === undefined) return undefined;
    const unblock = monitor.block();
    // The soft limit alone, so that it can be raised again.
    run("prlimit", ["--pid", String(pid), "--fsize=0:"]);
    return {
      detail: `process ${pid}`,
      undo: async () => {
        run("prlimit", ["--pid", String(pid), "--fsize=unlimited:"]);
        unblock();
      },
    };
  },
});

const poolOf = (testudo: Testudo): number | undefined => {
  try {
    return testudo.processes().pool;
  } catch {
    return undefined;
  }
};

const killPool = (testudo: Testudo): void => {
  const pid = poolOf(testudo);
  if (pid !== undefined) process.kill(pid, "SIGKILL");
};

const sizeOf = (path: string): number => statSync(path, { throwIfNoEntry: false })?.size ?? 0;

const run = (command: string, args: readonly string[]): boolean => {
  try {
    execFileSync(command, args, { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
};
