/** What every `SlashingStore` must do, run over SQLite (through its thread) and over a real Redis. */

import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openSqliteStore } from "#pool-manager/store/sqlite-store.ts";
import { type SlashingStore, STORE_VALUE_BYTES_MAX } from "#protocol/slashing/store.ts";
import { openClusterBench, openReplicatedBench, openServerBench } from "../helpers/redis-benches.ts";

/** How the contract opens, crashes and removes one kind of store. */
interface Bench {
  open(): Promise<SlashingStore>;
  /**
   * Crashes whoever keeps the data amid writes of values that begin with 1, 2, 3, … (u32); answers the last
   * acknowledged number of each key (in hex). At most one write of a key is without answer.
   */
  crashAmidWrites(): Promise<Map<string, number>>;
  remove(): Promise<void>;
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");
/** Acknowledged writes after which the crash comes: enough that batches overlap it. */
const WRITES_BEFORE_CRASH = 500;

const openSqliteBench = async (): Promise<Bench> => {
  const folder = await mkdtemp(join(tmpdir(), "testudo-sqlite-"));
  return {
    open: () => openSqliteStore(join(folder, "store.db")),
    crashAmidWrites: async () => {
      const script = new URL("../helpers/sqlite-writer.ts", import.meta.url).pathname;
      const child = spawn(process.execPath, [script, join(folder, "store.db")], {
        stdio: ["ignore", "pipe", "inherit"],
      });
      const acknowledged = new Map<string, number>();
      let lines = 0;
      for await (const line of createInterface({ input: child.stdout })) {
        const [key = "", count] = line.split(" ");
        acknowledged.set(key, Number(count));
        lines += 1;
        if (lines === WRITES_BEFORE_CRASH) child.kill("SIGKILL");
      }
      if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
      expect(child.signalCode).toBe("SIGKILL");
      return acknowledged;
    },
    remove: () => rm(folder, { recursive: true, force: true }),
  };
};

describe.each([
  ["SQLite", openSqliteBench],
  ["Redis", openServerBench],
  ["Redis with a replica", openReplicatedBench],
  ["a Redis cluster", openClusterBench],
])("%s keeps the contract of a slashing store", (_name, openBench) => {
  let bench: Bench;
  let store: SlashingStore;
  const key = (): Buffer => randomBytes(48);
  const value = (): Buffer => randomBytes(136);

  beforeAll(async () => {
    bench = await openBench();
    store = await bench.open();
  });
  afterAll(async () => {
    await store?.close();
    await bench?.remove();
  });

  it("has no marker at first, and sets it only from what it is", async () => {
    const [first, second] = [randomBytes(95), randomBytes(95)];
    expect(await store.marker()).toBeUndefined();
    expect(await store.compareAndSetMarker(second, first)).toEqual({ kind: "conflict", actual: undefined });
    expect(await store.compareAndSetMarker(undefined, first)).toEqual({ kind: "stored" });
    expect(await store.compareAndSetMarker(undefined, second)).toMatchObject({ kind: "conflict" });
    expect(await store.compareAndSetMarker(first, second)).toEqual({ kind: "stored" });
    expect(hex((await store.marker()) ?? first)).toBe(hex(second));
  });

  it("stores into an absent register, and only once", async () => {
    const [name, first, second] = [key(), value(), value()];
    expect(await store.compareAndSet(name, undefined, first)).toEqual({ kind: "stored" });
    const again = await store.compareAndSet(name, undefined, second);
    expect(again.kind === "conflict" && again.actual && hex(again.actual)).toBe(hex(first));
  });

  it("stores over exactly the expected bytes", async () => {
    const [name, first, second] = [key(), value(), value()];
    await store.compareAndSet(name, undefined, first);
    const wrong = Buffer.from(first);
    wrong[135] = (wrong[135] ?? 0) ^ 1;
    expect(await store.compareAndSet(name, wrong, second)).toMatchObject({ kind: "conflict" });
    expect(await store.compareAndSet(name, first.subarray(0, 135), second)).toMatchObject({ kind: "conflict" });
    expect(await store.compareAndSet(name, first, second)).toEqual({ kind: "stored" });
    expect(await store.compareAndSet(name, first, second)).toMatchObject({ kind: "conflict" });
  });

  it("answers an absent register with a conflict over nothing", async () => {
    expect(await store.compareAndSet(key(), value(), value())).toEqual({ kind: "conflict", actual: undefined });
  });

  it("confirms a value that is already there", async () => {
    const [name, first] = [key(), value()];
    await store.compareAndSet(name, undefined, first);
    expect(await store.compareAndSet(name, first, first)).toEqual({ kind: "stored" });
    expect(await store.compareAndSet(name, value(), first)).toMatchObject({ kind: "conflict" });
  });

  it("keeps any bytes, from 1 to the longest", async () => {
    for (const bytes of [Buffer.alloc(1), Buffer.alloc(STORE_VALUE_BYTES_MAX, 0xff), Buffer.from("\r\n\0*$")]) {
      const name = key();
      expect(await store.compareAndSet(name, undefined, bytes)).toEqual({ kind: "stored" });
      const [stored] = await store.getMany([name]);
      expect(hex(stored ?? Buffer.alloc(0))).toBe(hex(bytes));
    }
  });

  it("refuses values and keys of a wrong length", async () => {
    expect(await store.compareAndSet(key(), undefined, Buffer.alloc(0))).toMatchObject({ kind: "unknown" });
    const long = Buffer.alloc(STORE_VALUE_BYTES_MAX + 1);
    expect(await store.compareAndSet(key(), undefined, long)).toMatchObject({ kind: "unknown" });
    expect(await store.compareAndSet(randomBytes(47), undefined, value())).toMatchObject({ kind: "unknown" });
    await expect(store.getMany([randomBytes(49)])).rejects.toMatchObject({ code: "bad_request" });
  });

  it("lets exactly one of 50 racing writers win", async () => {
    for (const expected of [undefined, value()]) {
      const name = key();
      if (expected) await store.compareAndSet(name, undefined, expected);
      const values = Array.from({ length: 50 }, value);
      const results = await Promise.all(values.map((next) => store.compareAndSet(name, expected, next)));
      const winners = values.filter((_, index) => results[index]?.kind === "stored");
      expect(winners).toHaveLength(1);
      const actuals = results.flatMap((result) =>
        result.kind === "conflict" && result.actual ? [hex(result.actual)] : [],
      );
      expect(actuals).toEqual(new Array(49).fill(hex(winners[0] ?? Buffer.alloc(0))));
    }
  });

  it("reads many keys in their order, with holes", async () => {
    const keys = Array.from({ length: 2500 }, key);
    const values = keys.map((_, index) => (index % 3 === 0 ? undefined : value()));
    await Promise.all(keys.map((name, index) => values[index] && store.compareAndSet(name, undefined, values[index])));
    const read = await store.getMany([...keys, keys[1] ?? key()]);
    expect(read.map((bytes) => bytes && hex(bytes))).toEqual(
      [...values, values[1]].map((bytes) => bytes && hex(bytes)),
    );
    expect(await store.getMany([])).toEqual([]);
  });

  it("scans every register at least once, and not the marker", async () => {
    const written = new Map<string, string>();
    const keys = Array.from({ length: 3000 }, key);
    for (const name of keys) written.set(hex(name), hex(value()));
    await Promise.all(
      [...written].map(([name, bytes]) =>
        store.compareAndSet(Buffer.from(name, "hex"), undefined, Buffer.from(bytes, "hex")),
      ),
    );
    const seen = new Map<string, string>();
    for await (const entry of store.scan()) seen.set(hex(entry.key), hex(entry.value));
    for (const [name, bytes] of written) expect(seen.get(name)).toBe(bytes);
    expect([...seen.keys()].every((name) => name.length === 96)).toBe(true);
  });

  it("says that it is durable", async () => {
    expect(await store.durability()).toEqual({ ok: true });
  });

  it("answers unknown once it is closed, also to what is in flight", async () => {
    const [name, first] = [key(), value()];
    await store.compareAndSet(name, undefined, first);
    const inFlight = Array.from({ length: 100 }, () => store.compareAndSet(key(), undefined, value()));
    await store.close();
    for (const result of await Promise.all(inFlight)) expect(result.kind).toBe("unknown");
    expect(await store.compareAndSet(name, first, value())).toMatchObject({ kind: "unknown" });
    expect(await store.compareAndSetMarker(undefined, value())).toMatchObject({ kind: "unknown" });
    await expect(store.getMany([name])).rejects.toMatchObject({ code: "unavailable" });
    await expect(store.marker()).rejects.toMatchObject({ code: "unavailable" });
    await expect(store.scan()[Symbol.asyncIterator]().next()).rejects.toMatchObject({ code: "unavailable" });
    expect(await store.durability()).toMatchObject({ ok: false });
    await store.close();
    store = await bench.open();
    const [kept] = await store.getMany([name]);
    expect(hex(kept ?? Buffer.alloc(0))).toBe(hex(first));
  });

  it("loses no acknowledged write to kill -9", async () => {
    await store.close();
    const acknowledged = await bench.crashAmidWrites();
    expect(acknowledged.size).toBeGreaterThan(0);
    store = await bench.open();
    const names = [...acknowledged.keys()].map((name) => Buffer.from(name, "hex"));
    const survivors = await store.getMany(names);
    for (const [index, survivor] of survivors.entries()) {
      const count = survivor === undefined ? 0 : Buffer.from(survivor).readUInt32BE();
      const last = acknowledged.get(hex(names[index] ?? key())) ?? Number.NaN;
      expect([last, last + 1]).toContain(count);
    }
  });
});
