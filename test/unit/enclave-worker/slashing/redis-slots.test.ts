import { describe, expect, it } from "vitest";
import { parseSlots, slotOf } from "#enclave/slashing/redis-slots.ts";

const ASKED = { host: "10.0.0.1", port: 6379 };

describe("slotOf", () => {
  it.each([
    // CRC16-XMODEM's check value, 0x31c3, and the examples of the documentation of CLUSTER KEYSLOT
    ["123456789", 0x31c3],
    ["somekey", 11_058],
    ["foo{hash_tag}", 2515],
    ["bar{hash_tag}", 2515],
    ["", 0],
  ])("%j is %i", (key, slot) => {
    expect(slotOf(key)).toBe(slot);
  });

  it.each([
    ["a{b}c", "b"],
    ["{b}{c}", "b"],
    ["a{b}}", "b"],
    ["foo{{bar}}zap", "{bar"],
  ])("%j is where %j is", (key, tag) => {
    expect(slotOf(key)).toBe(slotOf(tag));
  });

  it.each([
    ["a{}b{c}", "c"],
    ["a}b{", "b"],
    ["a{b", "b"],
  ])("%j has no tag", (key, other) => {
    expect(slotOf(key)).not.toBe(slotOf(other));
  });
});

describe("parseSlots", () => {
  it("maps every slot to its primary", () => {
    const { addresses, owners } = parseSlots(
      [
        [0, 8191, ["10.0.0.1", 6379, "id", []], ["10.0.0.9", 6379, "replica", []]],
        [8192, 16_382, ["10.0.0.2", 6379, "id", []]],
        [16_383, 16_383, ["", 6379, "id", []]],
      ],
      ASKED,
    );
    expect(addresses).toEqual([
      { host: "10.0.0.1", port: 6379 },
      { host: "10.0.0.2", port: 6379 },
    ]);
    expect([owners[0], owners[8191], owners[8192], owners[16_382], owners[16_383]]).toEqual([0, 0, 1, 1, 0]);
  });

  it.each([
    ["no array", "OK", /expected an array/],
    ["nothing", [], /no server for slot 0/],
    ["a gap", [[0, 16_382, ["h", 1]]], /no server for slot 16383/],
    [
      "two owners",
      [
        [0, 16_383, ["h", 1]],
        [5, 5, ["i", 1]],
      ],
      /two servers for slot 5/,
    ],
    ["a slot too far", [[0, 16_384, ["h", 1]]], /expected a number/],
    ["a slot that is text", [["0", 16_383, ["h", 1]]], /expected a number/],
    ["no port", [[0, 16_383, ["h"]]], /expected a number/],
    ["no server", [[0, 16_383]], /expected an array/],
  ])("refuses %s", (_, reply, problem) => {
    expect(() => parseSlots(reply, ASKED)).toThrow(problem);
  });
});
