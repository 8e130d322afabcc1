/** Files with a mnemonic or a password: read with a bound, written for their owner alone, never replaced. */

import {
  closeSync,
  constants,
  fstatSync,
  fsyncSync,
  lstatSync,
  mkdirSync,
  openSync,
  readSync,
  writeFileSync,
} from "node:fs";
import { dirname } from "node:path";
import { SignerError } from "#protocol/errors.ts";
import { PASSWORD_BYTES_MAX } from "#protocol/limits.ts";
import { parseMnemonic } from "./mnemonic.ts";

/** A mnemonic has at most 24 words of 8 letters; the rest is blanks and lines. */
const MNEMONIC_BYTES_MAX = 4096;
/** Least characters of a password, as in the official deposit tool. */
const PASSWORD_CHARACTERS_MIN = 8;
/** Rights of group and others. */
const MODE_OTHERS = 0o077;

/**
 * The password of all keystores in UTF-8; the caller wipes it. Line ends and other control characters are no part of a
 * keystore's password (EIP-2335), so they neither count nor matter.
 * @throws SignerError `bad_request`
 */
export const readPasswordFile = (path: string): Uint8Array => {
  const bytes = readSecret(path, { option: "--password-file", bytesMax: PASSWORD_BYTES_MAX });
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
  const bytes = readSecret(path, { option: "--mnemonic-file", bytesMax: MNEMONIC_BYTES_MAX, isPrivate: true });
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
    writeFileSync(path, `${mnemonic}\n`, { mode: 0o600, flag: "wx", flush: true });
    const folder = openSync(dirname(path), constants.O_RDONLY);
    try {
      fsyncSync(folder);
    } finally {
      closeSync(folder);
    }
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

const readSecret = (
  path: string,
  { option, bytesMax, isPrivate = false }: { option: string; bytesMax: number; isPrivate?: boolean },
): Buffer => {
  const refuse = (problem: string, cause?: unknown): SignerError =>
    new SignerError("bad_request", `${option} ${path}: ${problem}`, { cause });
  let file: number;
  try {
    // Not blocking: a named pipe without a writer would stop this process.
    file = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (cause) {
    throw refuse(`cannot be read: ${reasonOf(cause)}`, cause);
  }
  try {
    const stats = fstatSync(file);
    if (!stats.isFile()) throw refuse("expected a file");
    if (stats.size > bytesMax) throw refuse(`expected at most ${bytesMax} bytes, got ${stats.size}`);
    if (isPrivate && (stats.mode & MODE_OTHERS) !== 0) {
      throw refuse(`expected mode 600, got ${(stats.mode & 0o777).toString(8)}: others may have read it; chmod 600`);
    }
    const bytes = Buffer.alloc(stats.size);
    return bytes.subarray(0, readSync(file, bytes, 0, bytes.length, 0));
  } finally {
    closeSync(file);
  }
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

const reasonOf = (error: unknown): string => (error as { code?: string }).code ?? String(error);
