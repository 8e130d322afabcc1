/**
 * Program: measures the native signer against `@chainsafe/blst` by the thread's CPU clock, and prints the table of
 * enclave-worker/native/README.md.
 *
 *   node test/unit/enclave-worker/native/bench.ts
 *
 * Bare signs and groups take turns, so that a change of the processor's speed meets both; the median of the rounds
 * counts. Only the ratios can be compared between machines.
 */

import { SecretKey } from "@chainsafe/blst";
import { loadNativeSigner, NATIVE_GROUP_MAX, type NativeSigner } from "#enclave/native/signer.ts";

const SIZES = [1, 4, 16, 64, 256, 2000] as const;
const KEYS = 2000;
const ROUNDS = 40;
/** Bare signs that one round measures. */
const BARE = 8;

const loaded = loadNativeSigner();
if (loaded.kind === "missing") throw new Error(loaded.reason);
const { signer } = loaded;

const median = (values: readonly number[]): number =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] as number;

/** Median µs of CPU time. */
const measure = (prepare: () => void, run: () => void): number =>
  median(
    Array.from({ length: ROUNDS }, () => {
      prepare();
      const before = signer.threadCpuNanos();
      run();
      return (signer.threadCpuNanos() - before) / 1000;
    }),
  );

const importKeys = (native: NativeSigner): Uint32Array =>
  Uint32Array.from({ length: KEYS }, (_, index) => {
    const seed = new Uint8Array(32).fill(1);
    new DataView(seed.buffer).setUint32(0, index);
    return native.importKey(SecretKey.fromKeygen(seed).toBytes());
  });

const handles = importKeys(signer);
const root = new Uint8Array(32).fill(0x5a);
const signatures = new Uint8Array(96 * KEYS);

/** Signs `size` keys as an engine would: in groups, each knowing what is still to come. */
const sign = (size: number, { announced = 0 }: { announced?: number } = {}): void => {
  for (let start = 0; start < size; start += NATIVE_GROUP_MAX) {
    const end = Math.min(size, start + NATIVE_GROUP_MAX);
    const part = signatures.subarray(96 * start, 96 * end);
    signer.signGroup(root, handles.subarray(start, end), part, size - end + announced);
  }
};

const key = SecretKey.fromKeygen(new Uint8Array(32).fill(9));
const nothing = (): void => {};
const bare = (): number =>
  measure(nothing, () => {
    for (let index = 0; index < BARE; index++) key.sign(root).toBytes(true);
  }) / BARE;

const rows: string[] = [];
const cell = (micros: number, bareMicros: number): string =>
  `${micros.toFixed(0)} (${(micros / bareMicros).toFixed(2)})`;
for (const size of SIZES) {
  const bareMicros = bare();
  const cold = measure(
    () => signer.forgetRoots(),
    () => sign(size),
  );
  // One signature warms the hash alone; below eight in all there is no table.
  const hashed = measure(
    () => {
      signer.forgetRoots();
      sign(1);
    },
    () => sign(size),
  );
  sign(1, { announced: 100 });
  const tabled = measure(nothing, () => sign(size));
  rows.push(`| ${[size, ...[cold, hashed, tabled].map((all) => cell(all / size, bareMicros))].join(" | ")} |`);
}

process.stdout.write(`one bare sign: ${bare().toFixed(0)} µs\n\n`);
process.stdout.write("| keys | cold | hash cached | table cached |\n|---|---|---|---|\n");
process.stdout.write(`${rows.join("\n")}\n`);
