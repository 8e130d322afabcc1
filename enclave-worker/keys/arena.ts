/**
 * Where the secret keys of this enclave are: slots that every signing thread can see. JavaScript elsewhere holds slot
 * numbers only; key bytes never travel through `postMessage`. The arena here is a shared buffer, for `@chainsafe/blst`; the
 * native signer has its own (`native-arena.ts`).
 *
 * A slot is given out again only after its key was removed and the last user let go of it: a signature under the wrong
 * key would pass by that key's slashing protection.
 */

import { SignerError } from "#protocol/errors.ts";
import { KEYS_MAX } from "#protocol/limits.ts";

/** Length of a BLS secret key in bytes (EIP-2333). */
export const SECRET_KEY_BYTES = 32;

/** Slots for secret keys. */
export interface Arena {
  /** Copies a secret key into a free slot and gives the slot's number. The caller zeroises its own copy. */
  store(secret: Uint8Array): number;
  /** Zeroises a slot and frees it. */
  erase(slot: number): void;
  /** Zeroises everything. */
  eraseAll(): void;
}

/** An arena in memory that JavaScript shares between threads. */
export interface SharedArena extends Arena {
  /** The memory, for threads. Grows in place. */
  readonly memory: SharedArrayBuffer;
}

const SLOTS_AT_FIRST = 1024;

/** A shared arena for at most `slotsMax` keys. */
export const createSharedArena = ({ slotsMax = KEYS_MAX }: { slotsMax?: number } = {}): SharedArena => {
  const memory = new SharedArrayBuffer(Math.min(SLOTS_AT_FIRST, slotsMax) * SECRET_KEY_BYTES, {
    maxByteLength: slotsMax * SECRET_KEY_BYTES,
  });
  const free: number[] = [];
  let used = 0;

  const takeSlot = (): number => {
    const reused = free.pop();
    if (reused !== undefined) return reused;
    if (used === slotsMax) throw new SignerError("overloaded", `this enclave holds its limit of ${slotsMax} keys`);
    used += 1;
    if (used * SECRET_KEY_BYTES > memory.byteLength) {
      memory.grow(Math.min(memory.byteLength * 2, memory.maxByteLength));
    }
    return used - 1;
  };

  return {
    memory,
    store: (secret) => {
      if (secret.length !== SECRET_KEY_BYTES) {
        throw new SignerError("bad_request", `secret key: expected ${SECRET_KEY_BYTES} bytes, got ${secret.length}`);
      }
      const slot = takeSlot();
      new Uint8Array(memory, slot * SECRET_KEY_BYTES, SECRET_KEY_BYTES).set(secret);
      return slot;
    },
    erase: (slot) => {
      new Uint8Array(memory, slot * SECRET_KEY_BYTES, SECRET_KEY_BYTES).fill(0);
      free.push(slot);
    },
    eraseAll: () => {
      new Uint8Array(memory).fill(0);
    },
  };
};
