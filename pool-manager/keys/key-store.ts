/**
 * Sealed keys at rest in the data folder. Nothing in this file can open them; enclaves can.
 *
 *   keys      one row a public key, in the order in which they came
 *   sources   which key a file or line was sealed to: the same key may stand in several
 *   facts     what happened once: the set of development keys was complete
 */

import { chmodSync, closeSync, existsSync, openSync } from "node:fs";
import { DatabaseSync } from "node:sqlite";
import { SignerError } from "#protocol/errors.ts";
import type { SealedKey } from "#protocol/messages/control.ts";

/** Where a key came from. `digest` identifies the very file or line; undefined for generated keys. */
export type KeyOrigin = { readonly kind: "generated" } | { readonly kind: "imported"; readonly digest: Uint8Array };

/** The sealed keys of one data folder. */
export interface KeyStore {
  /** The key that a file or line was sealed to earlier; undefined: it must be opened first. */
  findImported(digest: Uint8Array): SealedKey | undefined;
  /** Development keys that were made here, oldest first. */
  generated(): SealedKey[];
  /** Whether the set of development keys was once complete; otherwise a start broke off while it made them. */
  isSetComplete(): boolean;
  /** Remembers that it is. */
  completeSet(): void;
  /** Keeps a sealed key; the same public key again adds its origin, and never loses one or its registration. */
  save(key: SealedKey, origin: KeyOrigin): void;
  /** Keeps keys of a table, in one go, so that they can be marked. */
  saveSealed(keys: readonly SealedKey[]): void;
  /** Whether this key was marked as having a slashing record. */
  isRegistered(pubkey: Uint8Array): boolean;
  /** Remembers that these keys have slashing records. */
  markRegistered(pubkeys: readonly Uint8Array[]): void;
  close(): void;
}

interface Row {
  readonly pubkey: Uint8Array;
  readonly sealed: Uint8Array;
  readonly registered: number;
}

/** A key as people see it. */
export interface StoredKey {
  readonly pubkey: Uint8Array;
  readonly origin: KeyOrigin["kind"];
  readonly registered: boolean;
}

/** Version of the tables, kept in `PRAGMA user_version`; 0 is an empty file, or one of before there were versions. */
const SCHEMA_VERSION = 1;
const MODE_PRIVATE = 0o600;

const SCHEMA = `
  CREATE TABLE keys (
    sequence INTEGER PRIMARY KEY,
    pubkey BLOB NOT NULL UNIQUE,
    sealed BLOB NOT NULL,
    generated INTEGER NOT NULL,
    registered INTEGER NOT NULL DEFAULT 0
  ) STRICT;
  CREATE TABLE sources (
    digest BLOB PRIMARY KEY,
    pubkey BLOB NOT NULL REFERENCES keys (pubkey)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE facts (name TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
  PRAGMA user_version = ${SCHEMA_VERSION};
`;

/** The first tables had one digest a key; a key without one was generated. */
const FROM_UNVERSIONED = `
  ALTER TABLE keys RENAME TO unversioned;
  ${SCHEMA}
  INSERT INTO keys SELECT sequence, pubkey, sealed, digest IS NULL, registered FROM unversioned;
  INSERT INTO sources SELECT digest, pubkey FROM unversioned WHERE digest IS NOT NULL;
  DROP TABLE unversioned;
`;

/**
 * Lists the keys of the file at `path` without changing it; another process may have it open.
 * @throws SignerError `bad_request` when the file is of another version
 */
export const listStoredKeys = (path: string): StoredKey[] => {
  const database = new DatabaseSync(path, { readOnly: true });
  try {
    const version = versionOf(database, path);
    if (version === 0 && !hasKeys(database)) return [];
    const generated = version === 0 ? "digest IS NULL" : "generated";
    const rows = database.prepare(`SELECT pubkey, ${generated} AS made, registered FROM keys ORDER BY sequence`).all();
    return (rows as unknown as { pubkey: Uint8Array; made: number; registered: number }[]).map((row) => ({
      pubkey: row.pubkey,
      origin: row.made === 1 ? "generated" : "imported",
      registered: row.registered === 1,
    }));
  } finally {
    database.close();
  }
};

/** Looks up, key by key, whether the slashing records of keys were ever made. */
export interface RegisteredKeys {
  has(pubkey: Uint8Array): boolean;
  close(): void;
}

/**
 * Opens the file at `path` for look-ups without changing it: a list of 200,000 keys takes 300 MiB, this takes none.
 * @throws SignerError `bad_request` when the file is of another version
 */
export const openRegisteredKeys = (path: string): RegisteredKeys => {
  const database = new DatabaseSync(path, { readOnly: true });
  try {
    if (versionOf(database, path) === 0 && !hasKeys(database)) {
      return { has: () => false, close: () => database.close() };
    }
    const find = database.prepare("SELECT 1 FROM keys WHERE pubkey = ? AND registered = 1");
    return { has: (pubkey) => find.get(pubkey) !== undefined, close: () => database.close() };
  } catch (error) {
    database.close();
    throw error;
  }
};

/** Opens or makes the file at `path`. @throws SignerError `bad_request` when the file is of another version */
export const openKeyStore = (path: string): KeyStore => {
  // Before SQLite does: its log has the mode of the database. An open database's file must not be closed by others.
  if (!existsSync(path)) closeSync(openSync(path, "a", MODE_PRIVATE));
  chmodSync(path, MODE_PRIVATE);
  const database = new DatabaseSync(path);
  try {
    database.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL");
    inTransaction(database, () => migrate(database, path));
  } catch (error) {
    database.close();
    throw error;
  }
  const find = database.prepare(
    "SELECT pubkey, sealed, registered FROM sources JOIN keys USING (pubkey) WHERE digest = ?",
  );
  const generated = database.prepare("SELECT pubkey, sealed, registered FROM keys WHERE generated ORDER BY sequence");
  const insert = database.prepare(
    `INSERT INTO keys (pubkey, sealed, generated) VALUES (?, ?, ?)
     ON CONFLICT (pubkey) DO UPDATE SET sealed = excluded.sealed, generated = max(generated, excluded.generated)`,
  );
  const insertSource = database.prepare(
    "INSERT INTO sources VALUES (?, ?) ON CONFLICT (digest) DO UPDATE SET pubkey = excluded.pubkey",
  );
  const registered = database.prepare("SELECT 1 FROM keys WHERE pubkey = ? AND registered = 1");
  const register = database.prepare("UPDATE keys SET registered = 1 WHERE pubkey = ? AND registered = 0");
  const fact = database.prepare("SELECT 1 FROM facts WHERE name = 'set complete'");
  const insertFact = database.prepare("INSERT OR IGNORE INTO facts VALUES ('set complete')");
  const toKey = (row: Row): SealedKey => ({ ...row, registered: row.registered === 1 });
  return {
    findImported: (digest) => {
      const row = find.get(digest) as Row | undefined;
      return row && toKey(row);
    },
    generated: () => (generated.all() as unknown as Row[]).map(toKey),
    isSetComplete: () => fact.get() !== undefined,
    completeSet: () => void insertFact.run(),
    save: (key, origin) =>
      inTransaction(database, () => {
        insert.run(key.pubkey, key.sealed, origin.kind === "generated" ? 1 : 0);
        if (origin.kind === "imported") insertSource.run(origin.digest, key.pubkey);
      }),
    saveSealed: (keys) =>
      inTransaction(database, () => {
        for (const key of keys) insert.run(key.pubkey, key.sealed, 0);
      }),
    isRegistered: (pubkey) => registered.get(pubkey) !== undefined,
    markRegistered: (pubkeys) =>
      inTransaction(database, () => {
        for (const pubkey of pubkeys) register.run(pubkey);
      }),
    close: () => database.close(),
  };
};

const migrate = (database: DatabaseSync, path: string): void => {
  if (versionOf(database, path) === SCHEMA_VERSION) return;
  database.exec(hasKeys(database) ? FROM_UNVERSIONED : SCHEMA);
};

const versionOf = (database: DatabaseSync, path: string): number => {
  const version = database.prepare("PRAGMA user_version").get()?.user_version as number;
  if (version === 0 || version === SCHEMA_VERSION) return version;
  throw new SignerError(
    "bad_request",
    `${path}: expected version ${SCHEMA_VERSION}, got ${version}: use the Testudo that wrote it, or a newer one`,
  );
};

const hasKeys = (database: DatabaseSync): boolean =>
  database.prepare("SELECT 1 FROM sqlite_schema WHERE name = 'keys'").get() !== undefined;

const inTransaction = (database: DatabaseSync, work: () => void): void => {
  database.exec("BEGIN IMMEDIATE");
  try {
    work();
    database.exec("COMMIT");
  } catch (error) {
    // SQLite rolls back by itself on some errors (disk full); ROLLBACK then has nothing to do and says so.
    if (database.isTransaction) database.exec("ROLLBACK");
    throw error;
  }
};
