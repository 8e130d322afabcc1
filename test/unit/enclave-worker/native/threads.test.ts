/** The native signer under many threads: keys that come and go meanwhile, more roots than the caches hold. */

import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import type { SecretKey } from "@chainsafe/blst";
import { afterEach, describe, expect, test } from "vitest";
import { type NativeSigner, SIGN_PATH } from "#enclave/native/signer.ts";
import { runProgram } from "./c-program.ts";
import { importKey, NO_SIGNATURE, openNative, referenceHex, SEED, seeded, seededKey, seededNumber } from "./native.ts";
import type { SigningOrders, SigningReport } from "./signing-thread.ts";

const THREADS = 4;
const KEYS = 48;
const DURATION_MS = 3_000;

const native = await openNative();
const signer = native as NativeSigner;

/** Threads that sign until `stop`; their reports. */
const startThreads = async (orders: Omit<SigningOrders, "number" | "stop">) => {
  const stop = new SharedArrayBuffer(4);
  const workers = Array.from({ length: THREADS }, (_, number) => {
    const workerData: SigningOrders = { ...orders, stop, number };
    return new Worker(new URL("./signing-thread.ts", import.meta.url), { workerData });
  });
  await Promise.all(workers.map((worker) => once(worker, "message")));
  return async (): Promise<SigningReport[]> => {
    const reports = workers.map((worker) => once(worker, "message"));
    Atomics.store(new Int32Array(stop), 0, 1);
    const messages = await Promise.all(reports);
    await Promise.all(workers.map((worker) => worker.terminate()));
    return messages.map(([report]) => report as SigningReport);
  };
};

const concat = (roots: readonly Uint8Array[]): Uint8Array => new Uint8Array(Buffer.concat(roots));
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

describe.skipIf(native === undefined)("signing from several threads", () => {
  afterEach(() => {
    signer.removeAllKeys();
    signer.forgetRoots();
  });

  test("gives the right signature or none while keys are removed and imported again", async () => {
    const keys = Array.from({ length: KEYS }, (_, index) => seededKey(`thread ${index}`));
    const roots = Array.from({ length: 6 }, (_, index) => seeded(`thread root ${index}`));
    const expected = keys.map((key) => roots.map((root) => referenceHex(key, root)));
    const handles = new Uint32Array(new SharedArrayBuffer(4 * KEYS));
    const keyOf = new Map<number, number>();
    const removed = new Set<number>();
    const importAt = (index: number) => {
      // Any key in any place: a slot must not keep what its last key left.
      const key = seededNumber(KEYS, `import ${keyOf.size}`);
      const handle = importKey(signer, keys[key] as SecretKey);
      keyOf.set(handle, key);
      Atomics.store(handles, index, handle);
    };
    for (let index = 0; index < KEYS; index++) importAt(index);

    const stop = await startThreads({
      handles: handles.buffer as SharedArrayBuffer,
      roots: concat(roots),
      groupsMin: 300,
    });
    const until = performance.now() + DURATION_MS;
    for (let round = 0; round < 300 || performance.now() < until; round++) {
      const index = seededNumber(KEYS / 2, `remove ${round}`);
      const handle = Atomics.load(handles, index);
      // Half of the time the threads go on with a handle that names nothing.
      removed.add(handle);
      expect(signer.removeKey(handle)).toBe(true);
      if (round % 2 === 0) await pause(0);
      importAt(index);
      if (round % 64 === 0) await pause(1);
    }
    const reports = await stop();

    let right = 0;
    let none = 0;
    for (const entry of reports.flatMap(({ seen }) => seen)) {
      const [handle, root, signature] = entry.split(" ") as [string, string, string];
      if (signature === NO_SIGNATURE) {
        expect(removed.has(Number(handle)), `handle ${handle} was never removed, seed ${SEED}`).toBe(true);
        none += 1;
      } else {
        expect(signature, `seed ${SEED}`).toBe(expected[keyOf.get(Number(handle)) as number]?.[Number(root)]);
        right += 1;
      }
    }
    expect(removed.size).toBeGreaterThanOrEqual(300);
    expect(right).toBeGreaterThan(500);
    expect(none).toBeGreaterThan(0);
    expect(signer.stats().keys).toBe(KEYS);
  });

  test("more roots than hashes and tables are kept for", async () => {
    const keys = Array.from({ length: 8 }, (_, index) => seededKey(`many ${index}`));
    const roots = Array.from({ length: 150 }, (_, index) => seeded(`many root ${index}`));
    const handles = new Uint32Array(new SharedArrayBuffer(4 * keys.length));
    const keyOf = new Map<number, SecretKey>();
    for (const [index, key] of keys.entries()) {
      handles[index] = importKey(signer, key);
      keyOf.set(handles[index] as number, key);
    }
    const before = signer.stats();
    const stop = await startThreads({
      handles: handles.buffer as SharedArrayBuffer,
      roots: concat(roots),
      groupsMin: 300,
    });
    await pause(DURATION_MS / 2);
    const reports = await stop();
    const after = signer.stats();

    const seen = new Set(reports.flatMap((report) => report.seen));
    for (const entry of seen) {
      const [handle, root, signature] = entry.split(" ") as [string, string, string];
      const key = keyOf.get(Number(handle)) as SecretKey;
      expect(signature, `seed ${SEED}`).toBe(referenceHex(key, roots[Number(root)] as Uint8Array));
    }
    expect(seen.size).toBeGreaterThan(0.8 * keys.length * roots.length);
    expect(after.hashesComputed - before.hashesComputed).toBeGreaterThan(roots.length);
    expect(after.tablesBuilt - before.tablesBuilt).toBeGreaterThan(10);
    const paths = new Set(reports.flatMap((report) => report.paths));
    for (const path of [0, SIGN_PATH.tableUsed | SIGN_PATH.tableBuilt]) expect(paths.has(path)).toBe(true);
  });

  test("when the last thread that loaded it has left, its keys are gone and its handles stay void", async () => {
    const { code, output } = await runProgram(process.execPath, [
      fileURLToPath(new URL("./leaving-process.ts", import.meta.url)),
    ]);
    expect(code, output).toBe(0);
    const { first, second } = JSON.parse(output) as Record<string, Record<string, unknown>>;
    expect(first).toMatchObject({ keys: 1 });
    expect(second).toMatchObject({ keys: 0, isEmpty: true });
    expect(second?.next).not.toBe(first?.handle);
  });
});
