/** A thread that signs with whatever handles it finds, and reports what it saw. Its orders come as `workerData`. */

import { parentPort, workerData } from "node:worker_threads";
import { loadNativeSigner } from "#enclave/native/signer.ts";

/** What a thread is to do. */
export interface SigningOrders {
  /** Handles to sign with; others change them meanwhile. */
  readonly handles: SharedArrayBuffer;
  /** Roots, 32 bytes each. */
  readonly roots: Uint8Array;
  /** Groups to sign at least, however slow the machine is. */
  readonly groupsMin: number;
  /** Set to another value than 0 to end the thread. */
  readonly stop: SharedArrayBuffer;
  /** Decides the thread's choices. */
  readonly number: number;
}

/** What a thread saw: signatures by handle and root's number, and which paths were taken. */
export interface SigningReport {
  readonly signed: number;
  /** `handle root signature`, in hex, each once. */
  readonly seen: readonly string[];
  readonly paths: readonly number[];
}

const { handles, roots, groupsMin, stop, number } = workerData as SigningOrders;
const loaded = loadNativeSigner();
if (loaded.kind === "missing") throw new Error(loaded.reason);
const { signer } = loaded;

const table = new Uint32Array(handles);
const stopped = new Int32Array(stop);
const rootCount = roots.length / 32;
const seen = new Set<string>();
const paths = new Set<number>();
let signed = 0;
parentPort?.postMessage("ready");

for (let round = number; Atomics.load(stopped, 0) === 0 || round < groupsMin; round++) {
  const rootIndex = (round * 7 + number * 3) % rootCount;
  const size = 1 + ((round * 13) % 40);
  const group = Uint32Array.from({ length: size }, (_, index) =>
    Atomics.load(table, (round + index * 5) % table.length),
  );
  const signatures = new Uint8Array(96 * size);
  paths.add(signer.signGroup(roots.slice(rootIndex * 32, (rootIndex + 1) * 32), group, signatures, 0));
  for (const [index, handle] of group.entries()) {
    const signature = Buffer.from(signatures.buffer, index * 96, 96).toString("hex");
    seen.add(`${handle} ${rootIndex} ${signature}`);
  }
  signed += size;
}
parentPort?.postMessage({ signed, seen: [...seen], paths: [...paths] } satisfies SigningReport);
