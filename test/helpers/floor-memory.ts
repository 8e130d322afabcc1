/** Prints what a floor of 100,000 validators takes; run with `--expose-gc`, so that nothing else is counted. */

import { randomBytes } from "node:crypto";
import { createFloor } from "#enclave/slashing/floor.ts";

const measure = (): number => {
  (globalThis as unknown as { gc: () => void }).gc();
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return heapUsed + arrayBuffers;
};

const before = measure();
const floor = createFloor();
for (let count = 0; count < 100_000; count += 1) {
  floor.set(randomBytes(48), new Uint8Array(136), { acknowledged: false });
}
console.log(JSON.stringify({ bytes: measure() - before, size: floor.size }));
