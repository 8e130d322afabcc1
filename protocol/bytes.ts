/**
 * Byte strings of exact length: hex, comparison, and a bounds-checked reader and writer for our binary formats.
 * All integers are big-endian. Readers are total: a short or overlong input is a `bad_request`/`protocol_violation`
 * error that names the field, never an undefined value.
 */

import { SignerError } from "./errors.ts";

const HEX = /^(?:[0-9a-fA-F]{2})*$/;

/** Length of a compressed BLS12-381 G1 public key in bytes (consensus spec, `BLSPubkey`). */
export const PUBKEY_BYTES = 48;
/** Length of a compressed BLS12-381 G2 signature in bytes (consensus spec, `BLSSignature`). */
export const SIGNATURE_BYTES = 96;
/** Length of a `Root` in bytes (consensus spec). */
export const ROOT_BYTES = 32;

/** `0x`-prefixed lower-case hex of `bytes`. */
export const toHex = (bytes: Uint8Array): string =>
  `0x${Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("hex")}`;

/** One character a byte: the shortest exact key of a `Map`. Not for people. */
export const toByteString = (bytes: Uint8Array): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("latin1");

/** The bytes of {@link toByteString}. */
export const fromByteString = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, "latin1"));

/**
 * Bytes of a hex string, with or without `0x`, either case.
 * @throws SignerError `bad_request` naming `name` when the text is not hex or not `length` bytes long.
 */
export const fromHex = (text: string, length: number, name: string): Uint8Array => {
  const digits = text.startsWith("0x") || text.startsWith("0X") ? text.slice(2) : text;
  if (digits.length !== length * 2 || !HEX.test(digits)) {
    throw new SignerError("bad_request", `${name}: expected ${length} bytes of hex, got ${quote(text)}`);
  }
  return new Uint8Array(Buffer.from(digits, "hex"));
};

/** Whether two byte strings are equal. Not constant time: for public data only. */
export const bytesEqual = (left: Uint8Array, right: Uint8Array): boolean =>
  left.length === right.length && Buffer.compare(left, right) === 0;

/**
 * New bytes of Node's pool, uninitialised: several times as fast as memory of their own above 64 bytes. Not for secrets.
 * Not a Buffer: its `slice` would be a view where callers mean a copy.
 */
export const allocatePooled = (length: number): Uint8Array => {
  const { buffer, byteOffset } = Buffer.allocUnsafe(length);
  return new Uint8Array(buffer, byteOffset, length);
};

/** A short, printable quotation of untrusted text for error messages (at most 40 characters). */
export const quote = (value: unknown): string => {
  const text = typeof value === "string" ? JSON.stringify(value) : String(JSON.stringify(value) ?? typeof value);
  return text.length > 42 ? `${text.slice(0, 40)}…` : text;
};

/** Reads a binary message front to back; every method throws `protocol_violation` instead of reading past the end. */
export class ByteReader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #what: string;
  #offset = 0;

  /** @param what name of the message, for error texts */
  constructor(bytes: Uint8Array, what: string) {
    // Never a Buffer: its `slice` would be a view where callers mean a copy.
    this.#bytes = new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#what = what;
  }

  get remaining(): number {
    return this.#bytes.length - this.#offset;
  }

  u8(name: string): number {
    return this.#view.getUint8(this.#advance(1, name));
  }

  u16(name: string): number {
    return this.#view.getUint16(this.#advance(2, name));
  }

  u32(name: string): number {
    return this.#view.getUint32(this.#advance(4, name));
  }

  /** An unsigned 64-bit integer that must fit a JavaScript safe integer (0..2^53-1). */
  safeU64(name: string): number {
    const value = this.#view.getBigUint64(this.#advance(8, name));
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw this.#error(`${name} is above 2^53-1`);
    return Number(value);
  }

  /** `length` bytes as a view on the message (no copy). */
  bytes(length: number, name: string): Uint8Array {
    const start = this.#advance(length, name);
    return this.#bytes.subarray(start, start + length);
  }

  /** A byte string behind its u32 length. */
  sizedBytes(name: string): Uint8Array {
    return this.bytes(this.u32(`${name} length`), name);
  }

  /** A truth value: one byte, 0 or 1. */
  flag(name: string): boolean {
    const value = this.u8(name);
    if (value > 1) throw this.#error(`${name}: expected 0 or 1, got ${value}`);
    return value === 1;
  }

  /** UTF-8 text behind its u32 length. */
  sizedText(name: string): string {
    return Buffer.from(this.sizedBytes(name)).toString("utf8");
  }

  /** All bytes that are left. */
  rest(): Uint8Array {
    return this.bytes(this.remaining, "rest");
  }

  /** Throws when bytes are left over. */
  end(): void {
    if (this.remaining !== 0) throw this.#error(`${this.remaining} trailing bytes`);
  }

  #advance(length: number, name: string): number {
    const start = this.#offset;
    if (start + length > this.#bytes.length) {
      throw this.#error(`${name}: expected ${length} bytes, got ${this.remaining}`);
    }
    this.#offset = start + length;
    return start;
  }

  #error(problem: string): SignerError {
    return new SignerError("protocol_violation", `${this.#what}: ${problem}`);
  }
}

/** Writes a binary message front to back into memory that grows; `finish` gives it. */
export class ByteWriter {
  #bytes = Buffer.allocUnsafe(WRITER_BYTES_AT_FIRST);
  #length = 0;

  u8(value: number): this {
    const at = this.#advance(1);
    this.#bytes.writeUInt8(value, at);
    return this;
  }

  u16(value: number): this {
    const at = this.#advance(2);
    this.#bytes.writeUInt16BE(value, at);
    return this;
  }

  u32(value: number): this {
    const at = this.#advance(4);
    this.#bytes.writeUInt32BE(value, at);
    return this;
  }

  u64(value: number): this {
    const at = this.#advance(8);
    this.#bytes.writeBigUInt64BE(BigInt(value), at);
    return this;
  }

  bytes(value: Uint8Array): this {
    const at = this.#advance(value.length);
    this.#bytes.set(value, at);
    return this;
  }

  /** A byte string behind its u32 length. */
  sizedBytes(value: Uint8Array): this {
    return this.u32(value.length).bytes(value);
  }

  /** UTF-8 text behind its u32 length. */
  sizedText(value: string): this {
    return this.sizedBytes(Buffer.from(value, "utf8"));
  }

  /** The message; the writer must not be used again. */
  finish(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }

  /** Makes room and gives the offset to write at. */
  #advance(length: number): number {
    const at = this.#length;
    this.#length = at + length;
    if (this.#length > this.#bytes.length) {
      const larger = Buffer.allocUnsafe(Math.max(this.#length, this.#bytes.length * 2));
      larger.set(this.#bytes.subarray(0, at));
      this.#bytes.fill(0, 0, at); // it may be a secret that grew out of it
      this.#bytes = larger;
    }
    return at;
  }
}

/** Enough for a compare-and-set of two records. */
const WRITER_BYTES_AT_FIRST = 384;
