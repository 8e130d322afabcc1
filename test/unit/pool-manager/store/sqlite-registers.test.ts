import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { SqliteRegisters } from "#pool-manager/store/sqlite-registers.ts";

const key = (fill: number): Uint8Array => new Uint8Array(48).fill(fill);
const value = (fill: number): Uint8Array => new Uint8Array(136).fill(fill);

let folder: string;
let path: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "testudo-registers-"));
  path = join(folder, "store.db");
});
afterEach(() => rmSync(folder, { recursive: true }));

/** Runs `sql` on the file from outside. */
const tamper = (sql: string): void => {
  const database = new DatabaseSync(path);
  database.exec(sql);
  database.close();
};

describe("SqliteRegisters", () => {
  it("does the operations of a batch in order, in one transaction", () => {
    const registers = new SqliteRegisters(path);
    const result = registers.applyBatch([
      { key: key(1), expected: undefined, next: value(1) },
      { key: key(1), expected: value(1), next: value(2) },
      { key: key(1), expected: value(1), next: value(3) },
      { key: undefined, expected: undefined, next: value(4) },
    ]);
    expect(result).toEqual({
      kind: "committed",
      results: [{ kind: "stored" }, { kind: "stored" }, { kind: "conflict", actual: value(2) }, { kind: "stored" }],
    });
    expect(registers.getMany([key(1), key(2)])).toEqual([value(2), undefined]);
    expect(registers.marker()).toEqual(value(4));
    registers.close();
  });

  it("rolls the whole batch back on any error, and says so until a commit succeeds", () => {
    const registers = new SqliteRegisters(path);
    const tooLong = new Uint8Array(513);
    const result = registers.applyBatch([
      { key: key(1), expected: undefined, next: value(1) },
      { key: key(2), expected: undefined, next: tooLong },
    ]);
    expect(result).toMatchObject({ kind: "failed" });
    expect(registers.getMany([key(1)])).toEqual([undefined]);
    expect(registers.durability()).toMatchObject({ ok: false });
    expect(registers.applyBatch([{ key: key(1), expected: undefined, next: value(1) }]).kind).toBe("committed");
    expect(registers.durability()).toEqual({ ok: true });
    registers.close();
  });

  it("pages through all registers in order of keys", () => {
    const registers = new SqliteRegisters(path);
    registers.applyBatch([3, 1, 2].map((fill) => ({ key: key(fill), expected: undefined, next: value(fill) })));
    const first = registers.scanPage(undefined, 2);
    expect(first.map((entry) => entry.key[0])).toEqual([1, 2]);
    expect(registers.scanPage(first[1]?.key, 2)).toEqual([{ key: key(3), value: value(3) }]);
    expect(registers.scanPage(key(3), 2)).toEqual([]);
    registers.close();
  });

  it("has one owner at a time", { timeout: 10_000 }, () => {
    const registers = new SqliteRegisters(path);
    expect(() => new SqliteRegisters(path)).toThrow("locked");
    registers.close();
    new SqliteRegisters(path).close();
  });

  it("refuses a file of another version, of another program, and no database", () => {
    new SqliteRegisters(path).close();
    tamper("PRAGMA user_version = 2");
    expect(() => new SqliteRegisters(path)).toThrow("expected schema version 1, got 2");
    rmSync(path);
    tamper("CREATE TABLE other (id INTEGER)");
    expect(() => new SqliteRegisters(path)).toThrow("belongs to another program");
    rmSync(path);
    writeFileSync(path, "this is not a database, and long enough to be read as one".repeat(10));
    expect(() => new SqliteRegisters(path)).toThrow("unavailable");
    expect(() => new SqliteRegisters(join(folder, "no", "folder"))).toThrow("cannot open");
  });
});
