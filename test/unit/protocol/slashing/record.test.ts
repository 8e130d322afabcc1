import { createHmac } from "node:crypto";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { SignerError } from "#protocol/errors.ts";
import { createRecordCodec, RECORD_BYTES } from "#protocol/slashing/record.ts";
import type { SlashingState } from "#protocol/slashing/rules.ts";

const KEY = new Uint8Array(32).fill(0x11);
const OPTIONS = {
  macKeys: new Map([[7, KEY]]),
  writingKeyId: 7,
  genesisValidatorsRoot: new Uint8Array(32).fill(0x22),
  storeId: new Uint8Array(16).fill(0x33),
};
const PUBKEY = new Uint8Array(48).fill(0x44);
const codec = createRecordCodec(OPTIONS);

const FULL: SlashingState = {
  block: { slot: 0x0102030405, signingRoot: new Uint8Array(32).fill(0xaa) },
  attestation: { sourceEpoch: 6, targetEpoch: 7, signingRoot: new Uint8Array(32).fill(0xbb) },
  control: { generation: 8, disabled: true, stopAtEpoch: 9 },
};

const number = fc.maxSafeNat();
const root = fc.option(fc.uint8Array({ minLength: 32, maxLength: 32 }), { nil: undefined });
const withRoot = (signingRoot: Uint8Array | undefined) => (signingRoot === undefined ? {} : { signingRoot });
const anyState: fc.Arbitrary<SlashingState> = fc
  .record({
    block: fc.option(fc.tuple(number, root), { nil: undefined }),
    attestation: fc.option(fc.tuple(number, number, root), { nil: undefined }),
    generation: fc.integer({ min: 0, max: 0xffff_ffff }),
    disabled: fc.boolean(),
    stopAtEpoch: fc.option(number, { nil: undefined }),
  })
  .map(({ block, attestation, generation, disabled, stopAtEpoch }) => ({
    ...(block && { block: { slot: block[0], ...withRoot(block[1]) } }),
    ...(attestation && {
      attestation: { sourceEpoch: attestation[0], targetEpoch: attestation[1], ...withRoot(attestation[2]) },
    }),
    control: { generation, disabled, ...(stopAtEpoch !== undefined && { stopAtEpoch }) },
  }));

/** Makes a record with a right MAC from any body, as only a defect of ours could. */
const forge = (change: (record: Buffer) => void, state: SlashingState): Buffer => {
  const record = Buffer.from(codec.encode(PUBKEY, state));
  change(record);
  const mac = createHmac("sha256", KEY).update("testudo-slashing-record-v1").update(record.subarray(0, 104));
  mac.update(PUBKEY).update(OPTIONS.genesisValidatorsRoot).update(OPTIONS.storeId);
  record.set(mac.digest(), 104);
  return record;
};

describe("a record", () => {
  it("has the documented layout", () => {
    const record = Buffer.from(codec.encode(PUBKEY, FULL));
    expect(record.length).toBe(RECORD_BYTES);
    expect(record.subarray(0, 104).toString("hex")).toBe(
      `013f0007${"00000008"}${"0000000102030405"}${"aa".repeat(32)}${"0000000000000006"}${"0000000000000007"}` +
        `${"bb".repeat(32)}${"0000000000000009"}`,
    );
    expect(record).toEqual(forge(() => undefined, FULL));
  });

  it("comes back as it was written", () => {
    fc.assert(
      fc.property(anyState, fc.uint8Array({ minLength: 48, maxLength: 48 }), (state, pubkey) => {
        const record = codec.encode(pubkey, state);
        expect(codec.decode(pubkey, record)).toEqual({ kind: "record", state, macKeyId: 7 });
        expect(codec.encode(pubkey, state)).toEqual(record);
      }),
    );
  });

  it("is unverifiable after any bit flip", () => {
    fc.assert(
      fc.property(anyState, fc.nat(RECORD_BYTES * 8 - 1), (state, bit) => {
        const record = codec.encode(PUBKEY, state);
        record[bit >> 3] = (record[bit >> 3] ?? 0) ^ (1 << (bit & 7));
        expect(codec.decode(PUBKEY, record).kind).toBe("unverifiable");
      }),
      { numRuns: 2000 },
    );
  });

  it("is unverifiable for another validator, chain, store or key", () => {
    const record = codec.encode(PUBKEY, FULL);
    const other = (change: object) => createRecordCodec({ ...OPTIONS, ...change });
    expect(codec.decode(new Uint8Array(48).fill(0x45), record).kind).toBe("unverifiable");
    const codecs = [
      other({ genesisValidatorsRoot: new Uint8Array(32).fill(0x23) }),
      other({ storeId: new Uint8Array(16).fill(0x34) }),
      other({ macKeys: new Map([[7, new Uint8Array(32).fill(0x12)]]) }),
      other({ macKeys: new Map([[8, KEY]]), writingKeyId: 8 }),
    ];
    expect(codecs.map((each) => each.decode(PUBKEY, record).kind)).toEqual(codecs.map(() => "unverifiable"));
  });

  it("gives an answer for any bytes", () => {
    const bytes = fc.oneof(
      fc.uint8Array({ maxLength: 300 }),
      fc.uint8Array({ minLength: RECORD_BYTES, maxLength: RECORD_BYTES }),
    );
    fc.assert(fc.property(bytes, (value) => void expect(codec.decode(PUBKEY, value).kind).toBe("unverifiable")));
  });

  it("can be read while MAC keys rotate", () => {
    const macKeys = new Map([...OPTIONS.macKeys, [8, new Uint8Array(32).fill(0x99)]]);
    const rotated = createRecordCodec({ ...OPTIONS, macKeys, writingKeyId: 8 });
    expect(rotated.decode(PUBKEY, codec.encode(PUBKEY, FULL))).toMatchObject({ kind: "record", macKeyId: 7 });
    const record = rotated.encode(PUBKEY, FULL);
    expect(rotated.decode(PUBKEY, record)).toMatchObject({ kind: "record", macKeyId: 8 });
    expect(codec.decode(PUBKEY, record)).toEqual({
      kind: "unverifiable",
      reason: "record MAC key id 8 is not accepted",
    });
  });
});

describe("a record with a right MAC that we would not write", () => {
  const EMPTY: SlashingState = { control: { generation: 0, disabled: false } };
  const ROWS: [name: string, state: SlashingState, change: (record: Buffer) => void][] = [
    ["another version", FULL, (record) => record.writeUInt8(2, 0)],
    ["an unknown flag", FULL, (record) => record.writeUInt8(record.readUInt8(1) | 64, 1)],
    ["the highest flag", FULL, (record) => record.writeUInt8(record.readUInt8(1) | 128, 1)],
    ["a slot without a block", EMPTY, (record) => record.writeUInt8(1, 15)],
    ["a root without a block", EMPTY, (record) => record.writeUInt8(1, 16)],
    ["a known root without a block", EMPTY, (record) => record.writeUInt8(2, 1)],
    ["a source without an attestation", EMPTY, (record) => record.writeUInt8(1, 55)],
    ["a target without an attestation", EMPTY, (record) => record.writeUInt8(1, 63)],
    ["a known root without an attestation", EMPTY, (record) => record.writeUInt8(8, 1)],
    ["an unknown root that is not zero", FULL, (record) => record.writeUInt8(record.readUInt8(1) & ~2, 1)],
    ["an unknown attestation root that is not zero", FULL, (record) => record.writeUInt8(record.readUInt8(1) & ~8, 1)],
    ["a stop epoch without its flag", EMPTY, (record) => record.writeUInt8(1, 103)],
    ["a slot of 2^53", FULL, (record) => record.writeBigUInt64BE(2n ** 53n, 8)],
    ["a source of 2^64-1", FULL, (record) => record.writeBigUInt64BE(2n ** 64n - 1n, 48)],
    ["a stop epoch of 2^53", FULL, (record) => record.writeBigUInt64BE(2n ** 53n, 96)],
  ];
  it.each(ROWS)("is refused: %s", (_name, state, change) => {
    expect(codec.decode(PUBKEY, forge(change, state)).kind).toBe("unverifiable");
    expect(
      codec.decode(
        PUBKEY,
        forge(() => undefined, state),
      ).kind,
    ).toBe("record");
  });
});

describe("createRecordCodec", () => {
  it.each([
    ["a short key", { macKeys: new Map([[7, new Uint8Array(31)]]) }],
    ["a key id above 65535", { macKeys: new Map([[65536, KEY]]), writingKeyId: 65536 }],
    ["a writing key that is not accepted", { writingKeyId: 8 }],
    ["a short root", { genesisValidatorsRoot: new Uint8Array(31) }],
    ["a long store id", { storeId: new Uint8Array(17) }],
  ])("refuses %s", (_name, change) => {
    expect(() => createRecordCodec({ ...OPTIONS, ...change })).toThrow(SignerError);
  });

  it.each([
    ["a slot of 2^53", { ...FULL, block: { slot: 2 ** 53 } }],
    ["a negative slot", { ...FULL, block: { slot: -1 } }],
    ["a short root", { ...FULL, block: { slot: 1, signingRoot: new Uint8Array(31) } }],
    ["a generation of 2^32", { control: { generation: 2 ** 32, disabled: false } }],
  ])("never encodes %s", (_name, state) => {
    expect(() => codec.encode(PUBKEY, state)).toThrow(SignerError);
    expect(() => codec.encode(PUBKEY.subarray(1), FULL)).toThrow(SignerError);
  });
});
