import { describe, expect, it } from "vitest";
import { SignerError } from "#protocol/errors.ts";
import { countRecords, exportFromStore } from "#protocol/slashing/export.ts";
import { mergeIntoStore, PAGE_VALIDATORS } from "#protocol/slashing/import.ts";
import { createRecordCodec } from "#protocol/slashing/record.ts";
import type { SlashingState } from "#protocol/slashing/rules.ts";
import type { CompareAndSetResult, SlashingStore } from "#protocol/slashing/store.ts";
import { failuresOf } from "../../../helpers/interchange.ts";

const codec = createRecordCodec({
  macKeys: new Map([[1, new Uint8Array(32).fill(1)]]),
  writingKeyId: 1,
  genesisValidatorsRoot: new Uint8Array(32),
  storeId: new Uint8Array(16),
});
const control = { generation: 0, disabled: false };
const root = (fill: number): Uint8Array => new Uint8Array(32).fill(fill);
const KEY = new Uint8Array(48).fill(0xaa);
const KEY_HEX = `0x${"aa".repeat(48)}`;

/** A store in memory; `beforeWrite` runs before each write and may answer in the store's place. */
const memoryStore = (beforeWrite: (registers: Map<string, Uint8Array>) => CompareAndSetResult | undefined) => {
  const registers = new Map<string, Uint8Array>();
  const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");
  const store: SlashingStore = {
    getMany: async (keys) => keys.map((key) => registers.get(hex(key))),
    compareAndSet: async (key, expected, next) => {
      const instead = beforeWrite(registers);
      if (instead !== undefined) return instead;
      const actual = registers.get(hex(key));
      if ((actual && hex(actual)) !== (expected && hex(expected))) return { kind: "conflict", actual };
      registers.set(hex(key), next);
      return { kind: "stored" };
    },
    scan: async function* () {
      for (const [key, value] of registers) yield { key: Buffer.from(key, "hex"), value };
    },
    marker: async () => undefined,
    compareAndSetMarker: async () => ({ kind: "unknown", detail: "not in this test" }),
    durability: async () => ({ ok: true }),
    close: async () => undefined,
  };
  const put = (state: SlashingState): void => void registers.set(hex(KEY), codec.encode(KEY, state));
  const state = (): unknown => {
    const decoded = codec.decode(KEY, registers.get(hex(KEY)) ?? new Uint8Array());
    return decoded.kind === "record" ? decoded.state : decoded.reason;
  };
  return { store, registers, put, state };
};

const never = (): undefined => undefined;
const OWN: SlashingState = {
  block: { slot: 10, signingRoot: root(1) },
  attestation: { sourceEpoch: 3, targetEpoch: 4, signingRoot: root(2) },
  control: { generation: 2, disabled: true },
};

describe("mergeIntoStore", () => {
  const ROWS: [name: string, imported: SlashingState, expected: SlashingState][] = [
    ["keeps everything when the import is lower", { block: { slot: 9, signingRoot: root(9) }, control }, OWN],
    ["keeps our own root when the import agrees", { block: { slot: 10, signingRoot: root(1) }, control }, OWN],
    [
      "forgets our root when the import differs",
      { block: { slot: 10, signingRoot: root(9) }, control },
      { ...OWN, block: { slot: 10 } },
    ],
    [
      "raises numbers, but takes no root from the import",
      {
        block: { slot: 11, signingRoot: root(9) },
        attestation: { sourceEpoch: 3, targetEpoch: 5, signingRoot: root(9) },
        control,
      },
      { ...OWN, block: { slot: 11 }, attestation: { sourceEpoch: 3, targetEpoch: 5 } },
    ],
    [
      "raises the source alone and keeps our root at the target",
      { attestation: { sourceEpoch: 4, targetEpoch: 4, signingRoot: root(2) }, control },
      { ...OWN, attestation: { sourceEpoch: 4, targetEpoch: 4, signingRoot: root(2) } },
    ],
  ];
  it.each(ROWS)("%s", async (_name, imported, expected) => {
    const { store, put, state } = memoryStore(never);
    put(OWN);
    const report = await mergeIntoStore({ store, codec }, [[KEY_HEX, imported]], { mayCreate: () => false });
    expect(report).toEqual({ imported: 1, failures: failuresOf() });
    expect(state()).toEqual(expected);
  });

  it("creates an absent record only when told so", async () => {
    const { store, registers, state } = memoryStore(never);
    const states = [[KEY_HEX, { block: { slot: 5, signingRoot: root(1) }, control }]] as const;
    const refused = await mergeIntoStore({ store, codec }, states, { mayCreate: () => false });
    expect(refused.failures.named[0]?.reason).toMatch(
      /record was lost.*restore the store.*docs\/slashing-protection\.md/,
    );
    expect(registers.size).toBe(0);
    await mergeIntoStore({ store, codec }, states, { mayCreate: () => true });
    expect(state()).toEqual({ block: { slot: 5 }, control });
  });

  it("asks for each validator whether it may, and creates the others", async () => {
    const { store, registers } = memoryStore(never);
    const other = `0x${"bb".repeat(48)}`;
    const states = [KEY_HEX, other].map((key) => [key, { block: { slot: 5 }, control }] as const);
    const report = await mergeIntoStore({ store, codec }, states, { mayCreate: (pubkeyHex) => pubkeyHex === other });
    expect(report).toMatchObject({ imported: 1, failures: { count: 1, named: [{ pubkey: KEY_HEX }] } });
    expect([...registers.keys()]).toEqual(["bb".repeat(48)]);
  });

  it("asks of those without a record only, and takes a failure to answer for a no", async () => {
    const { store, put, registers } = memoryStore(never);
    put(OWN);
    const other = `0x${"bb".repeat(48)}`;
    const asked: string[] = [];
    const mayCreate = (pubkeyHex: string): boolean => {
      asked.push(pubkeyHex);
      throw new SignerError("bad_request", "cannot say");
    };
    const states = [KEY_HEX, other].map((key) => [key, { block: { slot: 50 }, control }] as const);
    const report = await mergeIntoStore({ store, codec }, states, { mayCreate });
    expect(asked).toEqual([other]);
    expect(report).toEqual({
      imported: 1,
      failures: failuresOf({ pubkey: other, reason: "bad_request: cannot say" }),
    });
    expect(registers.size).toBe(1);
  });

  const keyOf = (index: number): string => `0x${index.toString(16).padStart(96, "0")}`;

  it("reads no further ahead than the next page, and counts failures that it does not name", async () => {
    const { store, registers } = memoryStore(never);
    let aheadMax = 0;
    const states = async function* () {
      for (let index = 0; index < 2500; index += 1) {
        aheadMax = Math.max(aheadMax, index - registers.size * 16);
        yield [keyOf(index), { block: { slot: 5 }, control }] as const;
      }
    };
    const mayCreate = (pubkeyHex: string): boolean => pubkeyHex.endsWith("0");
    const report = await mergeIntoStore({ store, codec }, states(), { mayCreate });
    expect(report.imported).toBe(157);
    expect(report.failures.count).toBe(2500 - 157);
    expect(report.failures.named).toHaveLength(100);
    expect(aheadMax).toBeLessThanOrEqual(2 * PAGE_VALIDATORS);
  });

  it("folds several histories of a validator, in one page or in many", async () => {
    const { store, state } = memoryStore(never);
    const states = function* () {
      for (const slot of [7, 9]) yield [KEY_HEX, { block: { slot }, control }] as const;
      for (let index = 0; index < 1500; index += 1) yield [keyOf(index), { control }] as const;
      yield [KEY_HEX, { block: { slot: 8 }, attestation: { sourceEpoch: 1, targetEpoch: 2 }, control }] as const;
    };
    const report = await mergeIntoStore({ store, codec }, states(), { mayCreate: () => true });
    expect(report).toEqual({ imported: 1502, failures: failuresOf() });
    expect(state()).toEqual({ block: { slot: 9 }, attestation: { sourceEpoch: 1, targetEpoch: 2 }, control });
  });

  it("keeps what was merged before the histories break off", async () => {
    const { store, registers } = memoryStore(never);
    const states = function* () {
      for (let index = 0; index < 1100; index += 1) yield [keyOf(index), { control }] as const;
      throw new SignerError("bad_request", "breaks off");
    };
    await expect(mergeIntoStore({ store, codec }, states(), { mayCreate: () => true })).rejects.toThrow("breaks off");
    expect(registers.size).toBe(PAGE_VALIDATORS);
  });

  it("never overwrites a record that cannot be verified", async () => {
    const { store, registers } = memoryStore(never);
    const bad = codec.encode(KEY, OWN);
    bad[100] = 1;
    registers.set("aa".repeat(48), bad);
    const report = await mergeIntoStore({ store, codec }, [[KEY_HEX, OWN]], { mayCreate: () => true });
    expect(report.failures.named[0]?.reason).toContain("cannot be verified");
    expect(registers.get("aa".repeat(48))).toBe(bad);
  });

  it("takes in what another enclave wrote meanwhile", async () => {
    let raced = false;
    const { store, put, state } = memoryStore((registers) => {
      if (!raced) registers.set("aa".repeat(48), codec.encode(KEY, { ...OWN, block: { slot: 20 } }));
      raced = true;
      return undefined;
    });
    put(OWN);
    const states = [[KEY_HEX, { block: { slot: 15 }, control }]] as const;
    expect((await mergeIntoStore({ store, codec }, states, { mayCreate: () => false })).failures.count).toBe(0);
    expect(state()).toEqual({ ...OWN, block: { slot: 20 } });
  });

  it.each([
    ["a store that always conflicts", { kind: "conflict", actual: codec.encode(KEY, OWN) }, "changed 8 times"],
    ["a store that does not know", { kind: "unknown", detail: "timeout" }, "import again): timeout"],
  ] as const)("gives up on %s", async (_name, answer, reason) => {
    const { store, put } = memoryStore(() => answer);
    put(OWN);
    const report = await mergeIntoStore({ store, codec }, [[KEY_HEX, OWN]], { mayCreate: () => false });
    expect(report.failures.named[0]?.reason).toContain(reason);
  });

  it("reports each validator of a page when the store cannot be read", async () => {
    const { store } = memoryStore(never);
    const broken = { ...store, getMany: () => Promise.reject(new SignerError("unavailable", "gone")) };
    const report = await mergeIntoStore({ store: broken, codec }, [[KEY_HEX, OWN]], { mayCreate: () => true });
    expect(report).toEqual({ imported: 0, failures: failuresOf({ pubkey: KEY_HEX, reason: "unavailable: gone" }) });
  });
});

describe("exportFromStore", () => {
  const OTHER = `0x${"bb".repeat(48)}`;
  const unverifiable = { ok: false, pubkey: OTHER, reason: "record length: expected 136 bytes, got 3" };

  it("answers every state, and every record that cannot be verified", async () => {
    const { store, registers, put } = memoryStore(never);
    put(OWN);
    registers.set("bb".repeat(48), new Uint8Array(3));
    const records = await Array.fromAsync(exportFromStore({ store, codec }));
    expect(records).toEqual([{ ok: true, pubkey: KEY_HEX, state: OWN }, unverifiable]);
    expect(await countRecords(store)).toBe(2);
  });

  it("answers the validators that were asked for, page by page, and says who is not there", async () => {
    const { store, registers, put } = memoryStore(never);
    put(OWN);
    registers.set("bb".repeat(48), new Uint8Array(3));
    const absent = Array.from({ length: 1500 }, (_, index) => Buffer.alloc(48, index % 100));
    const pubkeys = [KEY, ...absent, Buffer.alloc(48, 0xbb)];
    const records = await Array.fromAsync(exportFromStore({ store, codec }, { pubkeys }));
    expect(records).toHaveLength(1502);
    expect(records[0]).toEqual({ ok: true, pubkey: KEY_HEX, state: OWN });
    expect(records[1]).toMatchObject({ ok: false, reason: "the store has no record of it" });
    expect(records.at(-1)).toEqual(unverifiable);
  });
});
