import { NoneType, PartialListCompositeType, UintBigintType, UintNumberType } from "@chainsafe/ssz";
import { ssz } from "@lodestar/types";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { exactType } from "#protocol/signing/exact-type.ts";
import { jsonReader } from "#protocol/signing/strict-json.ts";
import * as naive from "../../../helpers/naive-ssz.ts";

describe("exact twins", () => {
  it.each([
    ["phase0 block", ssz.phase0.BeaconBlock],
    ["altair block", ssz.altair.BeaconBlock],
    ["electra block", ssz.electra.BeaconBlock],
    ["fulu aggregate", ssz.fulu.AggregateAndProof],
    ["validator (a node struct)", ssz.phase0.Validator],
    ["historical batch (vectors)", ssz.phase0.HistoricalBatch],
  ])("of a %s has the original's default root", (_, type) => {
    const exact = exactType(type as typeof ssz.phase0.BeaconBlock);
    expect(exact.hashTreeRoot(exact.defaultValue())).toEqual(type.hashTreeRoot(type.defaultValue() as never));
  });

  it("is exact where the original is not", () => {
    const json = { epoch: "4666673844721362957", root: `0x${"ab".repeat(32)}` };
    const exact = exactType(ssz.phase0.Checkpoint);
    const value = jsonReader(exact)(json, "checkpoint");
    expect(value.epoch).toBe(4666673844721362957n);
    expect(Buffer.from(exact.hashTreeRoot(value))).toEqual(
      naive.container(naive.uint64(json.epoch), naive.bytes(json.root)),
    );
  });

  it("caches no root: a value that changed has another one", () => {
    const exact = exactType(ssz.phase0.AttestationData);
    const value = exact.defaultValue();
    const before = Buffer.from(exact.hashTreeRoot(value));
    value.slot = 5n;
    expect(Buffer.from(exact.hashTreeRoot(value))).not.toEqual(before);
    expect(Object.getOwnPropertySymbols(value)).toEqual([]);
  });

  it("keeps no trace of the last value in its buffers", () => {
    const exact = exactType(ssz.phase0.IndexedAttestationBigint);
    const read = jsonReader(exact);
    const base = ssz.phase0.IndexedAttestationBigint.toJson(ssz.phase0.IndexedAttestationBigint.defaultValue());
    const { data, signature } = base as { data: object; signature: string };
    const dataRoot = Buffer.from(ssz.phase0.AttestationData.hashTreeRoot(ssz.phase0.AttestationData.defaultValue()));
    const indices = fc.array(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), { maxLength: 300 });
    fc.assert(
      fc.property(indices, (values) => {
        const texts = values.map(String);
        const root = exact.hashTreeRoot(read({ attesting_indices: texts, data, signature }, "it"));
        expect(Buffer.from(root)).toEqual(
          naive.container(naive.uint64List(texts, 2048), dataRoot, naive.bytes(signature)),
        );
      }),
    );
    const bits = fc.array(fc.boolean(), { maxLength: 2048 });
    const bitlist = jsonReader(ssz.phase0.CommitteeBits);
    fc.assert(
      fc.property(bits, (values) => {
        const root = ssz.phase0.CommitteeBits.hashTreeRoot(bitlist(naive.bitlistJson(values), "it"));
        expect(Buffer.from(root)).toEqual(naive.bitlist(values, 2048));
      }),
    );
  });

  it("refuses types that it does not know", () => {
    expect(() => exactType(new NoneType())).toThrow("no exact twin of none");
    expect(() => exactType(ssz.gloas.BeaconBlockBody)).toThrow("no exact twin of");
    expect(() => exactType(new PartialListCompositeType(ssz.phase0.Checkpoint, 4))).toThrow("no exact twin of");
    expect(() => jsonReader(new UintNumberType(8))).toThrow("no strict reader of");
    expect(() => jsonReader(new NoneType())).toThrow("no strict reader of");
  });
});

describe("readers of parts that no request has yet", () => {
  it.each([
    [1, "255", "256"],
    [2, "65535", "65536"],
    [32, String(2n ** 256n - 1n), String(2n ** 256n)],
  ] as const)("uint of %i bytes ends at %s", (byteLength, max, beyond) => {
    const read = jsonReader(new UintBigintType(byteLength));
    expect(read(max, "it")).toBe(BigInt(max));
    expect(() => read(beyond, "it")).toThrow(`it: expected an integer 0..2^${8 * byteLength}-1`);
  });

  it("bitvector with padding", () => {
    const read = jsonReader(ssz.phase0.JustificationBits);
    expect(read("0x0f", "it").bitLen).toBe(4);
    for (const bad of ["0x1f", "0x80", "0xff"])
      expect(() => read(bad, "it")).toThrow("it: expected 4 bits and zero padding");
  });

  it("byte list and boolean", () => {
    const list = jsonReader(ssz.bellatrix.Transaction);
    expect(list("0x", "it")).toEqual(new Uint8Array());
    expect(list("0xAb01", "it")).toEqual(Uint8Array.of(0xab, 1));
    for (const bad of ["", "ab", "0xa", "0xag", null, []]) expect(() => list(bad, "it")).toThrow("it: expected");
    const extra = jsonReader(ssz.bellatrix.ExecutionPayload.fields.extraData);
    expect(extra(`0x${"00".repeat(32)}`, "it")).toHaveLength(32);
    expect(() => extra(`0x${"00".repeat(33)}`, "it")).toThrow("it: expected at most 32 bytes of 0x-hex");
    const flag = jsonReader(ssz.Boolean);
    expect([flag(true, "it"), flag(false, "it")]).toEqual([true, false]);
    for (const bad of ["true", 1, 0, null]) expect(() => flag(bad, "it")).toThrow("it: expected true or false");
  });
});
