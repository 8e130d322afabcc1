/**
 * The keys that every enclave of an attested pool shall hold: those that stand in the table, sealed. Nothing is opened
 * here, and nothing is believed: enclaves judge each bundle, and what they refuse is asked for again at the next reading.
 */

import { bytesEqual, toHex } from "#protocol/bytes.ts";
import { SignerError } from "#protocol/errors.ts";
import { KEYS_MAX } from "#protocol/limits.ts";
import type { KeyList, KeyRing, RingKey } from "./key-ring.ts";
import type { KeyStore } from "./key-store.ts";
import type { KeyTable } from "./key-table.ts";

/** A key of the table, with the bundle that it is part of. */
export type TableKey = Required<RingKey>;

interface TableKeyList extends KeyList {
  readonly keys: readonly TableKey[];
}

/** What the ring needs. */
export interface TableRingModules {
  readonly table: KeyTable;
  /** Remembers which keys have slashing records. */
  readonly keyStore: Pick<KeyStore, "saveSealed" | "isRegistered" | "markRegistered">;
  /** Whether an enclave could not open a key: then each reading is a new list, so that it is tried again. */
  readonly hasFailures: () => boolean;
}

/** Makes the ring; nothing is read before `refresh`. */
export const createTableRing = ({ table, keyStore, hasFailures }: TableRingModules): KeyRing => {
  let current: TableKeyList | undefined;
  let passing: Promise<KeyList> | undefined;
  /** Marked since the start; a reading that began before the mark must not undo it. */
  const registered = new Set<string>();

  const read = async (): Promise<TableKey[]> => {
    const keys = new Map<string, TableKey>();
    for await (const { header, keys: stored } of table.bundles()) {
      for (const { pubkey, sealed } of stored) {
        const name = toHex(pubkey);
        const isRegistered = registered.has(name) || keyStore.isRegistered(pubkey);
        keys.set(name, { pubkey, sealed, header, registered: isRegistered });
      }
      if (keys.size > KEYS_MAX) throw new SignerError("bad_request", `keys: expected at most ${KEYS_MAX} in the table`);
    }
    return [...keys.values()];
  };

  const pass = async (): Promise<KeyList> => {
    const keys = await read();
    // Later an empty table is an operator's will; at the start it is a mistyped group.
    if (keys.length === 0 && current === undefined) {
      throw new SignerError("bad_request", "keys: none are in the table for this group: run `testudo keys import`");
    }
    const same = current !== undefined && sameKeys(current.keys, keys) && !hasFailures();
    const version = (current?.version ?? 0) + (same ? 0 : 1);
    current = { version, keys: keys.map((key) => withMark(key, registered)), errors: 0 };
    return current;
  };

  return {
    get current() {
      return current;
    },
    refresh: () => {
      passing ??= pass().finally(() => (passing = undefined));
      return passing;
    },
    markRegistered: (keys) => {
      const fresh = keys.filter((key) => !key.registered);
      if (fresh.length === 0) return;
      keyStore.saveSealed(fresh);
      keyStore.markRegistered(fresh.map((key) => key.pubkey));
      for (const key of fresh) registered.add(toHex(key.pubkey));
      if (current === undefined) return;
      current = { ...current, keys: current.keys.map((key) => withMark(key, registered)) };
    },
  };
};

const withMark = (key: TableKey, registered: ReadonlySet<string>): TableKey =>
  !key.registered && registered.has(toHex(key.pubkey)) ? { ...key, registered: true } : key;

/** The same keys, sealed the same: one that was sealed anew is loaded anew where it could not be opened before. */
const sameKeys = (left: readonly TableKey[], right: readonly TableKey[]): boolean =>
  left.length === right.length &&
  left.every((key, index) => {
    const other = right[index] as TableKey;
    return (
      bytesEqual(key.pubkey, other.pubkey) &&
      bytesEqual(key.sealed, other.sealed) &&
      bytesEqual(key.header, other.header)
    );
  });
