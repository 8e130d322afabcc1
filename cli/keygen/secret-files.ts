/** Files with a mnemonic or a password: read with a bound, written for their owner alone, never replaced. */

import { lstatSync, mkdirSync } from "node:fs";
import { dirname } from "node:path";
import { SignerError } from "#protocol/errors.ts";
import { PASSWORD_BYTES_MAX } from "#protocol/limits.ts";
import { readSecretFile, reasonOf, writeSecretFile } from "../secret-file.ts";
import { parseMnemonic } from "./mnemonic.ts";

/** A mnemonic has at most 24 words of 8 letters; the rest is blanks and lines. */
const MNEMONIC_BYTES_MAX = 4096;
/** Least characters of a password, as in the official deposit tool. */
const PASSWORD_CHARACTERS_MIN = 8;

/**
 * The password of all keystores in UTF-8; the caller wipes it. Line ends and other control characters are no part of a
 * keystore's password (EIP-2335), so they neither count nor matter.
 * @throws SignerError `bad_request`
 */
export const readPasswordFile = (path: string): Uint8Array => {
  const bytes = readSecretFile(path, {
    option: "--password-file",
    bytesMax: PASSWORD_BYTES_MAX,
    isPrivate: false,
  });
  const characters = [...decode(bytes, `--password-file ${path}`).normalize("NFKD")].filter(isPasswordCharacter).length;
  if (characters >= PASSWORD_CHARACTERS_MIN) return bytes;
  bytes.fill(0);
  throw new SignerError(
    "bad_request",
    `--password-file ${path}: expected at least ${PASSWORD_CHARACTERS_MIN} characters, got ${characters}`,
  );
};

/** The mnemonic in a file that nobody else may read. @throws SignerError `bad_request` that quotes nothing of it */
export const readMnemonicFile = (path: string): string => {
  const what = `--mnemonic-file ${path}`;
  const bytes = readSecretFile(path, { option: "--mnemonic-file", bytesMax: MNEMONIC_BYTES_MAX });
  try {
    return parseMnemonic(decode(bytes, what), what);
  } finally {
    bytes.fill(0);
  }
};

/**
 * Writes a new mnemonic, mode 600, and waits until the disk has it.
 * @throws SignerError `bad_request` when something is there already
 */
export const writeMnemonicFile = (path: string, mnemonic: string): void => {
  refuseExisting(path);
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    writeSecretFile(path, `${mnemonic}\n`);
  } catch (cause) {
    throw new SignerError("bad_request", `--mnemonic-out ${path}: cannot be written: ${reasonOf(cause)}`, { cause });
  }
};

/** @throws SignerError `bad_request` that says how to go on with the mnemonic that is there */
export const refuseExisting = (path: string): void => {
  try {
    if (lstatSync(path, { throwIfNoEntry: false }) === undefined) return;
  } catch (cause) {
    throw new SignerError("bad_request", `--mnemonic-out ${path}: cannot be written: ${reasonOf(cause)}`, { cause });
  }
  throw new SignerError(
    "bad_request",
    `--mnemonic-out ${path}: is there already and is never replaced; go on with its mnemonic by --mnemonic-file ${path}`,
  );
};

const decode = (bytes: Uint8Array, what: string): string => {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new SignerError("bad_request", `${what}: expected text in UTF-8`);
  }
};

/** Without the control codes C0, C1 and Delete (EIP-2335 "Password requirements"). */
const isPasswordCharacter = (character: string): boolean => {
  const code = character.codePointAt(0) as number;
  return code > 0x1f && !(code >= 0x7f && code <= 0x9f);
};
