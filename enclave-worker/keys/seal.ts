/**
 * Development sealing: secret keys at rest under a key that lies in the data folder, so that a restart or a replaced
 * enclave needs no passwords and no scrypt. It keeps secrets out of backups and logs; it does NOT protect them from
 * whoever can read the data folder. On Nitro, KMS and attestation take its place.
 *
 * AES-256-GCM, nonce 12 ‖ ciphertext 32 ‖ tag 16. The public key is associated data and is derived again from the
 * opened secret, so that a ciphertext moved to another key's name is refused.
 */

import { createCipheriv, createDecipheriv, randomBytes } from "node:crypto";
import { SecretKey } from "@chainsafe/blst";
import { bytesEqual } from "#protocol/bytes.ts";
import { SignerError } from "#protocol/errors.ts";
import { SECRET_KEY_BYTES } from "./arena.ts";

const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const SEALED_BYTES = NONCE_BYTES + SECRET_KEY_BYTES + TAG_BYTES;
const DOMAIN = Buffer.from("testudo-development-seal-v1");

/**
 * The public key of a secret key, 48 bytes compressed.
 * @throws SignerError `bad_request` when the secret is zero or not below the group order
 */
export const derivePubkey = (secret: Uint8Array): Uint8Array => {
  try {
    return SecretKey.fromBytes(secret).toPublicKey().toBytes(true);
  } catch {
    throw new SignerError("bad_request", "secret key: expected 32 bytes in 1..r-1 (BLS12-381 group order)");
  }
};

/** Seals a secret key for `pubkey`. */
export const seal = (sealingKey: Uint8Array, pubkey: Uint8Array, secret: Uint8Array): Uint8Array => {
  const nonce = randomBytes(NONCE_BYTES);
  const cipher = createCipheriv("aes-256-gcm", sealingKey, nonce);
  cipher.setAAD(Buffer.concat([DOMAIN, pubkey]));
  return Buffer.concat([nonce, cipher.update(secret), cipher.final(), cipher.getAuthTag()]);
};

/**
 * Opens a sealed secret key; the caller zeroises the result.
 * @throws SignerError `bad_request` when it was altered, sealed under another key, or for another public key
 */
export const unseal = (sealingKey: Uint8Array, pubkey: Uint8Array, sealed: Uint8Array): Uint8Array => {
  if (sealed.length !== SEALED_BYTES) {
    throw new SignerError("bad_request", `sealed key: expected ${SEALED_BYTES} bytes, got ${sealed.length}`);
  }
  const secret = decrypt(sealingKey, pubkey, sealed);
  if (!bytesEqual(derivePubkey(secret), pubkey)) {
    secret.fill(0);
    throw new SignerError("bad_request", "sealed key: holds the secret of another public key");
  }
  return secret;
};

const decrypt = (sealingKey: Uint8Array, pubkey: Uint8Array, sealed: Uint8Array): Buffer => {
  const decipher = createDecipheriv("aes-256-gcm", sealingKey, sealed.subarray(0, NONCE_BYTES));
  decipher.setAAD(Buffer.concat([DOMAIN, pubkey]));
  decipher.setAuthTag(sealed.subarray(NONCE_BYTES + SECRET_KEY_BYTES));
  const secret = decipher.update(sealed.subarray(NONCE_BYTES, NONCE_BYTES + SECRET_KEY_BYTES));
  try {
    decipher.final();
    return secret;
  } catch {
    secret.fill(0);
    throw new SignerError("bad_request", "sealed key: cannot be opened (altered, or sealed by another data folder)");
  }
};
