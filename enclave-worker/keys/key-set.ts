/** Which keys this enclave holds: public key → arena slot, with a count of who is using it. */

import { toHex } from "#protocol/bytes.ts";
import type { Arena } from "./arena.ts";

/** A key in use. `release` must be called exactly once. */
export interface HeldKey {
  /** Slot of the secret in the arena. */
  readonly slot: number;
  release(): void;
}

/** The keys of this enclave. */
export interface KeySet {
  readonly size: number;
  has(pubkey: Uint8Array): boolean;
  /** Adds a key; false when it was there already (the new secret is then not kept). */
  add(pubkey: Uint8Array, secret: Uint8Array): boolean;
  /** Takes a key into use; undefined when it is not loaded. */
  hold(pubkey: Uint8Array): HeldKey | undefined;
  /** Forgets a key at once; its secret is zeroised as soon as nobody holds it. */
  remove(pubkey: Uint8Array): boolean;
  /** Public keys in the order they were added. */
  pubkeys(): Uint8Array[];
}

interface Entry {
  readonly pubkey: Uint8Array;
  readonly slot: number;
  users: number;
  removed: boolean;
}

/** An empty key set on an arena. */
export const createKeySet = (arena: Arena): KeySet => {
  const entries = new Map<string, Entry>();

  const release = (entry: Entry): void => {
    entry.users -= 1;
    if (entry.removed && entry.users === 0) arena.erase(entry.slot);
  };

  return {
    get size() {
      return entries.size;
    },
    has: (pubkey) => entries.has(toHex(pubkey)),
    add: (pubkey, secret) => {
      const name = toHex(pubkey);
      if (entries.has(name)) return false;
      entries.set(name, { pubkey: pubkey.slice(), slot: arena.store(secret), users: 0, removed: false });
      return true;
    },
    hold: (pubkey) => {
      const entry = entries.get(toHex(pubkey));
      if (entry === undefined) return undefined;
      entry.users += 1;
      return { slot: entry.slot, release: () => release(entry) };
    },
    remove: (pubkey) => {
      const name = toHex(pubkey);
      const entry = entries.get(name);
      if (entry === undefined) return false;
      entries.delete(name);
      entry.removed = true;
      if (entry.users === 0) arena.erase(entry.slot);
      return true;
    },
    pubkeys: () => [...entries.values()].map((entry) => entry.pubkey),
  };
};
