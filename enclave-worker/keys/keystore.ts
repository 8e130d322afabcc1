/** Opens EIP-2335 keystores beside the signing threads, a bounded number at a time. */

import { Piscina } from "piscina";
import { fromHex, PUBKEY_BYTES, toHex } from "#protocol/bytes.ts";
import { SignerError } from "#protocol/errors.ts";
import { SECRET_KEY_BYTES } from "./arena.ts";
import type { KeystoreResult, KeystoreTask } from "./keystore-thread.ts";
import { derivePubkey } from "./seal.ts";

/** An opened keystore. The caller zeroises `secret`. */
export interface OpenedKeystore {
  readonly pubkey: Uint8Array;
  readonly secret: Uint8Array;
}

/** Opens keystores. */
export interface KeystoreOpener {
  /** @throws SignerError `bad_request` that says why the file does not open */
  open(keystore: Uint8Array, password: Uint8Array): Promise<OpenedKeystore>;
  close(): Promise<void>;
}

/** Keystores that may wait; the pool-manager keeps far fewer in flight. */
const QUEUE_MAX = 64;
/** A thread that has nothing to open for this long ends and gives its memory back. */
const IDLE_TIMEOUT_MS = 2_000;

/** @param threads keystores opened at the same time; each takes 256 MiB with EIP-2335's scrypt settings */
export const createKeystoreOpener = ({ threads }: { threads: number }): KeystoreOpener => {
  const pool = new Piscina<KeystoreTask, KeystoreResult>({
    filename: new URL("./keystore-thread.ts", import.meta.url).href,
    name: "openKeystore",
    minThreads: 0,
    maxThreads: threads,
    maxQueue: QUEUE_MAX,
    idleTimeout: IDLE_TIMEOUT_MS,
  });
  return {
    open: async (keystore, password) => {
      const sharedPassword = share(password);
      const sharedSecret = new SharedArrayBuffer(SECRET_KEY_BYTES);
      try {
        const result = await pool.run({ keystore, password: sharedPassword, secret: sharedSecret });
        if (!result.ok) throw new SignerError("bad_request", result.detail);
        return check(new Uint8Array(sharedSecret).slice(), result.namedPubkey);
      } finally {
        new Uint8Array(sharedPassword).fill(0);
        new Uint8Array(sharedSecret).fill(0);
      }
    },
    close: () => pool.destroy(),
  };
};

const share = (bytes: Uint8Array): SharedArrayBuffer => {
  const shared = new SharedArrayBuffer(bytes.length);
  new Uint8Array(shared).set(bytes);
  return shared;
};

const check = (secret: Uint8Array, namedPubkey: string | undefined): OpenedKeystore => {
  try {
    const pubkey = derivePubkey(secret);
    if (namedPubkey !== undefined && toHex(fromHex(namedPubkey, PUBKEY_BYTES, "keystore.pubkey")) !== toHex(pubkey)) {
      throw new SignerError("bad_request", `keystore: names ${namedPubkey} but holds ${toHex(pubkey)}`);
    }
    return { pubkey, secret };
  } catch (error) {
    secret.fill(0);
    throw error;
  }
};
