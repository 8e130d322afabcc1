/**
 * The built addon and its stamp, which says what it was made of. Each is put in place by one rename, so that a reader
 * sees the old file or the new one; two builds at once write the same bytes, or leave a stamp that does not fit, which
 * the next build notices.
 */

import { randomBytes } from "node:crypto";
import { accessSync, constants, existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { BuildError } from "./build-error.ts";
import { sha256 } from "./inputs.ts";

/** What an addon was made of. */
export interface Stamp {
  /** Hash over all sources, platform, architecture and compiler flags. */
  readonly inputs: string;
  /** First line of the compiler's `--version`. */
  readonly compiler: string;
}

interface StoredStamp extends Stamp {
  /** SHA-256 of the addon. */
  readonly addon: string;
}

const stampPath = (addon: string): string => `${addon}.json`;

const replaceFile = (path: string, content: Uint8Array | string): void => {
  const temporary = `${path}.${randomBytes(6).toString("hex")}.tmp`;
  try {
    writeFileSync(temporary, content);
    renameSync(temporary, path);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
};

/** The stamp of the addon in place; undefined when either is missing or they do not belong together. */
export const readStamp = (addon: string): Stamp | undefined => {
  try {
    const stored = JSON.parse(readFileSync(stampPath(addon), "utf8")) as StoredStamp;
    return stored.addon === sha256(readFileSync(addon)) ? stored : undefined;
  } catch {
    return undefined;
  }
};

/** Makes the addon's folder. @throws Error of the system when nothing can be put there, as in a read-only installation */
export const prepareFolder = (addon: string): void => {
  mkdirSync(dirname(addon), { recursive: true });
  accessSync(dirname(addon), constants.W_OK);
};

/** Puts an addon and its stamp in place. */
export const replaceAddon = (addon: string, bytes: Uint8Array, stamp: Stamp): void => {
  replaceFile(addon, bytes);
  replaceFile(stampPath(addon), `${JSON.stringify({ ...stamp, addon: sha256(bytes) } satisfies StoredStamp)}\n`);
};

/**
 * Removes an addon and its stamp. A process that has loaded it keeps its copy.
 * @throws BuildError when it stays: whoever loads it would run code that is not made of these sources
 */
export const removeAddon = (addon: string): void => {
  try {
    rmSync(addon, { force: true });
    rmSync(stampPath(addon), { force: true });
  } catch (error) {
    if (!existsSync(addon)) return;
    throw new BuildError(`${addon} is not made of these sources and cannot be removed: ${(error as Error).message}`);
  }
};
