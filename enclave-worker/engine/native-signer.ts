/** Signs with the native signer: one hash and one table for all keys that sign the same root. */

import { SignerError } from "#protocol/errors.ts";
import { loadNativeSigner, SIGN_PATH } from "../native/signer.ts";
import type { RootWarmth } from "./costs.ts";
import type { ThreadSigner } from "./thread.ts";

const HASHED: RootWarmth = { hashed: true, tabled: false };

/** Opens the addon on this thread; the process shares one arena. @throws SignerError `unavailable` */
export const createNativeSigner = (): ThreadSigner => {
  const loaded = loadNativeSigner();
  if (loaded.kind !== "loaded") throw new SignerError("unavailable", loaded.reason);
  const { signer } = loaded;
  return {
    signGroup: ({ root, slots, waiting, signatures }) => {
      const path = signer.signGroup(root, slots, signatures, waiting);
      return { hashed: true, tabled: (path & SIGN_PATH.tableUsed) !== 0 };
    },
    signEach: (roots, slots, signatures) => {
      signer.signEach(roots, slots, signatures);
      return HASHED;
    },
  };
};
