/**
 * The folder that `keys generate` fills: keystores and deposit data, named as the official deposit tool names them. Mode
 * 700, files of mode 600. A file is there whole or not at all, and never replaced: it is written beside its name,
 * flushed, and linked to the name. What is there already is looked at, so that a run that broke off can go on.
 */

import {
  closeSync,
  constants,
  fsyncSync,
  linkSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  statSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { isValidKeystore } from "@chainsafe/bls-keystore";
import { quote } from "#protocol/bytes.ts";
import { SignerError } from "#protocol/errors.ts";
import { KEYSTORE_BYTES_MAX } from "#protocol/limits.ts";
import type { DepositDatum } from "./deposit-data.ts";

/** A keystore that is there. */
export interface ExistingKeystore {
  readonly name: string;
  /** Hex without `0x`, as the file says. */
  readonly pubkey: string;
  readonly text: string;
}

/** A folder in use. */
export interface KeyFolder {
  readonly path: string;
  /** By validator index. */
  readonly keystores: ReadonlyMap<number, ExistingKeystore>;
  /** Entries of all deposit data files, by public key, with the file's name. */
  readonly deposits: ReadonlyMap<string, { readonly file: string; readonly datum: Partial<DepositDatum> }>;
  /** Writes `keystore-m_12381_3600_<index>_0_0-<time>.json`. */
  writeKeystore(path: string, text: string): void;
  /** Writes `deposit_data-<time>.json` and returns its name. */
  writeDepositData(data: readonly DepositDatum[]): string;
}

const KEYSTORE_NAME = /^keystore-m_12381_3600_([0-9]{1,10})_0_0-[0-9]+\.json$/;
const DEPOSIT_NAME = /^deposit_data-([0-9]{1,12})\.json$/;
const PARTIAL_NAME = /^\.(?:keystore|deposit_data)-.*\.([0-9]{1,10})\.partial$/;
/** Deposit data of 100,000 validators have 74 MB. */
const DEPOSIT_BYTES_MAX = 128 * 1024 * 1024;
const MODE_OTHERS = 0o077;

/**
 * Makes the folder, or looks through one that is there.
 * @param unixSeconds for the names
 * @throws SignerError `bad_request` when others may enter it, or a file in it cannot be understood
 */
export const openKeyFolder = (path: string, { unixSeconds }: { unixSeconds: number }): KeyFolder => {
  mkdirSync(path, { recursive: true, mode: 0o700 });
  const { mode, uid } = statSync(path);
  if ((mode & MODE_OTHERS) !== 0 || uid !== process.getuid?.()) {
    const rights = (mode & 0o777).toString(8);
    const wanted = "a folder of this user with mode 700";
    throw new SignerError("bad_request", `--out ${path}: expected ${wanted}, got mode ${rights} of user ${uid}`);
  }
  const names = readdirSync(path).sort();
  removeLeftovers(path, names);
  return {
    path,
    keystores: readKeystores(path, names),
    deposits: readDeposits(path, names),
    writeKeystore: (keyPath, text) =>
      writeNew(path, { name: `keystore-${keyPath.replaceAll("/", "_")}-${unixSeconds}.json`, text }),
    writeDepositData: (data) => {
      const name = `deposit_data-${freeTime(names, unixSeconds)}.json`;
      writeNew(path, { name, text: `${JSON.stringify(data)}\n` });
      return name;
    },
  };
};

/** This second, or the one after the newest deposit data: two runs may fall into one. */
const freeTime = (names: readonly string[], unixSeconds: number): number =>
  Math.max(unixSeconds, ...names.map((name) => Number(DEPOSIT_NAME.exec(name)?.[1] ?? -1) + 1));

/** Files that a run has begun and not finished; those of a run that still goes on stay. */
const removeLeftovers = (path: string, names: readonly string[]): void => {
  for (const name of names) {
    const pid = PARTIAL_NAME.exec(name)?.[1];
    if (pid !== undefined && !isAlive(Number(pid))) unlinkSync(join(path, name));
  }
};

const isAlive = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as { code?: string }).code === "EPERM";
  }
};

const readKeystores = (path: string, names: readonly string[]): Map<number, ExistingKeystore> => {
  const keystores = new Map<number, ExistingKeystore>();
  for (const name of names) {
    const index = KEYSTORE_NAME.exec(name)?.[1];
    if (index === undefined) continue;
    const text = readBounded(join(path, name), KEYSTORE_BYTES_MAX);
    const keystore = parse(text, join(path, name));
    if (!isValidKeystore(keystore)) throw notUnderstood(join(path, name), "an EIP-2335 keystore");
    const earlier = keystores.get(Number(index));
    if (earlier !== undefined) {
      const names = `${earlier.name} and ${name}`;
      throw new SignerError("bad_request", `--out ${path}: expected one keystore of index ${index}, got ${names}`);
    }
    keystores.set(Number(index), { name, pubkey: keystore.pubkey.replace(/^0x/, "").toLowerCase(), text });
  }
  return keystores;
};

const readDeposits = (path: string, names: readonly string[]): KeyFolder["deposits"] => {
  const deposits = new Map<string, { file: string; datum: Partial<DepositDatum> }>();
  for (const file of names.filter((name) => DEPOSIT_NAME.test(name))) {
    const data = parse(readBounded(join(path, file), DEPOSIT_BYTES_MAX), join(path, file));
    if (!Array.isArray(data)) throw notUnderstood(join(path, file), "an array of deposit data");
    for (const datum of data) {
      if (typeof datum?.pubkey !== "string") throw notUnderstood(join(path, file), "a pubkey in each entry");
      deposits.set(datum.pubkey, { file, datum });
    }
  }
  return deposits;
};

const readBounded = (path: string, bytesMax: number): string => {
  const { size } = statSync(path);
  if (size <= bytesMax) return readFileSync(path, "utf8");
  throw new SignerError("bad_request", `${path}: expected at most ${bytesMax} bytes, got ${size}`);
};

const parse = (text: string, path: string): unknown => {
  try {
    return JSON.parse(text);
  } catch {
    throw notUnderstood(path, "JSON");
  }
};

const notUnderstood = (path: string, expected: string): SignerError =>
  new SignerError("bad_request", `${path}: expected ${expected}; move it away, or choose another --out`);

const writeNew = (folder: string, { name, text }: { name: string; text: string }): void => {
  const partial = join(folder, `.${name}.${process.pid}.partial`);
  writeFileSync(partial, text, { mode: 0o600, flag: "wx", flush: true });
  try {
    linkSync(partial, join(folder, name));
  } catch (cause) {
    if ((cause as { code?: string }).code !== "EEXIST") throw cause;
    throw new SignerError("bad_request", `${join(folder, name)}: ${quote(name)} is there already, never replaced`, {
      cause,
    });
  } finally {
    unlinkSync(partial);
  }
  const entry = openSync(folder, constants.O_RDONLY);
  try {
    fsyncSync(entry);
  } finally {
    closeSync(entry);
  }
};
