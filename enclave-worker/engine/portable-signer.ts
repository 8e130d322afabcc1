/** Signs with `@chainsafe/blst`, where no native signer was built. It hashes the root for every signature. */

import { SecretKey } from "@chainsafe/blst";
import { SIGNATURE_BYTES } from "#protocol/bytes.ts";
import { SECRET_KEY_BYTES } from "../keys/arena.ts";
import type { RootWarmth } from "./costs.ts";
import type { GroupSigner } from "./thread.ts";

const ALWAYS_COLD: RootWarmth = { hashed: false, tabled: false };

/** Reads secrets from a shared arena; zero bytes where a slot holds no key, so that one bad job does not fail the rest. */
export const createPortableGroupSigner =
  (memory: SharedArrayBuffer): GroupSigner =>
  ({ root, slots, signatures }) => {
    const secret = new Uint8Array(SECRET_KEY_BYTES); // blst takes no view on shared memory
    try {
      for (const [index, slot] of slots.entries()) {
        secret.set(new Uint8Array(memory, slot * SECRET_KEY_BYTES, SECRET_KEY_BYTES));
        const key = openKey(secret);
        if (key !== undefined) signatures.set(key.sign(root).toBytes(true), index * SIGNATURE_BYTES);
      }
    } finally {
      secret.fill(0);
    }
    return ALWAYS_COLD;
  };

/** Undefined for zero (an erased slot) and whatever else is no secret key. */
const openKey = (secret: Uint8Array): SecretKey | undefined => {
  try {
    return SecretKey.fromBytes(secret);
  } catch {
    return undefined;
  }
};
