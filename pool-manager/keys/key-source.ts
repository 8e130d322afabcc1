/**
 * Where keys come from: a folder of EIP-2335 keystores with passwords, or a text file of secret keys (development).
 * Files are read here and opened in an enclave; the pool-manager never sees a secret key in the clear from a keystore.
 *
 * Listing keeps digests alone: what must be opened is read a second time, checked against its digest, and wiped by
 * whoever sent it. A file that cannot be read is a failure of its own and does not hide the others.
 */

import { createHmac } from "node:crypto";
import { closeSync, constants, existsSync, fstatSync, openSync, readSync, type Stats, statSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { basename, extname, join } from "node:path";
import { setImmediate as nextTurn } from "node:timers/promises";
import { bytesEqual } from "#protocol/bytes.ts";
import { SignerError, toSignerError } from "#protocol/errors.ts";
import { KEYSTORE_BYTES_MAX, PASSWORD_BYTES_MAX } from "#protocol/limits.ts";
import { CONTROL_OPERATIONS, encodeOpenKeystore } from "#protocol/messages/control.ts";

/** A key that an enclave can open. */
export interface SourceKey {
  /** For messages: file name, or line number. */
  readonly name: string;
  /** Identifies the exact content under this data folder's key; says nothing about the secret to others. */
  readonly digest: Uint8Array;
  /**
   * The control request that opens it, read anew; the caller wipes the payload when it was answered.
   * Called only when the key must be opened.
   * @throws SignerError `bad_request` when a password is missing, or the file is another one by now
   */
  readonly request: () => { operation: number; payload: Uint8Array };
}

/** A file that should hold a key and could not be read. */
export interface SourceFailure {
  readonly name: string;
  readonly reason: string;
}

/** What a source holds, in name or line order. */
export interface SourceListing {
  readonly keys: readonly SourceKey[];
  readonly failures: readonly SourceFailure[];
}

/** What `--keys` and `--keys-password-file` say. */
export interface KeySourceOptions {
  /** Folder of keystores, or text file. */
  readonly path: string;
  /** One file for all, or a folder of `<keystore name>.txt`. */
  readonly passwordPath: string | undefined;
  /** Key of the digests. */
  readonly sealingKey: Uint8Array;
}

/** A text file of 100,000 keys is 6.8 MB. */
const TEXT_FILE_BYTES_MAX = 128 * 1024 * 1024;
/** Files after which others get a turn, for this process also answers the embedded store: some 50 µs each. */
const FILES_PER_TURN = 64;
/** Lines after which others get a turn: some 3 µs each. */
const LINES_PER_TURN = 1024;

/**
 * Lists the keys of a source.
 * @throws SignerError `bad_request` when the path is not readable or holds no keys
 */
export const listSourceKeys = async (options: KeySourceOptions): Promise<SourceListing> => {
  const isFolder = statOrThrow(options.path, "--keys").isDirectory();
  const listing = isFolder ? await keystoresIn(options) : { keys: await linesOf(options), failures: [] };
  if (listing.keys.length + listing.failures.length > 0) return listing;
  throw new SignerError("bad_request", `--keys ${options.path}: expected keystore files (*.json) or lines of 0x keys`);
};

const keystoresIn = async ({ path, passwordPath, sealingKey }: KeySourceOptions): Promise<SourceListing> => {
  const passwordOf = passwordReader(passwordPath);
  const keys: SourceKey[] = [];
  const failures: SourceFailure[] = [];
  for (const [index, name] of (await keystoreNames(path)).entries()) {
    if (index % FILES_PER_TURN === 0) await nextTurn();
    const file = join(path, name);
    try {
      const content = readBounded(file, KEYSTORE_BYTES_MAX);
      const digest = digestOf(sealingKey, content);
      const request = (): ReturnType<SourceKey["request"]> => {
        const again = readBounded(file, KEYSTORE_BYTES_MAX);
        if (!bytesEqual(digestOf(sealingKey, again), digest)) throw changed(name);
        const password = passwordOf(name);
        const payload = encodeOpenKeystore(again, password);
        password.fill(0);
        return { operation: CONTROL_OPERATIONS.openKeystore, payload };
      };
      keys.push({ name, digest, request });
    } catch (error) {
      failures.push({ name, reason: toSignerError(error).detail });
    }
  }
  return { keys, failures };
};

const keystoreNames = async (path: string): Promise<string[]> => {
  try {
    const names = await readdir(path);
    return names.filter((name) => extname(name) === ".json" && !name.startsWith("deposit_data")).sort();
  } catch (cause) {
    throw new SignerError("bad_request", `--keys ${path}: expected a readable folder`, { cause });
  }
};

const linesOf = async ({ path, sealingKey }: KeySourceOptions): Promise<SourceKey[]> => {
  const text = readBounded(path, TEXT_FILE_BYTES_MAX);
  try {
    const keys: SourceKey[] = [];
    let start = 0;
    for (let number = 1; start < text.length; number += 1) {
      if (number % LINES_PER_TURN === 0) await nextTurn();
      const newline = text.indexOf(0x0a, start);
      const end = newline < 0 ? text.length : newline;
      const line = trim(text, { start, end });
      start = end + 1;
      if (line.start === line.end || text[line.start] === 0x23) continue; // blank or #
      const digest = digestOf(sealingKey, text.subarray(line.start, line.end));
      const name = `line ${number}`;
      keys.push({ name, digest, request: () => openLine({ path, sealingKey, name, digest, line }) });
    }
    return keys;
  } finally {
    text.fill(0);
  }
};

/** Reads one line of the file again. */
const openLine = (known: {
  path: string;
  sealingKey: Uint8Array;
  name: string;
  digest: Uint8Array;
  line: { start: number; end: number };
}): ReturnType<SourceKey["request"]> => {
  const { start, end } = known.line;
  const payload = withFile(known.path, (file) => readAt(file, { position: start, length: end - start }));
  if (bytesEqual(digestOf(known.sealingKey, payload), known.digest)) {
    return { operation: CONTROL_OPERATIONS.openSecret, payload };
  }
  payload.fill(0);
  throw changed(`${known.path} ${known.name}`);
};

const passwordReader = (passwordPath: string | undefined): ((keystoreFile: string) => Buffer) => {
  if (passwordPath === undefined) {
    throw new SignerError("bad_request", "--keys is a folder of keystores: say --keys-password-file too");
  }
  const one = statOrThrow(passwordPath, "--keys-password-file").isDirectory() ? undefined : passwordPath;
  return (keystoreFile) => {
    const path = one ?? join(passwordPath, `${basename(keystoreFile, ".json")}.txt`);
    if (!existsSync(path)) throw new SignerError("bad_request", `${keystoreFile}: expected its password in ${path}`);
    return readBounded(path, PASSWORD_BYTES_MAX);
  };
};

const statOrThrow = (path: string, option: string): Stats => {
  try {
    return statSync(path);
  } catch (cause) {
    throw new SignerError("bad_request", `${option} ${path}: expected a readable file or folder`, { cause });
  }
};

/** The whole file, in memory of its own, so that it can be wiped. */
const readBounded = (path: string, bytesMax: number): Buffer =>
  withFile(path, (file) => {
    const stats = fstatSync(file);
    if (!stats.isFile()) throw new SignerError("bad_request", `${path}: cannot be read, expected a file`);
    const { size } = stats;
    if (size <= bytesMax) return readAt(file, { position: 0, length: size });
    throw new SignerError("bad_request", `${path}: expected at most ${bytesMax} bytes, got ${size}`);
  });

const withFile = <T>(path: string, read: (file: number) => T): T => {
  let file: number | undefined;
  try {
    // Not blocking: a named pipe without a writer would stop this process.
    file = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    return read(file);
  } catch (cause) {
    if (cause instanceof SignerError) throw cause;
    throw new SignerError("bad_request", `${path}: cannot be read`, { cause });
  } finally {
    if (file !== undefined) closeSync(file);
  }
};

/** As many bytes as there are, up to `length`. */
const readAt = (file: number, { position, length }: { position: number; length: number }): Buffer => {
  const bytes = Buffer.alloc(length);
  let filled = 0;
  while (filled < length) {
    const count = readSync(file, bytes, filled, length - filled, position + filled);
    if (count === 0) break;
    filled += count;
  }
  return bytes.subarray(0, filled);
};

const changed = (name: string): SignerError =>
  new SignerError("bad_request", `${name}: changed while it was being read; reload the keys once it is complete`);

const digestOf = (key: Uint8Array, content: Uint8Array): Uint8Array =>
  createHmac("sha256", key).update("testudo-key-source-v1").update(content).digest();

/** Where a line begins and ends without spaces, tabs and a carriage return around it; it may be a secret, so no text. */
const trim = (text: Uint8Array, { start, end }: { start: number; end: number }): { start: number; end: number } => {
  let from = start;
  let to = end;
  while (from < to && (text[from] as number) <= 0x20) from += 1;
  while (to > from && (text[to - 1] as number) <= 0x20) to -= 1;
  return { start: from, end: to };
};
