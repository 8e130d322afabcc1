/** Signs on a thread: reads secrets from the shared arena by slot, with `@chainsafe/blst`. */

import { SecretKey } from "@chainsafe/blst";
import { workerData } from "piscina";
import { ROOT_BYTES, SIGNATURE_BYTES } from "#protocol/bytes.ts";
import { SECRET_KEY_BYTES } from "../keys/arena.ts";

/** Signatures to make: the n-th under the secret in `slots[n]`, over the n-th 32 bytes of `roots`. */
export interface SignBatch {
  readonly slots: Uint32Array;
  readonly roots: Uint8Array;
}

/**
 * The thread's entry point (piscina calls it): all signatures of a batch, 96 bytes each, in order; zero bytes where the
 * slot holds no key, so that one bad job does not fail its neighbours.
 */
export const signBatch = ({ slots, roots }: SignBatch): Uint8Array => {
  const { arena } = workerData as { arena: SharedArrayBuffer };
  const signatures = new Uint8Array(slots.length * SIGNATURE_BYTES);
  const secret = new Uint8Array(SECRET_KEY_BYTES); // blst takes no view on shared memory
  try {
    for (const [index, slot] of slots.entries()) {
      secret.set(new Uint8Array(arena, slot * SECRET_KEY_BYTES, SECRET_KEY_BYTES));
      const root = roots.subarray(index * ROOT_BYTES, (index + 1) * ROOT_BYTES);
      const key = openKey(secret);
      if (key !== undefined) signatures.set(key.sign(root).toBytes(true), index * SIGNATURE_BYTES);
    }
  } finally {
    secret.fill(0);
  }
  return signatures;
};

/** Undefined for zero (an erased slot) and whatever else is no secret key. */
const openKey = (secret: Uint8Array): SecretKey | undefined => {
  try {
    return SecretKey.fromBytes(secret);
  } catch {
    return undefined;
  }
};
