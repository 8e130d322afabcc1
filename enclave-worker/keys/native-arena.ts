/** The native signer's own memory as an {@link Arena}: locked, left out of core dumps, never seen by JavaScript. */

import { SignerError } from "#protocol/errors.ts";
import type { NativeErrorCode, NativeSigner } from "../native/signer.ts";
import { type Arena, SECRET_KEY_BYTES } from "./arena.ts";

/** An arena whose slots are the native signer's handles. */
export const createNativeArena = (signer: NativeSigner): Arena => ({
  store: (secret) => {
    if (secret.length !== SECRET_KEY_BYTES) {
      throw new SignerError("bad_request", `secret key: expected ${SECRET_KEY_BYTES} bytes, got ${secret.length}`);
    }
    try {
      return signer.importKey(secret);
    } catch (cause) {
      throw (cause as { code?: NativeErrorCode }).code === "full"
        ? new SignerError("overloaded", `this enclave holds its limit of ${signer.stats().keysMax} keys`, { cause })
        : new SignerError("internal", "the native signer does not take this key", { cause });
    }
  },
  erase: (slot) => {
    signer.removeKey(slot);
  },
  eraseAll: () => signer.removeAllKeys(),
});
