/** Files of an operator's secrets: read with a bound and only when nobody else could, written once, durably. */

import { closeSync, constants, fstatSync, fsyncSync, openSync, readSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { SignerError } from "#protocol/errors.ts";

/** Rights of group and others. */
const MODE_OTHERS = 0o077;

/**
 * The bytes of a file of mode 600; the caller wipes them. Undefined: there is none.
 * @throws SignerError `bad_request` naming the option and the path
 */
export const readSecretFile = (
  path: string,
  { option, bytesMax }: { option: string; bytesMax: number },
): Uint8Array | undefined => {
  const refuse = (problem: string, cause?: unknown): SignerError =>
    new SignerError("bad_request", `${option} ${path}: ${problem}`, { cause });
  let file: number;
  try {
    // Not blocking: a named pipe without a writer would stop this process.
    file = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (cause) {
    if ((cause as { code?: string }).code === "ENOENT") return undefined;
    throw refuse("cannot be read", cause);
  }
  try {
    const stats = fstatSync(file);
    if (!stats.isFile()) throw refuse("expected a file");
    if (stats.size > bytesMax) throw refuse(`expected at most ${bytesMax} bytes, got ${stats.size}`);
    if ((stats.mode & MODE_OTHERS) !== 0) {
      throw refuse(`expected mode 600, got ${(stats.mode & 0o777).toString(8)}: others may have read it; chmod 600`);
    }
    const bytes = new Uint8Array(stats.size);
    return bytes.subarray(0, readSync(file, bytes, 0, bytes.length, 0));
  } finally {
    closeSync(file);
  }
};

/** Writes a new file of mode 600 and waits until the disk has it. @throws SignerError `bad_request`; never replaces one */
export const writeSecretFile = (path: string, bytes: Uint8Array, { option }: { option: string }): void => {
  try {
    writeFileSync(path, bytes, { mode: 0o600, flag: "wx", flush: true });
    const folder = openSync(dirname(path), constants.O_RDONLY);
    try {
      fsyncSync(folder);
    } finally {
      closeSync(folder);
    }
  } catch (cause) {
    throw new SignerError("bad_request", `${option} ${path}: cannot be written; an existing file is never replaced`, {
      cause,
    });
  }
};
