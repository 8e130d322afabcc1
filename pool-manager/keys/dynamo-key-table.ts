/** The table of a fleet in Amazon DynamoDB, as the pool-manager reads it. */

import { PUBKEY_BYTES, toHex } from "#protocol/bytes.ts";
import { SignerError, toSignerError } from "#protocol/errors.ts";
import { KEYS_MAX } from "#protocol/limits.ts";
import { BUNDLE_KEYS_MAX } from "#protocol/sealed/limits.ts";
import { SEALED_KEY_BYTES } from "#protocol/sealed/sealed-key.ts";
import type { DynamoSession } from "./dynamo-client.ts";
import {
  BUNDLE_PREFIX,
  CONFIGURATION_NAME,
  type Item,
  nameOf,
  PUBKEY_PREFIX,
  readConfigurationItem,
  readHeaderItem,
  readKeyItem,
} from "./dynamo-items.ts";
import { readItem, readPages } from "./dynamo-read.ts";
import type { KeyTable, StoredBundle, StoredKey, TableProblem } from "./key-table.ts";

/** What the table tells. */
export interface DynamoKeyTableModules {
  /** Hears of each item that cannot be used, at every reading; the others are given. */
  readonly onProblem: (problem: TableProblem) => void;
  /** Items of one page at most, for tests. */
  readonly pageItems?: number | undefined;
}

const ENTRY_BYTES = PUBKEY_BYTES + SEALED_KEY_BYTES;
const ENTRIES_AT_FIRST = 16;

/** Makes the table's reader; the session stays the caller's to close. */
export const createDynamoKeyTable = (session: DynamoSession, modules: DynamoKeyTableModules): KeyTable => ({
  configuration: async () => {
    const item = await readItem(session, CONFIGURATION_NAME);
    if (item === undefined) return undefined;
    const { version: _, ...stored } = readConfigurationItem(item);
    return stored;
  },
  bundles: () => readBundles(session, modules),
});

async function* readBundles(session: DynamoSession, modules: DynamoKeyTableModules): AsyncGenerator<StoredBundle> {
  const headers = await readHeaders(session, modules);
  const keys = await readKeys(session, modules);
  for (const [bundleHex, packed] of keys) {
    const header = headers.get(bundleHex) ?? (await readLateHeader(session, bundleHex, modules));
    if (header === undefined) {
      const reason = `its bundle header ${BUNDLE_PREFIX}${bundleHex} is missing or cannot be read: import the key again`;
      for (const { pubkey } of packed.all()) modules.onProblem({ item: toHex(pubkey), reason });
      keys.delete(bundleHex);
    } else headers.set(bundleHex, header);
  }
  // Only now: whatever failed above has given nothing away.
  for (const [bundleHex, packed] of keys) {
    const header = headers.get(bundleHex) as Uint8Array;
    const all = [...packed.all()];
    for (let start = 0; start < all.length; start += BUNDLE_KEYS_MAX) {
      yield { header, keys: all.slice(start, start + BUNDLE_KEYS_MAX) };
    }
  }
}

/** Headers by bundle id in hex. */
const readHeaders = async (
  session: DynamoSession,
  { onProblem, pageItems }: DynamoKeyTableModules,
): Promise<Map<string, Uint8Array>> => {
  const headers = new Map<string, Uint8Array>();
  for await (const page of readPages(session, { prefix: BUNDLE_PREFIX, pageItems })) {
    for (const item of page) {
      const read = attempt(item, onProblem, readHeaderItem);
      if (read !== undefined) headers.set(read.bundleHex, read.header);
      if (headers.size > KEYS_MAX) throw tooMany("bundles");
    }
  }
  return headers;
};

/** An import that runs now writes its headers before their keys, so a key may be newer than the headers that we read. */
const readLateHeader = async (
  session: DynamoSession,
  bundleHex: string,
  { onProblem }: DynamoKeyTableModules,
): Promise<Uint8Array | undefined> => {
  const item = await readItem(session, `${BUNDLE_PREFIX}${bundleHex}`);
  return item === undefined ? undefined : attempt(item, onProblem, readHeaderItem)?.header;
};

const readKeys = async (
  session: DynamoSession,
  { onProblem, pageItems }: DynamoKeyTableModules,
): Promise<Map<string, PackedKeys>> => {
  const bundles = new Map<string, PackedKeys>();
  let count = 0;
  for await (const page of readPages(session, { prefix: PUBKEY_PREFIX, pageItems })) {
    for (const item of page) {
      const entry = attempt(item, onProblem, readKeyItem);
      if (entry?.kind !== "live") continue;
      count += 1;
      if (count > KEYS_MAX) throw tooMany("keys");
      const packed = bundles.get(entry.bundleHex) ?? new PackedKeys();
      bundles.set(entry.bundleHex, packed);
      packed.add(entry);
    }
  }
  return bundles;
};

/** The keys of a bundle in one piece of memory: a million objects of two arrays each would take half a gigabyte. */
class PackedKeys {
  #bytes = new Uint8Array(ENTRIES_AT_FIRST * ENTRY_BYTES);
  #length = 0;

  add({ pubkey, sealed }: StoredKey): void {
    if (this.#length === this.#bytes.length) {
      const larger = new Uint8Array(this.#bytes.length * 2);
      larger.set(this.#bytes);
      this.#bytes = larger;
    }
    this.#bytes.set(pubkey, this.#length);
    this.#bytes.set(sealed, this.#length + PUBKEY_BYTES);
    this.#length += ENTRY_BYTES;
  }

  *all(): Generator<StoredKey> {
    for (let at = 0; at < this.#length; at += ENTRY_BYTES) {
      yield {
        pubkey: this.#bytes.subarray(at, at + PUBKEY_BYTES),
        sealed: this.#bytes.subarray(at + PUBKEY_BYTES, at + ENTRY_BYTES),
      };
    }
  }
}

const attempt = <T>(item: Item, onProblem: (problem: TableProblem) => void, read: (item: Item) => T): T | undefined => {
  try {
    return read(item);
  } catch (error) {
    onProblem({ item: nameOf(item), reason: toSignerError(error).detail });
    return undefined;
  }
};

const tooMany = (what: string): SignerError =>
  new SignerError("bad_request", `table: expected at most ${KEYS_MAX} ${what} in one group: split it`);
