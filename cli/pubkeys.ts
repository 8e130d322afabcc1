/** Public keys as command lines name them. */

import { readFileSync, statSync } from "node:fs";
import { fromHex, PUBKEY_BYTES, toHex } from "#protocol/bytes.ts";
import { SignerError } from "#protocol/errors.ts";

/** Longest file of public keys: 400,000 lines. */
const PUBKEYS_FILE_BYTES_MAX = 40 * 1024 * 1024;

/**
 * Reads `--pubkeys`: `0x` keys with commas or blanks between them, or the path of a file of such keys. Each key once.
 * @throws SignerError `bad_request`
 */
export const readPubkeys = (value: string): readonly Uint8Array[] => {
  const text = value.startsWith("0x") ? value : readPubkeysFile(value);
  const words = text.split(/[\s,]+/).filter((word) => word !== "");
  if (words.length === 0) throw new SignerError("bad_request", `--pubkeys ${value}: there is no public key`);
  const keys = words.map((word) => fromHex(word, PUBKEY_BYTES, "--pubkeys"));
  return [...new Map(keys.map((key) => [toHex(key), key])).values()];
};

const readPubkeysFile = (file: string): string => {
  try {
    const { size } = statSync(file);
    if (size <= PUBKEYS_FILE_BYTES_MAX) return readFileSync(file, "utf8");
  } catch (cause) {
    throw new SignerError("bad_request", `--pubkeys ${file}: no 0x list, and cannot be read as a file`, { cause });
  }
  throw new SignerError("bad_request", `--pubkeys ${file}: expected at most ${PUBKEYS_FILE_BYTES_MAX} bytes`);
};
