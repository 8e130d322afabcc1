/** Writes ASN.1 values in DER, and in BER with indefinite lengths where that is asked for (X.690). */

/** Tags of universal types, the constructed bit included. */
export const TAG = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  null: 0x05,
  oid: 0x06,
  utf8String: 0x0c,
  utcTime: 0x17,
  generalizedTime: 0x18,
  sequence: 0x30,
  set: 0x31,
} as const;

const CONTEXT = 0x80;
const CONSTRUCTED = 0x20;
const INDEFINITE = 0x80;
const END_OF_CONTENTS = Buffer.from([0, 0]);

/** A value with a definite length. */
export const definite = (tag: number, ...parts: readonly Uint8Array[]): Buffer => {
  const content = Buffer.concat(parts);
  return Buffer.concat([Buffer.from([tag, ...lengthBytes(content.length)]), content]);
};

/** A constructed value with an indefinite length. */
export const indefinite = (tag: number, ...parts: readonly Uint8Array[]): Buffer =>
  Buffer.concat([Buffer.from([tag, INDEFINITE]), ...parts, END_OF_CONTENTS]);

const lengthBytes = (length: number): number[] => {
  if (length < INDEFINITE) return [length];
  const bytes: number[] = [];
  for (let rest = length; rest > 0; rest = Math.floor(rest / 256)) bytes.unshift(rest % 256);
  return [INDEFINITE + bytes.length, ...bytes];
};

/** Tag of the context-specific class: `constructed` for explicit tagging and implicitly tagged sequences. */
export const contextTag = (number: number, form: "primitive" | "constructed"): number =>
  CONTEXT + number + (form === "constructed" ? CONSTRUCTED : 0);

/** A SEQUENCE. */
export const sequence = (...parts: readonly Uint8Array[]): Buffer => definite(TAG.sequence, ...parts);

/** An explicitly tagged value. */
export const explicit = (number: number, ...parts: readonly Uint8Array[]): Buffer =>
  definite(contextTag(number, "constructed"), ...parts);

/** An OCTET STRING. */
export const octets = (bytes: Uint8Array): Buffer => definite(TAG.octetString, bytes);

/** A BIT STRING, the last `unusedBits` of which do not count. */
export const bits = (bytes: Uint8Array, unusedBits = 0): Buffer =>
  definite(TAG.bitString, Buffer.from([unusedBits]), bytes);

/** A small non-negative INTEGER, 0..127. */
export const smallInteger = (value: number): Buffer => definite(TAG.integer, Buffer.from([value]));

/** A non-negative INTEGER from its bytes, big-endian. */
export const integer = (bytes: Uint8Array): Buffer => {
  const start = bytes.findIndex((byte) => byte !== 0);
  const digits = start < 0 ? Uint8Array.of(0) : bytes.subarray(start);
  return definite(TAG.integer, (digits[0] as number) >= 0x80 ? Uint8Array.of(0) : new Uint8Array(), digits);
};

/** A UTF8String. */
export const utf8 = (value: string): Buffer => definite(TAG.utf8String, Buffer.from(value, "utf8"));

/** UTCTime up to 2049, GeneralizedTime from then on (RFC 5280 section 4.1.2.5); whole seconds. */
export const time = (ms: number): Buffer => {
  const digits = new Date(ms).toISOString().replaceAll(/[-:T]|\..*/g, "");
  const isUtc = new Date(ms).getUTCFullYear() < 2050;
  return definite(isUtc ? TAG.utcTime : TAG.generalizedTime, Buffer.from(`${isUtc ? digits.slice(2) : digits}Z`));
};

/** NULL. */
export const nothing = (): Buffer => definite(TAG.null);

/** An OBJECT IDENTIFIER in dotted form. */
export const oid = (dotted: string): Buffer => {
  const [first = 0, second = 0, ...rest] = dotted.split(".").map(Number);
  const bytes = [first * 40 + second, ...rest].flatMap((arc) => {
    const digits = [arc % 128];
    for (let left = Math.floor(arc / 128); left > 0; left = Math.floor(left / 128)) digits.unshift((left % 128) + 128);
    return digits;
  });
  return definite(TAG.oid, Buffer.from(bytes));
};
