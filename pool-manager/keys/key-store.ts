/** Sealed keys at rest in the data folder. Nothing in this file can open them; enclaves can. */

import { chmodSync } from "node:fs";
import { DatabaseSync } from "node:sqlite";
import type { SealedKey } from "#protocol/messages/control.ts";

/** Where a key came from. `digest` identifies the very file or line; undefined for generated keys. */
export type KeyOrigin = { readonly kind: "generated" } | { readonly kind: "imported"; readonly digest: Uint8Array };

/** The sealed keys of one data folder. */
export interface KeyStore {
  /** The key that a file or line was sealed to earlier; undefined: it must be opened first. */
  findImported(digest: Uint8Array): SealedKey | undefined;
  /** Development keys that were made here, oldest first. */
  generated(): SealedKey[];
  /** Keeps a sealed key; the same public key again replaces its origin but never its registration. */
  save(key: SealedKey, origin: KeyOrigin): void;
  /** Remembers that these keys have slashing records. */
  markRegistered(pubkeys: readonly Uint8Array[]): void;
  close(): void;
}

interface Row {
  readonly pubkey: Uint8Array;
  readonly sealed: Uint8Array;
  readonly registered: number;
}

const SCHEMA = `
  CREATE TABLE IF NOT EXISTS keys (
    sequence INTEGER PRIMARY KEY,
    pubkey BLOB NOT NULL UNIQUE,
    sealed BLOB NOT NULL,
    digest BLOB UNIQUE,
    registered INTEGER NOT NULL DEFAULT 0
  ) STRICT`;

/** A key as people see it. */
export interface StoredKey {
  readonly pubkey: Uint8Array;
  readonly origin: KeyOrigin["kind"];
  readonly registered: boolean;
}

/** Lists the keys of the file at `path` without changing it; another process may have it open. */
export const listStoredKeys = (path: string): StoredKey[] => {
  const database = new DatabaseSync(path, { readOnly: true });
  try {
    const rows = database
      .prepare("SELECT pubkey, digest IS NULL AS made, registered FROM keys ORDER BY sequence")
      .all();
    return (rows as unknown as { pubkey: Uint8Array; made: number; registered: number }[]).map((row) => ({
      pubkey: row.pubkey,
      origin: row.made === 1 ? "generated" : "imported",
      registered: row.registered === 1,
    }));
  } finally {
    database.close();
  }
};

/** Opens or makes the file at `path`. */
export const openKeyStore = (path: string): KeyStore => {
  const database = new DatabaseSync(path);
  chmodSync(path, 0o600);
  database.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL");
  database.exec(SCHEMA);
  const find = database.prepare("SELECT pubkey, sealed, registered FROM keys WHERE digest = ?");
  const generated = database.prepare(
    "SELECT pubkey, sealed, registered FROM keys WHERE digest IS NULL ORDER BY sequence",
  );
  const insert = database.prepare(
    `INSERT INTO keys (pubkey, sealed, digest) VALUES (?, ?, ?)
     ON CONFLICT (pubkey) DO UPDATE SET sealed = excluded.sealed, digest = excluded.digest`,
  );
  const register = database.prepare("UPDATE keys SET registered = 1 WHERE pubkey = ? AND registered = 0");
  const toKey = (row: Row): SealedKey => ({ ...row, registered: row.registered === 1 });
  return {
    findImported: (digest) => {
      const row = find.get(digest) as Row | undefined;
      return row && toKey(row);
    },
    generated: () => (generated.all() as unknown as Row[]).map(toKey),
    save: (key, origin) => {
      insert.run(key.pubkey, key.sealed, origin.kind === "imported" ? origin.digest : null);
    },
    markRegistered: (pubkeys) => {
      database.exec("BEGIN IMMEDIATE");
      for (const pubkey of pubkeys) register.run(pubkey);
      database.exec("COMMIT");
    },
    close: () => database.close(),
  };
};
