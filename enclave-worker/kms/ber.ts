/**
 * The outline of a BER value (X.690): whether the bytes are exactly one value whose parts all lie inside each other.
 * It understands no types. What passes can be handed to a lenient, recursive parser: nesting and size are bounded, and
 * nothing trails.
 */

import { SignerError } from "#protocol/errors.ts";

/** Bounds of a value. */
export interface BerBounds {
  /** Values inside values; the outermost has depth 1. */
  readonly depthMax: number;
  /** Values in all, ends of contents not counted. */
  readonly valuesMax: number;
  /** Name for error texts. */
  readonly what: string;
}

const CONSTRUCTED = 0x20;
/** The low five bits of a tag that goes on in further bytes (X.690 §8.1.2.4); no format of ours has one. */
const LONG_TAG = 0x1f;
/**
 * Highest context-specific tag. The parser behind this takes [16] for a SEQUENCE and [17] for a SET; no format of ours
 * has more than [0], [1] and [2], nor tags of the application and private classes.
 */
const CONTEXT_TAG_MAX = 2;
const INDEFINITE = 0x80;
/** Length bytes of a long-form length: 2^24 is far above anything that gets here. */
const LENGTH_BYTES_MAX = 3;

/** An open constructed value. */
interface Open {
  /** Where it ends; of an indefinite one: where what encloses it ends. */
  readonly end: number;
  readonly indefinite: boolean;
}

/**
 * Checks that `bytes` are one well-formed BER value and nothing else.
 * @throws SignerError `protocol_violation` saying where it breaks off
 */
export const assertOneBerValue = (bytes: Uint8Array, { depthMax, valuesMax, what }: BerBounds): void => {
  const broken = (at: number, problem: string): SignerError =>
    new SignerError("protocol_violation", `${what}: not one BER value: ${problem} at byte ${at} of ${bytes.length}`);
  const open: Open[] = [];
  let at = 0;
  let values = 0;
  do {
    const inside = open.at(-1);
    const limit = inside?.end ?? bytes.length;
    if (inside?.indefinite === true && bytes[at] === 0) {
      if (at + 2 > limit || bytes[at + 1] !== 0) throw broken(at, "broken end of contents");
      open.pop();
      at += 2;
    } else {
      const header = readHeader(bytes, at, limit);
      if (typeof header === "string") throw broken(at, header);
      values += 1;
      if (values > valuesMax) throw broken(at, `more than ${valuesMax} values`);
      at = header.contentAt;
      if (header.constructed) open.push({ end: header.end ?? limit, indefinite: header.end === undefined });
      else at = header.end ?? at;
      if (open.length > depthMax) throw broken(at, `nested deeper than ${depthMax}`);
    }
    while (open.at(-1)?.indefinite === false && open.at(-1)?.end === at) open.pop();
  } while (open.length > 0);
  if (at !== bytes.length) throw broken(at, "trailing bytes");
};

interface Header {
  readonly constructed: boolean;
  readonly contentAt: number;
  /** undefined: the length is indefinite. */
  readonly end: number | undefined;
}

/** Tag and length at `at`; a text says what is wrong. Nothing is read at or behind `limit`. */
const readHeader = (bytes: Uint8Array, at: number, limit: number): Header | string => {
  if (at + 2 > limit) return "cut short";
  const tag = bytes[at] as number;
  if ((tag & LONG_TAG) === LONG_TAG) return "unexpected long tag";
  if (tag === 0) return "unexpected end of contents";
  if (!isKnownClass(tag)) return "unexpected class of tag";
  const constructed = (tag & CONSTRUCTED) !== 0;
  const first = bytes[at + 1] as number;
  const contentAt = at + 2;
  if (first === INDEFINITE) {
    return constructed ? { constructed, contentAt, end: undefined } : "indefinite length of a primitive";
  }
  if (first < INDEFINITE) {
    return contentAt + first > limit ? "cut short" : { constructed, contentAt, end: contentAt + first };
  }
  const count = first - INDEFINITE;
  if (count > LENGTH_BYTES_MAX) return `length of ${count} bytes`;
  if (contentAt + count > limit) return "cut short";
  let length = 0;
  for (let index = 0; index < count; index += 1) length = length * 256 + (bytes[contentAt + index] as number);
  const end = contentAt + count + length;
  return end > limit ? "cut short" : { constructed, contentAt: contentAt + count, end };
};

/** The upper two bits: 0 is universal, 2 is context-specific (X.690 §8.1.2.2). */
const isKnownClass = (tag: number): boolean => {
  const tagClass = tag >> 6;
  return tagClass === 0 || (tagClass === 2 && (tag & LONG_TAG) <= CONTEXT_TAG_MAX);
};
