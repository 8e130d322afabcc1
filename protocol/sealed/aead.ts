/**
 * AES-256-GCM (NIST SP 800-38D) as the bundles use it: nonce 12 ‖ ciphertext ‖ tag 16, a random nonce for each message
 * and always the whole tag. Which messages share a data key, and how many, is the callers' matter.
 */

import { createCipheriv, createDecipheriv, randomBytes } from "node:crypto";
import { SignerError } from "../errors.ts";
import { DATA_KEY_BYTES } from "./limits.ts";

const ALGORITHM = "aes-256-gcm";
const NONCE_BYTES = 12;
const TAG_BYTES = 16;

/** Bytes that sealing adds: nonce and tag. */
export const SEAL_OVERHEAD_BYTES = NONCE_BYTES + TAG_BYTES;

/** @throws SignerError `bad_request` when it is no AES-256 key */
export const checkDataKey = (dataKey: Uint8Array): void => {
  if (dataKey.length === DATA_KEY_BYTES) return;
  throw new SignerError("bad_request", `data key: expected ${DATA_KEY_BYTES} bytes, got ${dataKey.length}`);
};

/** Seals `plaintext`, which stays the caller's to wipe. */
export const sealBytes = (
  dataKey: Uint8Array,
  { plaintext, associatedData }: { plaintext: Uint8Array; associatedData: Uint8Array },
): Uint8Array => {
  checkDataKey(dataKey);
  const nonce = randomBytes(NONCE_BYTES);
  const cipher = createCipheriv(ALGORITHM, dataKey, nonce, { authTagLength: TAG_BYTES });
  cipher.setAAD(associatedData);
  return new Uint8Array(Buffer.concat([nonce, cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]));
};

/**
 * Opens what {@link sealBytes} made; undefined when key, associated data or a single bit is another. GCM cannot tell
 * which, and the caller must not try to. The plaintext is the caller's to wipe.
 */
export const openBytes = (
  dataKey: Uint8Array,
  { sealed, associatedData }: { sealed: Uint8Array; associatedData: Uint8Array },
): Uint8Array | undefined => {
  checkDataKey(dataKey);
  if (sealed.length < SEAL_OVERHEAD_BYTES) return undefined;
  const end = sealed.length - TAG_BYTES;
  const nonce = sealed.subarray(0, NONCE_BYTES);
  const decipher = createDecipheriv(ALGORITHM, dataKey, nonce, { authTagLength: TAG_BYTES });
  decipher.setAAD(associatedData);
  decipher.setAuthTag(sealed.subarray(end));
  const plaintext = decipher.update(sealed.subarray(NONCE_BYTES, end));
  try {
    decipher.final();
    // The same memory, and no Buffer: its `slice` would be a view where callers mean a copy.
    return new Uint8Array(plaintext.buffer, plaintext.byteOffset, plaintext.byteLength);
  } catch {
    plaintext.fill(0);
    return undefined;
  }
};
