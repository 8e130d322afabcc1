/** Files of an operator's secrets: read with a bound and only when nobody else could, written once, durably. */

import { closeSync, constants, fstatSync, fsyncSync, openSync, readSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { SignerError } from "#protocol/errors.ts";

/** How a file is read, and the option that names it. */
export interface SecretFileOptions {
  readonly option: string;
  readonly bytesMax: number;
  /** Whether it must be of mode 600; true by default. */
  readonly isPrivate?: boolean;
}

/** Rights of group and others. */
const MODE_OTHERS = 0o077;

/** The bytes of a file; the caller wipes them. @throws SignerError `bad_request` naming the option and the path */
export const readSecretFile = (path: string, { option, bytesMax, isPrivate = true }: SecretFileOptions): Uint8Array => {
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
    const bytes = new Uint8Array(stats.size);
    return bytes.subarray(0, readSync(file, bytes, 0, bytes.length, 0));
  } finally {
    closeSync(file);
  }
};

/** As {@link readSecretFile}; undefined when there is no file. @throws SignerError `bad_request` */
export const readSecretFileIfThere = (path: string, options: SecretFileOptions): Uint8Array | undefined => {
  try {
    return readSecretFile(path, options);
  } catch (error) {
    const { cause } = error as { cause?: { code?: string } };
    if (cause?.code === "ENOENT") return undefined;
    throw error;
  }
};

/** Writes a new file of mode 600 and waits until the disk has it. @throws Error of the file system; never replaces one */
export const writeSecretFile = (path: string, content: Uint8Array | string): void => {
  writeFileSync(path, content, { mode: 0o600, flag: "wx", flush: true });
  const folder = openSync(dirname(path), constants.O_RDONLY);
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
};

/** The code of a file system's error, or its text. */
export const reasonOf = (error: unknown): string => (error as { code?: string }).code ?? String(error);
