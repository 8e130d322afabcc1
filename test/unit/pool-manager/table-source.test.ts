import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { KeyRing } from "#pool-manager/keys/key-ring.ts";
import { type KeyStore, openKeyStore } from "#pool-manager/keys/key-store.ts";
import type { KeyTable, StoredBundle } from "#pool-manager/keys/key-table.ts";
import { createTableRing } from "#pool-manager/keys/table-source.ts";
import { SignerError } from "#protocol/errors.ts";
import { makeSocketFolder } from "../../helpers/socket-folder.ts";

const bundleOf = (header: number, ...pubkeys: number[]): StoredBundle => ({
  header: new Uint8Array(90).fill(header),
  keys: pubkeys.map((byte) => ({ pubkey: new Uint8Array(48).fill(byte), sealed: new Uint8Array(60).fill(byte) })),
});

let folder: ReturnType<typeof makeSocketFolder>;
let keyStore: KeyStore;
let live: StoredBundle[];
let failing: boolean;
let hasFailures: boolean;
let ring: KeyRing;
let readings: number;

const table: KeyTable = {
  configuration: async () => undefined,
  bundles: async function* () {
    readings += 1;
    if (failing) throw new SignerError("unavailable", "the table is away");
    yield* live;
  },
};
const makeRing = (): KeyRing => createTableRing({ table, keyStore, hasFailures: () => hasFailures });

beforeEach(() => {
  folder = makeSocketFolder();
  keyStore = openKeyStore(folder.path("keys.sqlite"));
  live = [bundleOf(1, 1, 2), bundleOf(2, 3)];
  failing = false;
  hasFailures = false;
  readings = 0;
  ring = makeRing();
});
afterEach(() => {
  keyStore.close();
  folder.remove();
});

const firstBytes = (): (number | undefined)[] | undefined => ring.current?.keys.map(({ pubkey }) => pubkey[0]);

describe("the ring of a table", () => {
  it("gives every key with its bundle, in the table's order", async () => {
    expect(ring.current).toBeUndefined();
    const list = await ring.refresh();
    expect(list).toMatchObject({ version: 1, errors: 0 });
    expect(list.keys.map(({ pubkey, header, registered }) => [pubkey[0], header?.[0], registered])).toEqual([
      [1, 1, false],
      [2, 1, false],
      [3, 2, false],
    ]);
  });

  it("has a new version when a key came, went or was sealed anew, and not otherwise", async () => {
    expect((await ring.refresh()).version).toBe(1);
    expect((await ring.refresh()).version).toBe(1);
    live = [bundleOf(1, 1, 2), bundleOf(2, 3, 4)];
    expect((await ring.refresh()).version).toBe(2);
    live = [bundleOf(2, 3, 4)];
    expect((await ring.refresh()).version).toBe(3);
    live = [bundleOf(3, 3, 4)];
    expect((await ring.refresh()).version).toBe(4);
    expect((await ring.refresh()).version).toBe(4);
  });

  it("has a new version at each reading while a key could not be opened, so that it is tried again", async () => {
    expect((await ring.refresh()).version).toBe(1);
    hasFailures = true;
    expect((await ring.refresh()).version).toBe(2);
    expect((await ring.refresh()).version).toBe(3);
  });

  it("keeps its list when the table is away", async () => {
    await ring.refresh();
    failing = true;
    await expect(ring.refresh()).rejects.toMatchObject({ code: "unavailable" });
    expect(firstBytes()).toEqual([1, 2, 3]);
  });

  it("refuses an empty table at the start alone", async () => {
    live = [];
    await expect(ring.refresh()).rejects.toMatchObject({ code: "bad_request" });
    live = [bundleOf(1, 1)];
    await ring.refresh();
    live = [];
    expect((await ring.refresh()).keys).toEqual([]);
  });

  it("remembers which keys have records, also over a restart, and reads once for all who ask", async () => {
    const { keys } = await ring.refresh();
    ring.markRegistered(keys.slice(0, 2));
    expect(ring.current?.keys.map(({ registered }) => registered)).toEqual([true, true, false]);
    expect((await ring.refresh()).version).toBe(1);
    ring = makeRing();
    const before = readings;
    await Promise.all([ring.refresh(), ring.refresh()]);
    expect(readings - before).toBe(1);
    expect(ring.current?.keys.map(({ registered }) => registered)).toEqual([true, true, false]);
    expect(ring.current?.keys.every(({ header }) => header !== undefined)).toBe(true);
  });
});
