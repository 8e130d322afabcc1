/**
 * The registers of slashing protection in one SQLite file: the synchronous core that runs inside `sqlite-thread.ts`.
 *
 * Durable means: WAL with `synchronous=FULL`, so that COMMIT returns after the log is on disk; many operations share one
 * transaction and none is answered before its COMMIT. `locking_mode=EXCLUSIVE` makes this process the file's only
 * owner: a second pool-manager on the same file fails at once. The file's owner can rewind it at will; this store
 * protects against crashes, not against the parent instance.
 * Sources: https://www.sqlite.org/wal.html, https://www.sqlite.org/pragma.html#pragma_synchronous
 */

import { DatabaseSync, type StatementSync } from "node:sqlite";
import { bytesEqual, PUBKEY_BYTES } from "#protocol/bytes.ts";
import { SignerError } from "#protocol/errors.ts";
import { type Durability, STORE_VALUE_BYTES_MAX, type StoreEntry } from "#protocol/slashing/store.ts";

/** Version of the tables, kept in `PRAGMA user_version`; 0 is an empty file. */
const SCHEMA_VERSION = 1;
/** `PRAGMA synchronous` as it reads back: 2 is FULL. */
const SYNCHRONOUS_FULL = 2;
/** Time to wait for the file lock, in case the previous owner is just ending. */
const LOCK_TIMEOUT_MS = 2_000;

const SCHEMA = `
  CREATE TABLE register (
    pubkey BLOB PRIMARY KEY CHECK (length(pubkey) = ${PUBKEY_BYTES}),
    record BLOB NOT NULL CHECK (length(record) BETWEEN 1 AND ${STORE_VALUE_BYTES_MAX})
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE marker (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    record BLOB NOT NULL CHECK (length(record) BETWEEN 1 AND ${STORE_VALUE_BYTES_MAX})
  ) STRICT;
  PRAGMA user_version = ${SCHEMA_VERSION};
`;

/** One compare-and-set; an undefined `key` means the marker. */
export interface WriteOperation {
  readonly key: Uint8Array | undefined;
  readonly expected: Uint8Array | undefined;
  readonly next: Uint8Array;
}

/** What became of one operation of a committed batch. */
export type WriteResult =
  | { readonly kind: "stored" }
  | { readonly kind: "conflict"; readonly actual: Uint8Array | undefined };

/** What became of a batch; on `failed` nothing may be assumed of any of its operations. */
export type BatchResult =
  | { readonly kind: "committed"; readonly results: WriteResult[] }
  | { readonly kind: "failed"; readonly detail: string };

/** One open file. Every method is synchronous and blocks its thread on the disk. */
export class SqliteRegisters {
  readonly #database: DatabaseSync;
  readonly #select: StatementSync;
  readonly #upsert: StatementSync;
  readonly #selectMarker: StatementSync;
  readonly #upsertMarker: StatementSync;
  readonly #selectPage: StatementSync;
  #commitFailure: string | undefined;

  /**
   * Opens or creates the file.
   * @param path of the file; its folder must exist.
   * @throws SignerError `unavailable` when the file cannot be opened, is locked, or is not a store of this version.
   */
  constructor(path: string) {
    try {
      this.#database = new DatabaseSync(path, { timeout: LOCK_TIMEOUT_MS });
    } catch (cause) {
      throw new SignerError("unavailable", `sqlite: cannot open ${path}: ${messageOf(cause)}`, { cause });
    }
    try {
      this.#configure();
      this.#select = this.#database.prepare("SELECT record FROM register WHERE pubkey = ?");
      this.#upsert = this.#database.prepare(
        "INSERT INTO register VALUES (?, ?) ON CONFLICT DO UPDATE SET record = excluded.record",
      );
      this.#selectMarker = this.#database.prepare("SELECT record FROM marker WHERE id = 1");
      this.#upsertMarker = this.#database.prepare(
        "INSERT INTO marker VALUES (1, ?) ON CONFLICT DO UPDATE SET record = excluded.record",
      );
      this.#selectPage = this.#database.prepare(
        "SELECT pubkey, record FROM register WHERE pubkey > ? ORDER BY pubkey LIMIT ?",
      );
    } catch (cause) {
      this.#database.close();
      if (cause instanceof SignerError) throw cause;
      throw new SignerError("unavailable", `sqlite: cannot use ${path}: ${messageOf(cause)}`, { cause });
    }
  }

  /** Does all operations in order, in one transaction. Returns after COMMIT, or after ROLLBACK with `failed`. */
  applyBatch(operations: readonly WriteOperation[]): BatchResult {
    try {
      this.#database.exec("BEGIN IMMEDIATE");
      const results = operations.map((operation) => this.#apply(operation));
      this.#database.exec("COMMIT");
      this.#commitFailure = undefined;
      return { kind: "committed", results };
    } catch (error) {
      this.#commitFailure = messageOf(error);
      this.#rollback();
      return { kind: "failed", detail: `sqlite: the batch was rolled back: ${this.#commitFailure}` };
    }
  }

  /** Values of the keys, in order; undefined where there is none. */
  getMany(keys: readonly Uint8Array[]): (Uint8Array | undefined)[] {
    return keys.map((key) => recordOf(this.#select.get(key)));
  }

  /** Up to `limit` registers with keys after `afterKey` (undefined: from the start), in order of keys. */
  scanPage(afterKey: Uint8Array | undefined, limit: number): StoreEntry[] {
    const rows = this.#selectPage.all(afterKey ?? new Uint8Array(0), limit);
    return rows.map((row) => ({ key: row.pubkey as Uint8Array, value: row.record as Uint8Array }));
  }

  marker(): Uint8Array | undefined {
    return recordOf(this.#selectMarker.get());
  }

  /** Whether the settings are as they must be and the last commit went through. Never throws. */
  durability(): Durability {
    try {
      const problem = this.#settingsProblem();
      if (problem !== undefined) return { ok: false, reason: problem };
    } catch (error) {
      return { ok: false, reason: `sqlite: cannot read the settings: ${messageOf(error)}` };
    }
    if (this.#commitFailure === undefined) return { ok: true };
    return { ok: false, reason: `sqlite: the last commit failed: ${this.#commitFailure}` };
  }

  close(): void {
    this.#database.close();
  }

  #configure(): void {
    // Exclusive before WAL: then the log's index lives in this process and no shared-memory file is needed.
    this.#database.exec("PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;");
    const problem = this.#settingsProblem();
    if (problem !== undefined) throw new SignerError("unavailable", problem);
    this.#migrate();
    // What a killed predecessor wrote may be in the log without having been synced. A checkpoint syncs the log and
    // the file, so from here on everything that can be read is durable, also for a write that changes nothing.
    const [checkpoint] = this.#database.prepare("PRAGMA wal_checkpoint(TRUNCATE)").all();
    if (checkpoint?.busy !== 0) throw new SignerError("unavailable", "sqlite: the first checkpoint did not finish");
  }

  #migrate(): void {
    this.#database.exec("BEGIN IMMEDIATE");
    try {
      const version = this.#pragma("user_version");
      if (version === 0) {
        const tables = this.#database.prepare("SELECT name FROM sqlite_schema").all();
        if (tables.length > 0) throw new SignerError("unavailable", "sqlite: the file belongs to another program");
        this.#database.exec(SCHEMA);
      } else if (version !== SCHEMA_VERSION) {
        throw new SignerError("unavailable", `sqlite: expected schema version ${SCHEMA_VERSION}, got ${version}`);
      }
      this.#database.exec("COMMIT");
    } catch (error) {
      this.#rollback();
      throw error;
    }
  }

  #apply({ key, expected, next }: WriteOperation): WriteResult {
    const actual = recordOf(key === undefined ? this.#selectMarker.get() : this.#select.get(key));
    const matches = expected === undefined || actual === undefined ? actual === expected : bytesEqual(actual, expected);
    if (!matches) return { kind: "conflict", actual };
    if (key === undefined) this.#upsertMarker.run(next);
    else this.#upsert.run(key, next);
    return { kind: "stored" };
  }

  #settingsProblem(): string | undefined {
    const journal = this.#pragma("journal_mode");
    if (journal !== "wal") return `sqlite: journal_mode: expected wal, got ${journal}`;
    const synchronous = this.#pragma("synchronous");
    if (synchronous !== SYNCHRONOUS_FULL) {
      return `sqlite: synchronous: expected ${SYNCHRONOUS_FULL} (FULL), got ${synchronous}`;
    }
    const locking = this.#pragma("locking_mode");
    return locking === "exclusive" ? undefined : `sqlite: locking_mode: expected exclusive, got ${locking}`;
  }

  #pragma(name: "journal_mode" | "synchronous" | "user_version" | "locking_mode"): unknown {
    return this.#database.prepare(`PRAGMA ${name}`).get()?.[name];
  }

  #rollback(): void {
    // SQLite rolls back by itself on some errors (disk full); ROLLBACK then has nothing to do and says so.
    if (this.#database.isTransaction) this.#database.exec("ROLLBACK");
  }
}

const recordOf = (row: Record<string, unknown> | undefined): Uint8Array | undefined =>
  row?.record as Uint8Array | undefined;

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
