import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { SignerError } from "#protocol/errors.ts";
import { decodeMarker, encodeMarker, MARKER_BYTES, type Marker, verifyMarker } from "#protocol/slashing/marker.ts";

const KEYS = { macKeys: new Map([[3, new Uint8Array(32).fill(0x11)]]), writingKeyId: 3 };
const MARKER: Marker = {
  storeId: new Uint8Array(16).fill(0x33),
  genesisValidatorsRoot: new Uint8Array(32).fill(0x22),
  configVersionMin: 5,
  createdUnixSeconds: 1_800_000_000,
  commandSequence: 7,
  suspectSinceUnixSeconds: 0,
  recoverySequence: 4,
};

const anyMarker: fc.Arbitrary<Marker> = fc.record({
  storeId: fc.uint8Array({ minLength: 16, maxLength: 16 }),
  genesisValidatorsRoot: fc.uint8Array({ minLength: 32, maxLength: 32 }),
  configVersionMin: fc.integer({ min: 0, max: 0xffff_ffff }),
  createdUnixSeconds: fc.maxSafeNat(),
  commandSequence: fc.integer({ min: 0, max: 0xffff_ffff }),
  suspectSinceUnixSeconds: fc.maxSafeNat(),
  recoverySequence: fc.integer({ min: 0, max: 0xffff_ffff }),
});

describe("a marker", () => {
  it("comes back as it was written", () => {
    fc.assert(
      fc.property(anyMarker, (marker) => {
        const bytes = encodeMarker(marker, KEYS);
        expect(bytes.length).toBe(MARKER_BYTES);
        expect(decodeMarker(bytes, KEYS)).toEqual({ kind: "marker", marker, macKeyId: 3 });
      }),
    );
  });

  it("is unverifiable after any bit flip", () => {
    for (let bit = 0; bit < MARKER_BYTES * 8; bit += 1) {
      const bytes = encodeMarker(MARKER, KEYS);
      bytes[bit >> 3] = (bytes[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      expect(decodeMarker(bytes, KEYS).kind).toBe("unverifiable");
    }
  });

  it("gives an answer for any bytes", () => {
    const bytes = fc.oneof(
      fc.uint8Array({ maxLength: 200 }),
      fc.uint8Array({ minLength: MARKER_BYTES, maxLength: MARKER_BYTES }),
    );
    fc.assert(fc.property(bytes, (value) => void expect(decodeMarker(value, KEYS).kind).toBe("unverifiable")));
  });

  it("is unverifiable under another key", () => {
    const bytes = encodeMarker(MARKER, KEYS);
    const wrong = { macKeys: new Map([[3, new Uint8Array(32)]]), writingKeyId: 3 };
    const missing = { macKeys: new Map([[4, new Uint8Array(32).fill(0x11)]]), writingKeyId: 4 };
    expect(decodeMarker(bytes, wrong)).toMatchObject({ kind: "unverifiable" });
    expect(decodeMarker(bytes, missing)).toMatchObject({ reason: "marker MAC key id 3 is not accepted" });
  });

  it.each([
    ["a short store id", { storeId: new Uint8Array(15) }],
    ["a short root", { genesisValidatorsRoot: new Uint8Array(31) }],
    ["a version of 2^32", { configVersionMin: 2 ** 32 }],
    ["a negative time", { createdUnixSeconds: -1 }],
    ["a sequence of 2^32", { commandSequence: 2 ** 32 }],
    ["a suspicion of 2^53", { suspectSinceUnixSeconds: 2 ** 53 }],
  ])("is never encoded with %s", (_name, change) => {
    expect(() => encodeMarker({ ...MARKER, ...change }, KEYS)).toThrow(SignerError);
  });
});

describe("verifyMarker", () => {
  const EXPECTED = { ...MARKER, configVersion: 5 };
  it.each([
    ["the expected marker", {}, undefined],
    ["a newer configuration", { configVersion: 6 }, undefined],
    ["any chain where none is expected", { genesisValidatorsRoot: undefined }, undefined],
    ["an older configuration", { configVersion: 4 }, "configuration version 4 is below the minimum 5"],
    ["another store", { storeId: new Uint8Array(16) }, "use the data folder"],
    ["another chain", { genesisValidatorsRoot: new Uint8Array(32) }, "protects the chain"],
  ])("judges %s", (_name, change, expected) => {
    const verified = verifyMarker(encodeMarker(MARKER, KEYS), { ...EXPECTED, ...change }, KEYS);
    if (expected === undefined) expect(verified).toEqual({ kind: "ok", marker: MARKER, macKeyId: 3 });
    else expect(verified).toMatchObject({ kind: "refused", reason: expect.stringContaining(expected) });
  });

  it("refuses a marker of another MAC key", () => {
    const other = { macKeys: new Map([[3, new Uint8Array(32)]]), writingKeyId: 3 };
    const verified = verifyMarker(encodeMarker(MARKER, KEYS), EXPECTED, other);
    expect(verified).toMatchObject({ kind: "refused", reason: expect.stringContaining("another installation") });
  });
});
