/**
 * Folders that nobody but this user may enter. Whoever owns a folder decides what lies in it: a data folder of somebody
 * else has secrets that somebody else knows, and in a run folder of somebody else another program answers at the
 * sockets and is handed the keys. The system's temporary folder is writable by everybody, and our name in it is known.
 */

import { chmodSync, lstatSync, mkdirSync, realpathSync, type Stats } from "node:fs";
import { SignerError } from "#protocol/errors.ts";

/** What a folder is for, in messages. */
export type FolderKind = "data folder" | "run folder";

/** What to do about a folder that cannot be used. */
const REMEDIES = {
  "data folder": "give it to this user (chown), or choose another with --data",
  "run folder": "remove it, or choose a data folder with a shorter path (--data): its sockets then lie beside the data",
} as const satisfies Record<FolderKind, string>;

const MODE_PRIVATE = 0o700;
/** Rights of group and others. */
const MODE_OTHERS = 0o077;

/**
 * Makes a folder with mode 700, or accepts one of this user. Of a data folder the rights of group and others are taken
 * away; a run folder with such rights is refused: somebody may have put a socket into it already.
 * @throws SignerError `bad_request` when it cannot be made, is somebody else's, or is no folder
 */
export const ensurePrivateFolder = (path: string, kind: FolderKind): void => {
  try {
    mkdirSync(path, { recursive: true, mode: MODE_PRIVATE });
  } catch (cause) {
    const option = "choose another with --data";
    throw new SignerError("bad_request", `${kind} ${path}: cannot be made, ${option}`, { cause });
  }
  if (kind === "data folder") {
    const stats = checkOwner(path, kind);
    if ((stats.mode & MODE_OTHERS) !== 0) chmodSync(path, MODE_PRIVATE);
  }
  checkPrivateFolder(path, kind);
};

/**
 * Refuses a folder that others own or may enter; changes nothing. A link to a data folder is followed, a link in the
 * place of a run folder is not.
 * @throws SignerError `bad_request` that names the path and says what to do
 */
export const checkPrivateFolder = (path: string, kind: FolderKind): void => {
  const { mode } = checkOwner(path, kind);
  if ((mode & MODE_OTHERS) === 0) return;
  const rights = (mode & 0o777).toString(8);
  throw new SignerError("bad_request", `${kind} ${path}: expected mode 700, got ${rights}: ${REMEDIES[kind]}`);
};

/**
 * Refuses what is no folder of this user; changes nothing.
 * @throws SignerError `bad_request` that names the path and says what to do
 */
export const checkOwner = (path: string, kind: FolderKind): Stats => {
  const refuse = (problem: string, cause?: unknown): SignerError =>
    new SignerError("bad_request", `${kind} ${path}: ${problem}: ${REMEDIES[kind]}`, { cause });
  let stats: Stats;
  try {
    stats = lstatSync(kind === "data folder" ? realpathSync(path) : path);
  } catch (cause) {
    throw refuse("cannot be looked at", cause);
  }
  if (!stats.isDirectory()) throw refuse("expected a folder, and no link to one");
  const uid = process.getuid?.();
  if (stats.uid !== uid) throw refuse(`expected user id ${uid} as its owner, got ${stats.uid}`);
  return stats;
};
