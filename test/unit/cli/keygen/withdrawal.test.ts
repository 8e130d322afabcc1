/** Withdrawal credentials, addresses and amounts. */

import { describe, expect, it } from "vitest";
import {
  checksummed,
  formatEth,
  parseAddress,
  parseAmount,
  type Withdrawal,
  withdrawalCredentials,
} from "../../../../cli/keygen/withdrawal.ts";
import { refusal } from "../../protocol/sealed/bundles.ts";

const ADDRESS = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed";
const address = parseAddress(ADDRESS);
const BLS: Withdrawal = { kind: "bls" };
const EXECUTION: Withdrawal = { kind: "execution", address };
const COMPOUNDING: Withdrawal = { kind: "compounding", address };
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

describe("an address", () => {
  // EIP-55, "Test Cases".
  it.each([
    "0x52908400098527886E0F7030069857D2E4169EE7",
    "0x8617E340B3D01FA5F11F306F4090FD50E238070D",
    "0xde709f2102306220921060314715629080e2fb77",
    "0x27b1fdb04752bbc536007a920d24acb045561c26",
    ADDRESS,
    "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
    "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
    "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
  ])("%s has the checksum of EIP-55", (text) => {
    expect(checksummed(parseAddress(text))).toBe(text);
    expect(parseAddress(text.toLowerCase())).toEqual(parseAddress(text));
    expect(parseAddress(`0x${text.slice(2).toUpperCase()}`)).toEqual(parseAddress(text));
  });

  it("in mixed case is refused with any letter in the other case, or any digit changed", () => {
    for (let index = 2; index < ADDRESS.length; index += 1) {
      const character = ADDRESS[index] as string;
      const other = character === character.toLowerCase() ? character.toUpperCase() : character.toLowerCase();
      const flipped = `${ADDRESS.slice(0, index)}${other}${ADDRESS.slice(index + 1)}`;
      if (flipped !== ADDRESS) expect(refusal(() => parseAddress(flipped))).toMatch(/checksum \(EIP-55\)/);
    }
    expect(refusal(() => parseAddress(ADDRESS.replace("6053", "6054")))).toMatch(/checksum \(EIP-55\)/);
  });

  it.each([
    "",
    "0x",
    ADDRESS.slice(2),
    ADDRESS.slice(0, -1),
    `${ADDRESS}0`,
    ADDRESS.replace("a", "g"),
    `0x${"0".repeat(40)}`,
  ])("%j is none", (text) => {
    expect(refusal(() => parseAddress(text))).toMatch(/^--withdrawal-address: expected/);
  });
});

describe("withdrawal credentials", () => {
  const pubkey = new Uint8Array(48).fill(7);
  it("are prefix, zeros and address, or the hash of the withdrawal key", () => {
    const tail = `${"00".repeat(11)}${ADDRESS.slice(2).toLowerCase()}`;
    expect(hex(withdrawalCredentials(EXECUTION, pubkey))).toBe(`01${tail}`);
    expect(hex(withdrawalCredentials(COMPOUNDING, pubkey))).toBe(`02${tail}`);
    // sha256sum of 48 bytes of 07, first byte replaced by the prefix.
    expect(hex(withdrawalCredentials(BLS, pubkey))).toMatch(/^00[0-9a-f]{62}$/);
    expect(withdrawalCredentials(BLS, pubkey)).not.toEqual(
      withdrawalCredentials(
        BLS,
        pubkey.map(() => 8),
      ),
    );
  });
});

describe("an amount", () => {
  it.each<[string, Withdrawal, number]>([
    ["32", BLS, 32_000_000_000],
    ["32.0", EXECUTION, 32_000_000_000],
    ["32000000000gwei", EXECUTION, 32_000_000_000],
    ["32", COMPOUNDING, 32_000_000_000],
    ["32.000000001", COMPOUNDING, 32_000_000_001],
    ["1024.5", COMPOUNDING, 1_024_500_000_000],
    ["2048", COMPOUNDING, 2_048_000_000_000],
    ["2048000000000 Gwei", COMPOUNDING, 2_048_000_000_000],
  ])("%s with %j is %i gwei", (text, withdrawal, gwei) => {
    expect(parseAmount(text, withdrawal)).toBe(gwei);
  });

  it.each<[string, Withdrawal]>([
    ["31.999999999", EXECUTION],
    ["32.000000001", EXECUTION],
    ["33", BLS],
    ["2048", EXECUTION],
    ["2048.000000001", COMPOUNDING],
    ["31", COMPOUNDING],
    ["32000000000", COMPOUNDING],
    ["32.0000000001", COMPOUNDING],
    ["1e2", COMPOUNDING],
    ["0x20", COMPOUNDING],
    ["-32", COMPOUNDING],
    ["", COMPOUNDING],
    ["32eth", COMPOUNDING],
    ["32.5gwei", COMPOUNDING],
  ])("%s with %j is refused", (text, withdrawal) => {
    expect(refusal(() => parseAmount(text, withdrawal))).toMatch(/^--amount: expected 32/);
  });

  it("is shown as ETH", () => {
    expect([32_000_000_000, 32_000_000_001, 1_024_500_000_000].map(formatEth)).toEqual([
      "32",
      "32.000000001",
      "1024.5",
    ]);
  });
});
