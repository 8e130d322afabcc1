/**
 * Reads DER (ITU-T X.690) strictly: definite lengths in their shortest form, tags below 31, nothing left over. What it
 * does not do: interpret values. Only for what `node:crypto` does not tell of a certificate.
 */

import { reject } from "./rejection.ts";

/** Tags of the elements that certificates are made of. */
export const DER = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  objectId: 0x06,
  sequence: 0x30,
  /** `[0]`, around the version of a certificate. */
  version: 0xa0,
  /** `[3]`, around the extensions of a certificate. */
  extensions: 0xa3,
} as const;

/** Elements one after the other. Every method rejects (inside `asVerdict`) instead of reading past the end. */
export class DerReader {
  readonly #bytes: Uint8Array;
  readonly #what: string;
  #at = 0;

  /** @param what name of the part, for error texts */
  constructor(bytes: Uint8Array, what: string) {
    this.#bytes = bytes;
    this.#what = what;
  }

  /** Tag of the next element; undefined at the end. */
  get tag(): number | undefined {
    return this.#bytes[this.#at];
  }

  /** Content of the next element, which must have this tag; a view. */
  read(tag: number, name: string): Uint8Array {
    if (this.tag !== tag) return this.#refuse(`${name}: expected tag ${tag}, got ${this.tag ?? "the end"}`);
    return this.skip(name);
  }

  /** Content of the next element, whatever it is; a view. */
  skip(name: string): Uint8Array {
    const tag = this.#byte(name);
    if ((tag & 0x1f) === 0x1f) return this.#refuse(`${name}: long tags are not supported`);
    const length = this.#length(name);
    const start = this.#at;
    if (start + length > this.#bytes.length) return this.#refuse(`${name}: ends too early`);
    this.#at = start + length;
    return this.#bytes.subarray(start, this.#at);
  }

  /** A reader on the content of the next element. */
  enter(tag: number, name: string): DerReader {
    return new DerReader(this.read(tag, name), name);
  }

  /** Rejects when something is left over. */
  end(): void {
    if (this.#at !== this.#bytes.length) this.#refuse("something is left over");
  }

  #byte(name: string): number {
    const byte = this.#bytes[this.#at];
    if (byte === undefined) return this.#refuse(`${name}: ends too early`);
    this.#at += 1;
    return byte;
  }

  /** At most 65,535: no certificate is longer than 1,024 bytes. */
  #length(name: string): number {
    const first = this.#byte(name);
    if (first < 0x80) return first;
    if (first !== 0x81 && first !== 0x82) return this.#refuse(`${name}: length is indefinite or too large`);
    const length = first === 0x81 ? this.#byte(name) : this.#byte(name) * 256 + this.#byte(name);
    if (length < (first === 0x81 ? 0x80 : 0x100)) return this.#refuse(`${name}: length is not in its shortest form`);
    return length;
  }

  #refuse(problem: string): never {
    return reject("malformed_certificate", `${this.#what}: ${problem}`);
  }
}
