/** Mnemonics: BIP-39 and EIP-2333 vectors, what people type, and what is never repeated to them. */

import { entropyToMnemonic } from "@scure/bip39";
import { wordlist } from "@scure/bip39/wordlists/english.js";
import { describe, expect, it } from "vitest";
import { newMnemonic, parseMnemonic, seedOf } from "../../../../cli/keygen/mnemonic.ts";
import { refusal } from "../../protocol/sealed/bundles.ts";

const ABOUT = `${"abandon ".repeat(11)}about`;
const ART = `${"abandon ".repeat(23)}art`;

describe("seeds", () => {
  // trezor/python-mnemonic vectors.json (the reference of BIP-39): entropy, words, seed with the passphrase "TREZOR".
  it.each([
    [
      "00".repeat(32),
      ART,
      "bda85446c68413707090a52022edd26a1c9462295029f2e60cd7c4f2bbd3097170af7a4d73245cafa9c3cca8d561a7c3de6f5d4a10be8ed2a5e608d68f92fcc8",
    ],
    // Also the seed of EIP-2333's test case 0.
    [
      "00".repeat(16),
      ABOUT,
      "c55257c360c07c72029aebc1b53c05ed0362ada38ead3e3e9efa3708e53495531f09a6987599d18264c1e1c92f2cf141630c7a3c4ab7c81b2f001698e7463b04",
    ],
  ])("of entropy %s are BIP-39's", async (entropy, words, seed) => {
    expect(entropyToMnemonic(new Uint8Array(Buffer.from(entropy, "hex")), wordlist)).toBe(words);
    expect(Buffer.from(await seedOf(parseMnemonic(words, "words"), "TREZOR")).toString("hex")).toBe(seed);
  });

  it("without a passphrase are those of the empty one", async () => {
    expect(await seedOf(ART)).toEqual(await seedOf(ART, ""));
    expect(await seedOf(ART)).not.toEqual(await seedOf(ART, "TREZOR"));
  });
});

describe("a new mnemonic", () => {
  it("has 24 words, is valid, and is another each time", () => {
    const made = Array.from({ length: 20 }, newMnemonic);
    expect(new Set(made).size).toBe(20);
    for (const mnemonic of made) {
      expect(mnemonic.split(" ").length).toBe(24);
      expect(parseMnemonic(mnemonic, "words")).toBe(mnemonic);
    }
  });
});

describe("a mnemonic that somebody wrote", () => {
  it.each([
    ["capitals and lines", `  ${ART.toUpperCase().replaceAll(" ", "\r\n\t ")}\n`],
    ["one line", ART],
  ])("with %s is read", (_what, text) => {
    expect(parseMnemonic(text, "words")).toBe(ART);
  });

  it.each([
    ["nothing", "", "words: expected 12, 15, 18, 21, 24 words, got 0"],
    ["a word too few", ART.replace("abandon ", ""), "words: expected 12, 15, 18, 21, 24 words, got 23"],
    ["a word too many", `${ART} art`, "words: expected 12, 15, 18, 21, 24 words, got 25"],
    [
      "unknown words",
      ART.replace("abandon abandon", "abandon xylo").replace("art", "secretword"),
      "words: not in the English word list: word 2, 24",
    ],
    [
      "a wrong checksum",
      ART.replace("art", "zoo"),
      "words: the checksum is wrong: a word is another, or two are swapped",
    ],
  ])("with %s is refused, and no word of it repeated", (_what, text, detail) => {
    expect(refusal(() => parseMnemonic(text, "words"))).toBe(detail);
  });

  it("with two words swapped is refused", () => {
    const words = entropyToMnemonic(new Uint8Array(32).fill(0x5a), wordlist).split(" ");
    [words[3], words[4]] = [words[4] as string, words[3] as string];
    expect(refusal(() => parseMnemonic(words.join(" "), "words"))).toMatch(/checksum/);
  });
});
