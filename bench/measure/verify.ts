/** Whether the signatures that were counted are signatures: a sample of every window, verified by `@chainsafe/blst`. */

import { PublicKey, Signature, verify } from "@chainsafe/blst";
import type { Sample } from "../load/orders.ts";

/** Verifies all, about a millisecond each; how many there were. @throws Error at the first that is wrong */
export const verifySamples = (samples: readonly Sample[]): number => {
  for (const { publicKey, root, signature } of samples) {
    const message = Buffer.from(root.slice(2), "hex");
    if (!verify(message, PublicKey.fromHex(publicKey), Signature.fromHex(signature, true))) {
      throw new Error(`wrong signature of ${publicKey} over ${root}: ${signature}`);
    }
  }
  return samples.length;
};
