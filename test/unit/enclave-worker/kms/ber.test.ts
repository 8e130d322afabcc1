/** The outline of BER values: whole, bounded, and total on anything. */

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { assertOneBerValue } from "#enclave/kms/ber.ts";
import { SignerError } from "#protocol/errors.ts";

const BOUNDS = { depthMax: 4, valuesMax: 6, what: "thing" };
const check = (hex: string, bounds = BOUNDS): void =>
  assertOneBerValue(Buffer.from(hex.replaceAll(" ", ""), "hex"), bounds);

describe("one value", () => {
  test.each([
    ["NULL", "05 00"],
    ["an empty sequence", "30 00"],
    ["an empty sequence of indefinite length", "30 80 00 00"],
    ["an integer in it", "30 03 02 01 05"],
    ["the same, indefinite", "30 80 02 01 05 00 00"],
    ["indefinite in definite", "30 06 30 80 05 00 00 00"],
    ["definite in indefinite", "30 80 30 02 05 00 00 00"],
    ["two that end together", "30 05 30 03 02 01 05"],
    ["siblings behind an end of contents", "30 80 30 80 00 00 05 00 00 00"],
    ["context-specific tags", "30 06 80 00 a1 00 a2 00"],
    ["zeros as content", "30 04 04 02 00 00"],
    ["a length in its long form", "04 81 01 00"],
    ["a length of three bytes", "04 83 00 00 01 00"],
    ["four deep", "30 80 30 80 30 80 30 80 00 00 00 00 00 00 00 00"],
    ["six values", "30 0a 05 00 05 00 05 00 05 00 05 00"],
  ])("%s", (_name, hex) => check(hex));
});

describe("refused", () => {
  test.each([
    ["nothing", "", /cut short/],
    ["a tag alone", "30", /cut short/],
    ["content cut short", "04 02 00", /cut short at byte 0 of 3/],
    ["a long length cut short", "04 82 00", /cut short/],
    ["a child beyond its parent", "30 03 04 02 00 00", /cut short at byte 2/],
    ["an indefinite child beyond its parent", "30 03 30 80 00 00 00", /end of contents/],
    ["a trailing byte", "05 00 00", /trailing bytes at byte 2/],
    ["a second value", "05 00 05 00", /trailing/],
    ["no end of contents", "30 80 05 00", /cut short/],
    ["half an end of contents", "30 80 00", /broken end of contents/],
    ["an end of contents with a length", "30 80 00 01 00", /broken end of contents/],
    ["an end of contents in a definite value", "30 02 00 00", /unexpected end of contents/],
    ["an end of contents alone", "00 00", /unexpected end of contents/],
    ["a primitive of indefinite length", "04 80 00 00", /indefinite length of a primitive/],
    ["a long tag", "1f 81 01 00", /long tag/],
    ["a sequence of the context-specific class", "b0 00", /class of tag/],
    ["the third context-specific tag", "30 02 a3 00", /class of tag at byte 2/],
    ["a sequence of the application class", "70 00", /class of tag/],
    ["a sequence of the private class", "f0 00", /class of tag/],
    ["a length of four bytes", "04 84 00 00 00 01 00", /length of 4 bytes/],
    ["the reserved length", "04 ff 00", /length of 127 bytes/],
    ["five deep", "30 80 30 80 30 80 30 80 30 80 00 00 00 00 00 00 00 00 00 00", /deeper than 4/],
    ["seven values", "30 0c 05 00 05 00 05 00 05 00 05 00 05 00", /more than 6 values/],
  ])("%s", (_name, hex, problem) => {
    expect(() => check(hex)).toThrow(problem);
    expect(() => check(hex)).toThrow(/^protocol_violation: thing: not one BER value/);
  });

  test("whatever it is, with one kind of error", () => {
    // Bytes that make structure, so that the walk gets deep.
    const byte = fc.oneof(fc.constantFrom(0x00, 0x04, 0x05, 0x30, 0x80, 0x81, 0xa0, 0x02, 0x01), fc.nat(255));
    fc.assert(
      fc.property(fc.array(byte, { maxLength: 60 }), (bytes) => {
        try {
          assertOneBerValue(Uint8Array.from(bytes), { ...BOUNDS, depthMax: 100, valuesMax: 100 });
        } catch (error) {
          expect(error).toBeInstanceOf(SignerError);
        }
      }),
      { numRuns: 3_000 },
    );
  });
});
