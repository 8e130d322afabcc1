/** Signs on a thread: reads secrets from the shared arena by slot, with `@chainsafe/blst`. */

import { SecretKey } from "@chainsafe/blst";
import { workerData } from "piscina";

/** Signatures to make: the n-th under the secret in `slots[n]`, over the n-th 32 bytes of `roots`. */
export interface SignBatch {
  readonly slots: Uint32Array;
  readonly roots: Uint8Array;
}

const SECRET_KEY_BYTES = 32;
const ROOT_BYTES = 32;
const SIGNATURE_BYTES = 96;

/** The thread's entry point (piscina calls it): all signatures of a batch, 96 bytes each, in order. */
export const signBatch = ({ slots, roots }: SignBatch): Uint8Array => {
  const { arena } = workerData as { arena: SharedArrayBuffer };
  const signatures = new Uint8Array(slots.length * SIGNATURE_BYTES);
  const secret = new Uint8Array(SECRET_KEY_BYTES); // blst takes no view on shared memory
  try {
    for (const [index, slot] of slots.entries()) {
      secret.set(new Uint8Array(arena, slot * SECRET_KEY_BYTES, SECRET_KEY_BYTES));
      const root = roots.subarray(index * ROOT_BYTES, (index + 1) * ROOT_BYTES);
      signatures.set(SecretKey.fromBytes(secret).sign(root).toBytes(true), index * SIGNATURE_BYTES);
    }
  } finally {
    secret.fill(0);
  }
  return signatures;
};
