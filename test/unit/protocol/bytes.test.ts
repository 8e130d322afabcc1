import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ByteReader, ByteWriter, bytesEqual, fromHex, quote, toHex } from "#protocol/bytes.ts";
import { SignerError } from "#protocol/errors.ts";

describe("hex", () => {
  it("gives back every byte string, with or without 0x, in either case", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => {
        const hex = toHex(bytes);
        for (const text of [hex, hex.slice(2), `0X${hex.slice(2).toUpperCase()}`]) {
          expect(fromHex(text, bytes.length, "value")).toEqual(bytes);
        }
      }),
    );
  });

  it.each([
    ["one digit short", "0x0"],
    ["one byte short", "0x"],
    ["one byte long", "0x0102"],
    ["not hex", "0x0g"],
    ["a space", "0x 1"],
    ["two prefixes", "0x0x"],
  ])("refuses %s and names the field", (_, text) => {
    expect(() => fromHex(text, 1, "slot root")).toThrow(/^bad_request: slot root: expected 1 bytes of hex/);
  });

  it("reads only its own part of a shared buffer", () => {
    expect(toHex(new Uint8Array([1, 2, 3, 4]).subarray(1, 3))).toBe("0x0203");
  });
});

describe("bytesEqual", () => {
  it("agrees with comparing hex", () => {
    const bytes = fc.uint8Array({ maxLength: 3, max: 2 });
    fc.assert(fc.property(bytes, bytes, (left, right) => bytesEqual(left, right) === (toHex(left) === toHex(right))));
  });
});

describe("quote", () => {
  it("is short and printable for any value", () => {
    fc.assert(
      fc.property(fc.anything(), (value) => {
        fc.pre(!containsUnprintable(value));
        expect(quote(value).length).toBeLessThanOrEqual(42);
      }),
    );
  });

  it("escapes control characters", () => {
    expect(quote("a\nb\u0000")).toBe('"a\\nb\\u0000"');
  });
});

describe("ByteReader and ByteWriter", () => {
  it("round-trip every field", () => {
    const fields = fc.record({
      u8: fc.integer({ min: 0, max: 0xff }),
      u16: fc.integer({ min: 0, max: 0xffff }),
      u32: fc.integer({ min: 0, max: 0xffff_ffff }),
      u64: fc.maxSafeNat(),
      sized: fc.uint8Array({ maxLength: 50 }),
      text: fc.string({ unit: "grapheme" }),
      rest: fc.uint8Array({ maxLength: 50 }),
    });
    fc.assert(
      fc.property(fields, ({ u8, u16, u32, u64, sized, text, rest }) => {
        const writer = new ByteWriter().u8(u8).u16(u16).u32(u32).u64(u64).sizedBytes(sized).sizedText(text).bytes(rest);
        const reader = new ByteReader(writer.finish(), "message");
        expect([reader.u8("a"), reader.u16("b"), reader.u32("c"), reader.safeU64("d")]).toEqual([u8, u16, u32, u64]);
        expect(new Uint8Array(reader.sizedBytes("e"))).toEqual(sized);
        expect(reader.sizedText("f")).toBe(text);
        expect(new Uint8Array(reader.rest())).toEqual(rest);
        reader.end();
      }),
    );
  });

  it("names the message and the field that is cut short", () => {
    const reader = new ByteReader(new Uint8Array(3), "record");
    expect(() => reader.u32("slot")).toThrow("protocol_violation: record: slot: expected 4 bytes, got 3");
  });

  it("refuses a length that points behind the end", () => {
    const reader = new ByteReader(new ByteWriter().u32(5).bytes(new Uint8Array(4)).finish(), "record");
    expect(() => reader.sizedBytes("body")).toThrow(/body: expected 5 bytes, got 4/);
  });

  it("refuses trailing bytes", () => {
    const reader = new ByteReader(new Uint8Array(2), "record");
    reader.u8("version");
    expect(() => reader.end()).toThrow("protocol_violation: record: 1 trailing bytes");
  });

  it.each([
    [2n ** 53n - 1n, true],
    [2n ** 53n, false],
    [2n ** 64n - 1n, false],
  ])("takes %s as a safe integer: %s", (value, valid) => {
    const bytes = Buffer.alloc(8);
    bytes.writeBigUInt64BE(value);
    const read = () => new ByteReader(bytes, "record").safeU64("slot");
    if (valid) expect(read()).toBe(Number(value));
    else expect(read).toThrow(SignerError);
  });
});

/** JSON.stringify throws on these; parsers hand `quote` only what came out of JSON. */
const containsUnprintable = (value: unknown): boolean => {
  try {
    JSON.stringify(value);
    return false;
  } catch {
    return true;
  }
};
