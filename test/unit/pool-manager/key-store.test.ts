import { statSync } from "node:fs";
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
    expect(store.findImported(digest(1))).toBeUndefined();
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
