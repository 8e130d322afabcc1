/** Makes EIP-2335 keystores under one password, several at a time. */

import { availableParallelism, freemem } from "node:os";
import { Piscina } from "piscina";
import type { ValidatorKey } from "./key-tree.ts";
import type { KeystoreTask, PasswordTask, ScryptCost } from "./keystore-thread.ts";

/** Cost that EIP-2335 has in its test vectors and the official deposit tool uses: a second and 256 MiB a keystore. */
export const SCRYPT_COST: ScryptCost = { n: 2 ** 18, r: 8, p: 1 };

/** Makes keystores. */
export interface KeystoreMaker {
  /** How many it makes at a time; more wait. */
  readonly threads: number;
  /** The keystore's JSON text. */
  make(key: ValidatorKey): Promise<string>;
  /** Whether the password opens this keystore (checked to be one). */
  opens(keystore: string): Promise<boolean>;
  /** Wipes the password and ends the threads. */
  close(): Promise<void>;
}

/** Threads at most: 2 GiB of scrypt's memory. */
const THREADS_MAX = 8;
/** Free memory for each thread: scrypt's 256 MiB twice. */
const BYTES_PER_THREAD = 512 * 1024 * 1024;
/** Keystores that may wait; callers keep about as many in flight as there are threads. */
const QUEUE_MAX = 64;

/** @param password UTF-8; copied, so the caller wipes its own */
export const createKeystoreMaker = (password: Uint8Array, cost: ScryptCost = SCRYPT_COST): KeystoreMaker => {
  const threads = Math.max(1, Math.min(availableParallelism(), THREADS_MAX, Math.floor(freemem() / BYTES_PER_THREAD)));
  const pool = new Piscina<KeystoreTask | PasswordTask, string | boolean>({
    filename: new URL("./keystore-thread.ts", import.meta.url).href,
    minThreads: 0,
    maxThreads: threads,
    maxQueue: QUEUE_MAX,
  });
  const sharedPassword = share(password);
  return {
    threads,
    make: async (key) => {
      const bytes = key.secretBytes();
      const secret = share(bytes);
      bytes.fill(0);
      try {
        const { pubkey, path } = key;
        const task = { secret, password: sharedPassword, pubkey, path, cost };
        return (await pool.run(task, { name: "makeKeystore" })) as string;
      } finally {
        new Uint8Array(secret).fill(0);
      }
    },
    opens: async (keystore) =>
      (await pool.run({ keystore, password: sharedPassword }, { name: "tryPassword" })) as boolean,
    close: async () => {
      await pool.destroy();
      new Uint8Array(sharedPassword).fill(0);
    },
  };
};

const share = (bytes: Uint8Array): SharedArrayBuffer => {
  const shared = new SharedArrayBuffer(bytes.length);
  new Uint8Array(shared).set(bytes);
  return shared;
};
