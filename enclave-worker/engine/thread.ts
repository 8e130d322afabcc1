/** What runs on a signing thread: signs batches, with the native signer or with `@chainsafe/blst`. */

import { workerData } from "piscina";
import { ROOT_BYTES, SIGNATURE_BYTES } from "#protocol/bytes.ts";
import type { RootWarmth } from "./costs.ts";
import { createNativeSigner } from "./native-signer.ts";
import { createPortableSigner } from "./portable-signer.ts";

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

/** Signs on one thread. Both say how warm the roots are from now on. */
export interface ThreadSigner {
  /** One message under many keys, into `signatures`. */
  signGroup(group: {
    readonly root: Uint8Array;
    readonly slots: Uint32Array;
    /** Signatures of this root that are about to be asked for. */
    readonly waiting: number;
    readonly signatures: Uint8Array;
  }): RootWarmth;
  /** As many messages as keys, the n-th 32 bytes of `roots` under the n-th. */
  signEach(roots: Uint8Array, slots: Uint32Array, signatures: Uint8Array): RootWarmth;
}

const openSigner = (data: ThreadData): ThreadSigner =>
  data.kind === "native" ? createNativeSigner() : createPortableSigner(data.memory);

const signer = openSigner(workerData as ThreadData);

/** The thread's entry point (piscina calls it). */
export const signBatch = (batch: ThreadBatch): SignedBatch => {
  const startedMs = performance.now();
  const { roots, counts, waiting, slots } = batch;
  const signatures = new Uint8Array(slots.length * SIGNATURE_BYTES);
  const warmth: RootWarmth[] = [];
  let first = 0;
  for (let index = 0; index < counts.length; ) {
    // Neighbours that are alone with their roots go together; a lone one is a group of one.
    const alone = countAlone(batch, index);
    const groups = Math.max(1, alone);
    const end = first + (alone > 0 ? alone : (counts[index] as number));
    const rootsOfGroups = roots.subarray(index * ROOT_BYTES, (index + groups) * ROOT_BYTES);
    const slotsOfGroups = slots.subarray(first, end);
    const into = signatures.subarray(first * SIGNATURE_BYTES, end * SIGNATURE_BYTES);
    const reached =
      alone > 1
        ? signer.signEach(rootsOfGroups, slotsOfGroups, into)
        : signer.signGroup({
            root: rootsOfGroups,
            slots: slotsOfGroups,
            waiting: waiting[index] as number,
            signatures: into,
          });
    for (let group = 0; group < groups; group += 1) warmth.push(reached);
    index += groups;
    first = end;
  }
  return { signatures, warmth, micros: (performance.now() - startedMs) * 1000 };
};

/** Groups from `index` on that have one job, and no other waiting for a later batch. */
const countAlone = ({ counts, waiting }: ThreadBatch, index: number): number => {
  let end = index;
  while (counts[end] === 1 && waiting[end] === 0) end += 1;
  return end - index;
};
