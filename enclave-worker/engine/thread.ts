/** What runs on a signing thread: signs batches, with the native signer or with `@chainsafe/blst`. */

import { workerData } from "piscina";
import { ROOT_BYTES, SIGNATURE_BYTES } from "#protocol/bytes.ts";
import type { RootWarmth } from "./costs.ts";
import { createNativeGroupSigner } from "./native-signer.ts";
import { createPortableGroupSigner } from "./portable-signer.ts";

/** Signatures to make, by root: the n-th `counts[n]` slots sign the n-th 32 bytes of `roots`. */
export interface ThreadBatch {
  readonly roots: Uint8Array;
  readonly counts: Uint32Array;
  /** Jobs of each root that wait for a later batch. */
  readonly waiting: Uint32Array;
  readonly slots: Uint32Array;
}

/** A batch, signed. */
export interface SignedBatch {
  /** 96 bytes each, in the order of the slots; zero bytes where a slot holds no key. */
  readonly signatures: Uint8Array;
  /** Of each root, from now on. */
  readonly warmth: readonly RootWarmth[];
  /** Time that it took in µs. */
  readonly micros: number;
}

/** Where a thread finds the secrets. */
export type ThreadData =
  | { readonly kind: "native" /** the arena is the native signer's, one a process */ }
  | { readonly kind: "portable"; readonly memory: SharedArrayBuffer };

/** Signs one message under many keys into `signatures` and says how warm its root is now. */
export type GroupSigner = (group: {
  readonly root: Uint8Array;
  readonly slots: Uint32Array;
  readonly waiting: number;
  readonly signatures: Uint8Array;
}) => RootWarmth;

const openSigner = (data: ThreadData): GroupSigner =>
  data.kind === "native" ? createNativeGroupSigner() : createPortableGroupSigner(data.memory);

const signGroup = openSigner(workerData as ThreadData);

/** The thread's entry point (piscina calls it). */
export const signBatch = ({ roots, counts, waiting, slots }: ThreadBatch): SignedBatch => {
  const startedMs = performance.now();
  const signatures = new Uint8Array(slots.length * SIGNATURE_BYTES);
  const warmth: RootWarmth[] = [];
  let first = 0;
  for (const [index, count] of counts.entries()) {
    const end = first + count;
    warmth.push(
      signGroup({
        root: roots.subarray(index * ROOT_BYTES, (index + 1) * ROOT_BYTES),
        slots: slots.subarray(first, end),
        waiting: waiting[index] as number,
        signatures: signatures.subarray(first * SIGNATURE_BYTES, end * SIGNATURE_BYTES),
      }),
    );
    first = end;
  }
  return { signatures, warmth, micros: (performance.now() - startedMs) * 1000 };
};
