/** A thread that loads the native signer, imports a key and leaves; or looks what is left. */

import { parentPort, workerData } from "node:worker_threads";
import { loadNativeSigner } from "#enclave/native/signer.ts";

const loaded = loadNativeSigner();
if (loaded.kind === "missing") throw new Error(loaded.reason);
const { signer } = loaded;
const { handle } = workerData as { handle?: number };
if (handle === undefined) {
  parentPort?.postMessage({ handle: signer.importKey(new Uint8Array(32).fill(1)), keys: signer.stats().keys });
} else {
  const keys = signer.stats().keys;
  const next = signer.importKey(new Uint8Array(32).fill(2));
  const signature = new Uint8Array(96);
  signer.signGroup(new Uint8Array(32), Uint32Array.of(handle), signature, 0);
  parentPort?.postMessage({ keys, next, isEmpty: signature.every((byte) => byte === 0) });
}
