import { describe, expect, it } from "vitest";
import { sniffType } from "#gateway/eth2/type-hint.ts";
import { SIGNING_TYPES } from "#protocol/signing/types.ts";

describe("sniffType", () => {
  it.each(SIGNING_TYPES)("finds %s first, last and between spaces", (type) => {
    expect(sniffType(Buffer.from(`{"type":"${type}","a":1}`))).toBe(type);
    expect(sniffType(Buffer.from(`{"a":{"b":"c"},"type":"${type}"}`))).toBe(type);
    expect(sniffType(Buffer.from(`{\n  "type" :\t"${type.toLowerCase()}"\n}`))).toBe(type);
  });

  it.each([
    ["nothing", ""],
    ["no type", "{}"],
    ["an unknown type", '{"type":"GENERIC"}'],
    ["a longer name", '{"type":"ATTESTATION_V2"}'],
    ["a number", '{"type":1}'],
    ["a broken value", '{"type":"ATTESTATION'],
    ["a member's end", '{"type"'],
    ["a name of an object's prototype", '{"type":"constructor"}'],
    ["binary", "\u0000\uffff"],
  ])("says unknown for %s", (_name, body) => {
    expect(sniffType(Buffer.from(body))).toBeUndefined();
  });
});
