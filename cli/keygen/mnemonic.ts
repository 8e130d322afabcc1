/**
 * Mnemonics (BIP-39): 24 English words that hold 256 random bits. Everything here is text, and text cannot be wiped: a
 * mnemonic is meant for paper and eyes. It lives in this short-lived process alone, which is why only the command line
 * makes mnemonics, and no enclave ever sees one. There is one word list: each more is one more way to misread a backup.
 */

import { generateMnemonic, mnemonicToEntropy, mnemonicToSeed } from "@scure/bip39";
import { wordlist } from "@scure/bip39/wordlists/english.js";
import { SignerError } from "#protocol/errors.ts";

/** Entropy of a new mnemonic, as the official deposit tool has it: 24 words. */
const ENTROPY_BITS = 256;
/** Numbers of words that BIP-39 knows. */
const WORD_COUNTS: readonly number[] = [12, 15, 18, 21, 24];

/** A new mnemonic of 24 words, from the system's random numbers. */
export const newMnemonic = (): string => generateMnemonic(wordlist, ENTROPY_BITS);

/**
 * Reads a mnemonic as people write it: words in any case with any blanks between, perhaps over several lines.
 * @returns the words in lower case with one blank between
 * @throws SignerError `bad_request` that names places, never words
 */
export const parseMnemonic = (text: string, what: string): string => {
  const words = text
    .normalize("NFKD")
    .toLowerCase()
    .split(/\s+/)
    .filter((word) => word !== "");
  if (!WORD_COUNTS.includes(words.length)) {
    throw new SignerError("bad_request", `${what}: expected ${WORD_COUNTS.join(", ")} words, got ${words.length}`);
  }
  const known = new Set(wordlist);
  const unknown = words.flatMap((word, index) => (known.has(word) ? [] : [index + 1]));
  if (unknown.length > 0) {
    throw new SignerError("bad_request", `${what}: not in the English word list: word ${unknown.join(", ")}`);
  }
  const mnemonic = words.join(" ");
  try {
    mnemonicToEntropy(mnemonic, wordlist).fill(0);
    return mnemonic;
  } catch {
    // The cause may quote words.
    throw new SignerError("bad_request", `${what}: the checksum is wrong: a word is another, or two are swapped`);
  }
};

/**
 * The 64-byte seed of a valid mnemonic; the caller wipes it.
 * @param passphrase of BIP-39; keys that Testudo makes have none
 */
export const seedOf = (mnemonic: string, passphrase = ""): Promise<Uint8Array> => mnemonicToSeed(mnemonic, passphrase);
