/**
 * Makes one EIP-2335 keystore on a thread of its own: scrypt blocks for a second and takes 256 MiB. Password and secret
 * cross the thread border in shared memory that the caller wipes, never in a message.
 */

import { randomBytes } from "node:crypto";
import { create, type IKeystore, verifyPassword } from "@chainsafe/bls-keystore";

/** scrypt's parameters; n is its cost. */
export interface ScryptCost {
  readonly n: number;
  readonly r: number;
  readonly p: number;
}

/** One keystore to make. */
export interface KeystoreTask {
  /** 32 secret bytes in shared memory. */
  readonly secret: SharedArrayBuffer;
  /** The password in UTF-8, in shared memory. */
  readonly password: SharedArrayBuffer;
  readonly pubkey: Uint8Array;
  readonly path: string;
  readonly cost: ScryptCost;
}

/** One password to try. */
export interface PasswordTask {
  /** The keystore's JSON text; it has been checked to be a keystore. */
  readonly keystore: string;
  readonly password: SharedArrayBuffer;
}

/** Bytes of scrypt's output, and of the salt (EIP-2335 "Test vectors"). */
const DERIVED_KEY_BYTES = 32;

/** The keystore's JSON text. */
export const makeKeystore = async ({ secret, password, pubkey, path, cost }: KeystoreTask): Promise<string> => {
  const params = { dklen: DERIVED_KEY_BYTES, ...cost, salt: randomBytes(DERIVED_KEY_BYTES).toString("hex") };
  const bytes = new Uint8Array(secret).slice();
  try {
    const keystore = await create(textOf(password), bytes, pubkey, path, null, { function: "scrypt", params });
    return `${JSON.stringify(keystore)}\n`;
  } finally {
    bytes.fill(0);
  }
};

/** Whether the password opens the keystore. */
export const tryPassword = ({ keystore, password }: PasswordTask): Promise<boolean> =>
  verifyPassword(JSON.parse(keystore) as IKeystore, textOf(password));

/** A string, because EIP-2335 normalises text (NFKD), which bytes cannot be. */
const textOf = (password: SharedArrayBuffer): string => Buffer.from(new Uint8Array(password)).toString("utf8");
