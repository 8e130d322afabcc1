/**
 * Opens one EIP-2335 keystore on a thread of its own: scrypt blocks for a second and takes 256 MiB. Password and
 * secret cross the thread border in shared memory that the caller wipes, never in a message.
 */

import { decrypt, type IKeystore, isValidKeystore } from "@chainsafe/bls-keystore";

/** One keystore to open. */
export interface KeystoreTask {
  /** The keystore's JSON text in UTF-8. */
  readonly keystore: Uint8Array;
  /** The password in UTF-8, in shared memory. */
  readonly password: SharedArrayBuffer;
  /** Where the 32 secret bytes go. */
  readonly secret: SharedArrayBuffer;
}

/** What became of it: the public key the file names (hex, may be missing), or the reason it did not open. */
export type KeystoreResult =
  | { readonly ok: true; readonly namedPubkey: string | undefined }
  | { readonly ok: false; readonly detail: string };

/** Bound on scrypt's memory (128·N·r bytes; EIP-2335 uses N = 2^18, r = 8: 256 MiB) and on its time (p times that). */
const SCRYPT_MEMORY_BYTES_MAX = 512 * 1024 * 1024;
const SCRYPT_P_MAX = 4;
/** Bound on PBKDF2 rounds; EIP-2335 uses 2^18. */
const PBKDF2_ROUNDS_MAX = 10_000_000;
/** EIP-2335 checks the password by bytes 16..31 of the derived key: with a shorter one every password would pass. */
const DERIVED_KEY_BYTES_MIN = 32;
const DERIVED_KEY_BYTES_MAX = 64;

/** The thread's entry point (piscina calls it). */
export const openKeystore = async (task: KeystoreTask): Promise<KeystoreResult> => {
  const parsed = parseKeystore(task.keystore);
  if (typeof parsed === "string") return { ok: false, detail: parsed };
  // A string, because EIP-2335 normalises text (NFKD), which bytes cannot be.
  const password = Buffer.from(new Uint8Array(task.password)).toString("utf8");
  try {
    const secret = await decrypt(parsed, password);
    if (secret.length !== task.secret.byteLength) {
      secret.fill(0);
      return { ok: false, detail: `keystore: expected a secret of 32 bytes, got ${secret.length}` };
    }
    new Uint8Array(task.secret).set(secret);
    secret.fill(0);
    return { ok: true, namedPubkey: typeof parsed.pubkey === "string" ? parsed.pubkey : undefined };
  } catch {
    return { ok: false, detail: "keystore: the password does not open it" };
  }
};

const parseKeystore = (bytes: Uint8Array): IKeystore | string => {
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(bytes).toString("utf8"));
  } catch {
    return "keystore: expected JSON";
  }
  if (!isValidKeystore(value)) return "keystore: expected an EIP-2335 version 4 keystore";
  const keystore = value as IKeystore;
  const { dklen } = keystore.crypto.kdf.params;
  if (dklen < DERIVED_KEY_BYTES_MIN || dklen > DERIVED_KEY_BYTES_MAX) {
    return `keystore: dklen: expected ${DERIVED_KEY_BYTES_MIN}..${DERIVED_KEY_BYTES_MAX}, got ${dklen}`;
  }
  return withinBounds(keystore) ? keystore : "keystore: its key derivation costs too much";
};

const withinBounds = ({ crypto: { kdf } }: IKeystore): boolean => {
  if (kdf.function === "pbkdf2") return kdf.params.c <= PBKDF2_ROUNDS_MAX;
  const { n, r, p } = kdf.params;
  return 128 * n * r <= SCRYPT_MEMORY_BYTES_MAX && p <= SCRYPT_P_MAX;
};
