/** Signs with the native signer: one hash and one table for all keys that sign the same root. */

import { SignerError } from "#protocol/errors.ts";
import { loadNativeSigner, SIGN_PATH } from "../native/signer.ts";
import type { GroupSigner } from "./thread.ts";

/** Opens the addon on this thread; the process shares one arena. @throws SignerError `unavailable` */
export const createNativeGroupSigner = (): GroupSigner => {
  const loaded = loadNativeSigner();
  if (loaded.kind !== "loaded") throw new SignerError("unavailable", loaded.reason);
  const { signer } = loaded;
  return ({ root, slots, waiting, signatures }) => {
    const path = signer.signGroup(root, slots, signatures, waiting);
    return { hashed: true, tabled: (path & SIGN_PATH.tableUsed) !== 0 };
  };
};
