import { statSync, writeFileSync } from "node:fs";
import { DatabaseSync } from "node:sqlite";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type KeyOrigin, type KeyStore, listStoredKeys, openKeyStore } from "#pool-manager/keys/key-store.ts";
import type { SealedKey } from "#protocol/messages/control.ts";
import { makeSocketFolder } from "../../helpers/socket-folder.ts";

const GENERATED: KeyOrigin = { kind: "generated" };
const imported = (byte: number): KeyOrigin => ({ kind: "imported", digest: digest(byte) });
const digest = (byte: number): Uint8Array => new Uint8Array(32).fill(byte);
const key = (byte: number, sealed = byte): SealedKey => ({
  pubkey: new Uint8Array(48).fill(byte),
  sealed: new Uint8Array(60).fill(sealed),
  registered: false,
});

let folder: ReturnType<typeof makeSocketFolder>;
let path: string;
let store: KeyStore;
beforeEach(() => {
  folder = makeSocketFolder();
  path = folder.path("keys.sqlite");
  store = openKeyStore(path);
});
afterEach(() => {
  store.close();
  folder.remove();
});
const reopen = (): void => {
  store.close();
  store = openKeyStore(path);
};

describe("a key store", () => {
  it("finds an imported key by the digest of its very file, also after a restart", () => {
    store.save(key(1), imported(1));
    store.save(key(2), imported(2));
    reopen();
    expect(store.findImported(digest(1))).toEqual(key(1));
    expect(store.findImported(digest(2))).toEqual(key(2));
    expect(store.findImported(digest(3))).toBeUndefined();
    expect(store.generated()).toEqual([]);
  });

  it("lists generated keys in the order they were made", () => {
    for (const byte of [9, 3, 5]) store.save(key(byte), GENERATED);
    store.save(key(4), imported(4));
    reopen();
    expect(store.generated()).toEqual([key(9), key(3), key(5)]);
  });

  it("keeps the registration of a key that comes again from another file", () => {
    store.save(key(1), imported(1));
    store.markRegistered([key(1).pubkey]);
    store.save(key(1, 77), imported(2));
    expect(store.findImported(digest(2))).toEqual({ ...key(1, 77), registered: true });
    // Both files lead to it: neither is opened again at the next start.
    expect(store.findImported(digest(1))).toEqual({ ...key(1, 77), registered: true });
    expect(listStoredKeys(path)).toHaveLength(1);
  });

  it("remembers registrations, of exactly the keys that were named", () => {
    for (const byte of [1, 2, 3]) store.save(key(byte), GENERATED);
    store.markRegistered([key(1).pubkey, key(3).pubkey, key(99).pubkey]);
    store.markRegistered([]);
    store.markRegistered([key(1).pubkey]);
    reopen();
    expect(store.generated().map(({ registered }) => registered)).toEqual([true, false, true]);
  });

  it("keeps a development key that is imported too", () => {
    store.save(key(1), GENERATED);
    store.save(key(1), imported(1));
    expect(store.generated()).toEqual([key(1)]);
    expect(store.findImported(digest(1))).toEqual(key(1));
    store.save(key(2), imported(2));
    store.save(key(2), GENERATED);
    reopen();
    expect(store.generated()).toEqual([key(1), key(2)]);
    expect(listStoredKeys(path).map(({ origin }) => origin)).toEqual(["generated", "generated"]);
  });

  it("remembers that the set of development keys was complete", () => {
    expect(store.isSetComplete()).toBe(false);
    store.completeSet();
    store.completeSet();
    reopen();
    expect(store.isSetComplete()).toBe(true);
  });

  it("takes over a file of before there were versions, which can also be listed as it is", () => {
    const old = folder.path("old.sqlite");
    const database = new DatabaseSync(old);
    database.exec(`CREATE TABLE keys (sequence INTEGER PRIMARY KEY, pubkey BLOB NOT NULL UNIQUE, sealed BLOB NOT NULL,
      digest BLOB UNIQUE, registered INTEGER NOT NULL DEFAULT 0) STRICT`);
    const insert = database.prepare("INSERT INTO keys (pubkey, sealed, digest, registered) VALUES (?, ?, ?, ?)");
    insert.run(key(2).pubkey, key(2).sealed, digest(2), 1);
    insert.run(key(1).pubkey, key(1).sealed, null, 0);
    database.close();
    const listed = [
      { pubkey: key(2).pubkey, origin: "imported", registered: true },
      { pubkey: key(1).pubkey, origin: "generated", registered: false },
    ];
    expect(listStoredKeys(old)).toEqual(listed);
    const migrated = openKeyStore(old);
    expect(migrated.findImported(digest(2))).toEqual({ ...key(2), registered: true });
    expect(migrated.generated()).toEqual([key(1)]);
    migrated.close();
    expect(listStoredKeys(old)).toEqual(listed);
  });

  it("refuses a file of another version, and leaves it as it is", () => {
    store.save(key(1), GENERATED);
    store.close();
    const database = new DatabaseSync(path);
    database.exec("PRAGMA user_version = 2");
    database.close();
    for (const action of [() => openKeyStore(path), () => listStoredKeys(path)]) {
      expect(action).toThrow(/expected version 1, got 2/);
    }
    const again = new DatabaseSync(path);
    again.exec("PRAGMA user_version = 1");
    again.close();
    store = openKeyStore(path);
    expect(store.generated()).toEqual([key(1)]);
  });

  it("lists nothing of an empty file", () => {
    writeFileSync(folder.path("empty.sqlite"), "");
    expect(listStoredKeys(folder.path("empty.sqlite"))).toEqual([]);
  });

  it("can be listed while it is open, and shows no secret", () => {
    store.save(key(1), GENERATED);
    store.save(key(2), imported(2));
    store.markRegistered([key(2).pubkey]);
    expect(listStoredKeys(path)).toEqual([
      { pubkey: key(1).pubkey, origin: "generated", registered: false },
      { pubkey: key(2).pubkey, origin: "imported", registered: true },
    ]);
  });

  it("is for this user's eyes only, with everything that SQLite puts beside it", () => {
    store.save(key(1), GENERATED);
    for (const suffix of ["", "-wal", "-shm"]) {
      expect([suffix, (statSync(`${path}${suffix}`).mode & 0o777).toString(8)]).toEqual([suffix, "600"]);
    }
  });
});
