/**
 * The native signer as JavaScript sees it: BLS signatures in groups that share a message, made by our small C addon over
 * blst (`src/`; README.md says how and how fast). Every thread loads it for itself; keys and caches belong to the
 * process, so a handle from one thread works in all.
 *
 * A signer that was loaded must pass `knownAnswerTest` before it signs for anybody.
 */

import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { fromHex, ROOT_BYTES, SIGNATURE_BYTES, toHex } from "#protocol/bytes.ts";
import { SignerError } from "#protocol/errors.ts";
import { KNOWN_ANSWERS, KNOWN_SECRETS, type KnownAnswer } from "./known-answers.ts";

/** Length of a secret key in bytes (EIP-2333). */
const NATIVE_SECRET_BYTES = 32;
/** Signatures in one call of `signGroup`: 27 ms with a table, 130 ms without. */
export const NATIVE_GROUP_MAX = 1024;

/** Bits of what `signGroup` returns: how the group was signed. */
export const SIGN_PATH = {
  /** The root's hash to the curve was known (saves 130 µs). */
  hashCached: 1,
  /** The signatures were made with a comb table (27 µs each instead of 126). */
  tableUsed: 2,
  /** This call built the table (670 µs). */
  tableBuilt: 4,
} as const;

/** The `code` of errors that the native signer throws. */
export type NativeErrorCode = "bad_argument" | "bad_key" | "full" | "no_memory";

/** Counters of the process; nothing secret. */
export interface NativeStats {
  /** Keys held now. */
  readonly keys: number;
  /** Keys that can be held. */
  readonly keysMax: number;
  /** Whether all memory that ever held a key is locked into RAM; false before the first key. */
  readonly memoryLocked: boolean;
  /** Roots hashed to the curve since the process began. */
  readonly hashesComputed: number;
  /** Comb tables built since the process began. */
  readonly tablesBuilt: number;
}

/** The addon. Arrays must lie on ordinary memory; shared memory is refused (`bad_argument`). */
export interface NativeSigner {
  /**
   * Takes in a secret key, 32 bytes big-endian, and zero-fills `secret` even when it throws. Returns a handle from
   * 1 to 2^32 - 1. Importing a key twice gives two handles.
   * @throws Error with code `bad_argument` (not 32 bytes), `bad_key` (0, or r and above), `full` or `no_memory`
   */
  importKey(secret: Uint8Array): number;
  /**
   * Forgets a key: a call that begins after this finds no key under the handle, now or ever. Its memory is zeroised as
   * soon as calls under way in other threads are done with it. False when there was no such key.
   */
  removeKey(handle: number): boolean;
  /** Forgets all keys, in the same way. */
  removeAllKeys(): void;
  /**
   * Signs a 32-byte root under 1 to 1,024 keys, on the calling thread, into 96 bytes each of `signatures`: compressed
   * points, or 96 zero bytes where a handle names no key. (A compressed point's first bit is set, so its first byte is
   * never zero.) `expected`: how many more signatures of this root are about to be asked for; from 8 in all on, a table
   * is built. Returns bits of {@link SIGN_PATH}.
   * @throws Error with code `bad_argument` or `no_memory`; nothing was signed then
   */
  signGroup(root: Uint8Array, handles: Uint32Array, signatures: Uint8Array, expected: number): number;
  /**
   * Signs many roots once each: the n-th 32 bytes of `roots` under the n-th of 1 to 1,024 keys, into the n-th 96 bytes of
   * `signatures`, which must not share memory with the others. Zero bytes as in `signGroup`. Saves an inversion (7 µs) a
   * signature.
   * @throws Error with code `bad_argument` or `no_memory`; some may be signed then
   */
  signEach(roots: Uint8Array, handles: Uint32Array, signatures: Uint8Array): void;
  /** Drops what is cached of roots. Signing goes on, slower for a moment. */
  forgetRoots(): void;
  /** CPU time that the calling thread has used, in ns. */
  threadCpuNanos(): number;
  /** Counters. */
  stats(): NativeStats;
}

/** A native signer, or why there is none. */
export type LoadedSigner =
  | { readonly kind: "loaded"; readonly signer: NativeSigner }
  | { readonly kind: "missing"; readonly reason: string };

/** Where `build.ts` puts the addon. */
export const nativeSignerPath = (): string => fileURLToPath(new URL("./build/testudo-signer.node", import.meta.url));

const FUNCTIONS = [
  "importKey",
  "removeKey",
  "removeAllKeys",
  "signGroup",
  "signEach",
  "forgetRoots",
  "threadCpuNanos",
  "stats",
] as const satisfies readonly (keyof NativeSigner)[];

/** Loads the addon into this thread. Never throws: a missing or unusable addon is a reason to use the fallback. */
export const loadNativeSigner = (path: string = nativeSignerPath()): LoadedSigner => {
  if (!existsSync(path))
    return { kind: "missing", reason: `${path} is not there (no C compiler when Testudo was installed?)` };
  try {
    const addon = createRequire(import.meta.url)(path) as Partial<NativeSigner>;
    const missing = FUNCTIONS.filter((name) => typeof addon[name] !== "function");
    if (missing.length > 0)
      return { kind: "missing", reason: `${path} lacks ${missing.join(", ")}: it is of another version` };
    return { kind: "loaded", signer: addon as NativeSigner };
  } catch (error) {
    return { kind: "missing", reason: `${path} cannot be loaded: ${(error as Error).message}` };
  }
};

/** Too few for a table. */
const SMALL_GROUP = 4;

/**
 * The known-answer test: both ways to sign must reproduce signatures that other implementations made. A miscompilation
 * then stops an enclave at its start, before it releases a signature that nobody can verify.
 *
 * Takes about 10 ms. To be called once in a process, before its threads begin to sign: it empties the cache of
 * roots, because it must know which way each signature was made. Leaves no key behind.
 * @throws SignerError `internal` at the first difference
 */
export const knownAnswerTest = (signer: NativeSigner): void => {
  const handles: number[] = [];
  try {
    for (const secret of KNOWN_SECRETS) handles.push(importKey(signer, secret));
    for (const answer of KNOWN_ANSWERS) {
      const root = new Uint8Array(ROOT_BYTES).fill(answer.rootByte);
      compare(signSmall(signer, { root, handles }), answer, "blst's multiplication");
      compare(signLarge(signer, { root, handles }), answer, "the comb");
      signer.forgetRoots();
      compare(signEach(signer, { root, handles }), answer, "signing one by one");
    }
    checkRemoval(signer, handles);
  } catch (error) {
    if (error instanceof SignerError) throw error;
    throw new SignerError("internal", "known-answer test: the native signer failed", { cause: error });
  } finally {
    for (const handle of handles) signer.removeKey(handle);
    signer.forgetRoots();
  }
};

interface Group {
  readonly root: Uint8Array;
  readonly handles: readonly number[];
}

const importKey = (signer: NativeSigner, secretHex: string): number => {
  const secret = fromHex(secretHex, NATIVE_SECRET_BYTES, "secret");
  const handle = signer.importKey(secret);
  if (secret.some((byte) => byte !== 0)) throw failure("an imported secret was not zero-filled");
  return handle;
};

/** All signatures in small groups, each like the first of its root, so that none is made with a table. */
const signSmall = (signer: NativeSigner, { root, handles }: Group): Uint8Array => {
  const signatures = new Uint8Array(handles.length * SIGNATURE_BYTES);
  for (let start = 0; start < handles.length; start += SMALL_GROUP) {
    const group = Uint32Array.from(handles.slice(start, start + SMALL_GROUP));
    const part = signatures.subarray(start * SIGNATURE_BYTES, (start + group.length) * SIGNATURE_BYTES);
    signer.forgetRoots();
    if (signer.signGroup(root, group, part, 0) !== 0) throw failure("a table was used for a small group");
  }
  return signatures;
};

/** All signatures in one group, with a table. */
const signLarge = (signer: NativeSigner, { root, handles }: Group): Uint8Array => {
  const signatures = new Uint8Array(handles.length * SIGNATURE_BYTES);
  const path = signer.signGroup(root, Uint32Array.from(handles), signatures, 0);
  if ((path & SIGN_PATH.tableUsed) === 0) throw failure("no table was used for a large group");
  return signatures;
};

/** One by one in one call: without a table at first, and with one from the eighth on. */
const signEach = (signer: NativeSigner, { root, handles }: Group): Uint8Array => {
  const signatures = new Uint8Array(handles.length * SIGNATURE_BYTES);
  const roots = Buffer.concat(handles.map(() => root));
  signer.signEach(new Uint8Array(roots), Uint32Array.from(handles), signatures);
  return signatures;
};

const compare = (signatures: Uint8Array, { first, digest }: KnownAnswer, way: string): void => {
  for (const [index, expected] of first.entries()) {
    const signature = signatures.subarray(index * SIGNATURE_BYTES, (index + 1) * SIGNATURE_BYTES);
    if (toHex(signature) !== expected) throw failure(`${way} made a wrong signature`);
  }
  const hash = createHash("sha256").update(signatures).digest();
  if (toHex(hash) !== digest) throw failure(`${way} made a wrong signature`);
};

/** A handle whose key was removed must give zero bytes, and its neighbour its signature as before. */
const checkRemoval = (signer: NativeSigner, handles: readonly number[]): void => {
  const { rootByte, first } = KNOWN_ANSWERS[0] as KnownAnswer;
  const [neighbour, removed] = handles as [number, number];
  const signatures = new Uint8Array(2 * SIGNATURE_BYTES);
  if (!signer.removeKey(removed)) throw failure("a key could not be removed");
  signer.signGroup(new Uint8Array(ROOT_BYTES).fill(rootByte), Uint32Array.of(removed, neighbour), signatures, 0);
  if (signatures.subarray(0, SIGNATURE_BYTES).some((byte) => byte !== 0)) throw failure("a removed key signed");
  if (toHex(signatures.subarray(SIGNATURE_BYTES)) !== first[0]) throw failure("a removed key spoilt its neighbour");
};

const failure = (detail: string): SignerError => new SignerError("internal", `known-answer test: ${detail}`);
