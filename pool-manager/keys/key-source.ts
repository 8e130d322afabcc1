/**
 * Where keys come from: a folder of EIP-2335 keystores with passwords, or a text file of secret keys (development).
 * Files are read here and opened in an enclave; the pool-manager never sees a secret key in the clear from a keystore.
 */

import { createHmac } from "node:crypto";
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { basename, extname, join } from "node:path";
import { SignerError } from "#protocol/errors.ts";
import { KEYSTORE_BYTES_MAX, PASSWORD_BYTES_MAX } from "#protocol/limits.ts";
import { CONTROL_OPERATIONS, encodeOpenKeystore } from "#protocol/messages/control.ts";

/** A key that an enclave can open. */
export interface SourceKey {
  /** For messages: file name, or line number. */
  readonly name: string;
  /** Identifies the exact content under this data folder's key; says nothing about the secret to others. */
  readonly digest: Uint8Array;
  /** The control request that opens it; throws when a password is missing. Called only when it must be opened. */
  readonly request: () => { operation: number; payload: Uint8Array };
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

/**
 * Lists the keys of a source, in name or line order.
 * @throws SignerError `bad_request` when the path is not readable or holds no keys
 */
export const listSourceKeys = (options: KeySourceOptions): SourceKey[] => {
  const stat = statOrThrow(options.path, "--keys");
  const keys = stat.isDirectory() ? keystoresIn(options) : linesOf(options);
  if (keys.length === 0) {
    throw new SignerError(
      "bad_request",
      `--keys ${options.path}: expected keystore files (*.json) or lines of 0x keys`,
    );
  }
  return keys;
};

const keystoresIn = ({ path, passwordPath, sealingKey }: KeySourceOptions): SourceKey[] => {
  const passwordOf = passwordReader(passwordPath);
  return readdirSync(path)
    .filter((file) => extname(file) === ".json" && !file.startsWith("deposit_data"))
    .sort()
    .map((file) => {
      const content = readBounded(join(path, file), KEYSTORE_BYTES_MAX);
      return {
        name: file,
        digest: digest(sealingKey, content),
        request: () => {
          const password = passwordOf(file);
          const payload = encodeOpenKeystore(content, password);
          password.fill(0);
          return { operation: CONTROL_OPERATIONS.openKeystore, payload };
        },
      };
    });
};

const linesOf = ({ path, sealingKey }: KeySourceOptions): SourceKey[] => {
  const text = readBounded(path, TEXT_FILE_BYTES_MAX);
  const keys: SourceKey[] = [];
  let start = 0;
  let number = 0;
  while (start < text.length) {
    const newline = text.indexOf(0x0a, start);
    const end = newline < 0 ? text.length : newline;
    const line = trim(text.subarray(start, end));
    start = end + 1;
    number += 1;
    if (line.length === 0 || line[0] === 0x23) continue; // blank or #
    const request = () => ({ operation: CONTROL_OPERATIONS.openSecret, payload: line });
    keys.push({ name: `line ${number}`, digest: digest(sealingKey, line), request });
  }
  return keys;
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

const statOrThrow = (path: string, option: string) => {
  try {
    return statSync(path);
  } catch (cause) {
    throw new SignerError("bad_request", `${option} ${path}: expected a readable file or folder`, { cause });
  }
};

const readBounded = (path: string, bytesMax: number): Buffer => {
  const { size } = statOrThrow(path, "file");
  if (size > bytesMax) throw new SignerError("bad_request", `${path}: expected at most ${bytesMax} bytes, got ${size}`);
  try {
    return readFileSync(path);
  } catch (cause) {
    throw new SignerError("bad_request", `${path}: cannot be read`, { cause });
  }
};

const digest = (key: Uint8Array, content: Uint8Array): Uint8Array =>
  createHmac("sha256", key).update("testudo-key-source-v1").update(content).digest();

/** Without spaces, tabs and a carriage return around it; stays bytes, for it may be a secret. */
const trim = (line: Buffer): Buffer => {
  let from = 0;
  let to = line.length;
  while (from < to && (line[from] as number) <= 0x20) from += 1;
  while (to > from && (line[to - 1] as number) <= 0x20) to -= 1;
  return line.subarray(from, to);
};
