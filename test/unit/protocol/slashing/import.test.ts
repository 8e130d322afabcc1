import { describe, expect, it } from "vitest";
import { SignerError } from "#protocol/errors.ts";
import { exportFromStore, mergeIntoStore } from "#protocol/slashing/import.ts";
import { createRecordCodec } from "#protocol/slashing/record.ts";
import type { SlashingState } from "#protocol/slashing/rules.ts";
import type { CompareAndSetResult, SlashingStore } from "#protocol/slashing/store.ts";

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
    expect(report).toEqual({ imported: [KEY_HEX], failures: [] });
    expect(state()).toEqual(expected);
  });

  it("creates an absent record only when told so", async () => {
    const { store, registers, state } = memoryStore(never);
    const states = [[KEY_HEX, { block: { slot: 5, signingRoot: root(1) }, control }]] as const;
    const refused = await mergeIntoStore({ store, codec }, states, { mayCreate: () => false });
    expect(refused.failures[0]?.reason).toMatch(/record was lost.*restore the store.*docs\/slashing-protection\.md/);
    expect(registers.size).toBe(0);
    await mergeIntoStore({ store, codec }, states, { mayCreate: () => true });
    expect(state()).toEqual({ block: { slot: 5 }, control });
  });

  it("asks for each validator whether it may, and creates the others", async () => {
    const { store, registers } = memoryStore(never);
    const other = `0x${"bb".repeat(48)}`;
    const states = [KEY_HEX, other].map((key) => [key, { block: { slot: 5 }, control }] as const);
    const report = await mergeIntoStore({ store, codec }, states, { mayCreate: (pubkeyHex) => pubkeyHex === other });
    expect(report).toMatchObject({ imported: [other], failures: [{ pubkey: KEY_HEX }] });
    expect([...registers.keys()]).toEqual(["bb".repeat(48)]);
  });

  it("reports progress up to the last validator, failed or not", async () => {
    const { store } = memoryStore(never);
    const states = Array.from({ length: 2500 }, (_, index) => {
      const key = `0x${index.toString(16).padStart(96, "0")}`;
      return [key, { block: { slot: 5 }, control }] as const;
    });
    const done: number[] = [];
    const mayCreate = (pubkeyHex: string): boolean => pubkeyHex.endsWith("0");
    await mergeIntoStore({ store, codec }, states, { mayCreate, onProgress: (count) => done.push(count) });
    expect(done).toEqual([1024, 2048, 2500]);
  });

  it("never overwrites a record that cannot be verified", async () => {
    const { store, registers } = memoryStore(never);
    const bad = codec.encode(KEY, OWN);
    bad[100] = 1;
    registers.set("aa".repeat(48), bad);
    const report = await mergeIntoStore({ store, codec }, [[KEY_HEX, OWN]], { mayCreate: () => true });
    expect(report.failures[0]?.reason).toContain("cannot be verified");
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
    expect((await mergeIntoStore({ store, codec }, states, { mayCreate: () => false })).failures).toEqual([]);
    expect(state()).toEqual({ ...OWN, block: { slot: 20 } });
  });

  it.each([
    ["a store that always conflicts", { kind: "conflict", actual: codec.encode(KEY, OWN) }, "changed 8 times"],
    ["a store that does not know", { kind: "unknown", detail: "timeout" }, "import again): timeout"],
  ] as const)("gives up on %s", async (_name, answer, reason) => {
    const { store, put } = memoryStore(() => answer);
    put(OWN);
    const report = await mergeIntoStore({ store, codec }, [[KEY_HEX, OWN]], { mayCreate: () => false });
    expect(report.failures[0]?.reason).toContain(reason);
  });

  it("reports each validator of a page when the store cannot be read", async () => {
    const { store } = memoryStore(never);
    const broken = { ...store, getMany: () => Promise.reject(new SignerError("unavailable", "gone")) };
    const report = await mergeIntoStore({ store: broken, codec }, [[KEY_HEX, OWN]], { mayCreate: () => true });
    expect(report).toEqual({ imported: [], failures: [{ pubkey: KEY_HEX, reason: "unavailable: gone" }] });
  });
});

describe("exportFromStore", () => {
  it("answers every state, and every record that cannot be verified", async () => {
    const { store, registers, put } = memoryStore(never);
    put(OWN);
    registers.set("bb".repeat(48), new Uint8Array(3));
    expect(await exportFromStore({ store, codec })).toEqual({
      validators: new Map([[KEY_HEX, OWN]]),
      failures: [{ pubkey: `0x${"bb".repeat(48)}`, reason: "record length: expected 136 bytes, got 3" }],
    });
  });
});
