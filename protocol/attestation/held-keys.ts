/** The keys that an enclave holds, as the user data of its attestation documents binds them. */

import { createHash } from "node:crypto";

/** No document of another purpose has this user data. */
const DOMAIN = "testudo keys held v1\n";

/**
 * SHA-256 over the domain text and the public keys in ascending order, 48 bytes each; 32 bytes.
 * @param pubkeysHex `0x` and 96 lower-case digits each, in any order
 */
export const heldKeysDigest = (pubkeysHex: Iterable<string>): Uint8Array => {
  const hash = createHash("sha256").update(DOMAIN);
  for (const pubkeyHex of [...pubkeysHex].sort()) hash.update(pubkeyHex.slice(2), "hex");
  return new Uint8Array(hash.digest());
};
