/** Signs with `@chainsafe/blst`, where no native signer was built. It hashes the root for every signature. */

import { SecretKey } from "@chainsafe/blst";
import { ROOT_BYTES, SIGNATURE_BYTES } from "#protocol/bytes.ts";
import { SECRET_KEY_BYTES } from "../keys/arena.ts";
import type { RootWarmth } from "./costs.ts";
import type { ThreadSigner } from "./thread.ts";

const ALWAYS_COLD: RootWarmth = { hashed: false, tabled: false };

/** Reads secrets from a shared arena; zero bytes where a slot holds no key, so that one bad job does not fail the rest. */
export const createPortableSigner = (memory: SharedArrayBuffer): ThreadSigner => {
  const sign = (slots: Uint32Array, signatures: Uint8Array, rootOf: (index: number) => Uint8Array): RootWarmth => {
    const secret = new Uint8Array(SECRET_KEY_BYTES); // blst takes no view on shared memory
    try {
      for (const [index, slot] of slots.entries()) {
        secret.set(new Uint8Array(memory, slot * SECRET_KEY_BYTES, SECRET_KEY_BYTES));
        const key = openKey(secret);
        if (key !== undefined) signatures.set(key.sign(rootOf(index)).toBytes(true), index * SIGNATURE_BYTES);
      }
    } finally {
      secret.fill(0);
    }
    return ALWAYS_COLD;
  };
  return {
    signGroup: ({ root, slots, signatures }) => sign(slots, signatures, () => root),
    signEach: (roots, slots, signatures) =>
      sign(slots, signatures, (index) => roots.subarray(index * ROOT_BYTES, (index + 1) * ROOT_BYTES)),
  };
};

/** Undefined for zero (an erased slot) and whatever else is no secret key. */
const openKey = (secret: Uint8Array): SecretKey | undefined => {
  try {
    return SecretKey.fromBytes(secret);
  } catch {
    return undefined;
  }
};
