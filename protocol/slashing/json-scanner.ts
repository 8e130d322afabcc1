/**
 * An incremental JSON reader (RFC 8259 in strict UTF-8) over chunks of bytes, for files that do not fit into memory.
 *
 * Every byte is checked, whether its value is looked at or not, so a file is well-formed when the scanner came to its
 * end. A handler decides at the beginning of each value: enter it (be told of its members), keep it (get it parsed, so
 * it must be small), or skip it. Memory: one kept value, and one byte for each level of nesting.
 *
 * What it accepts is what `JSON.parse` accepts, but for the limits below and a byte order mark, which is ignored.
 * Keys that appear twice are the handler's matter.
 */

import { SignerError } from "../errors.ts";

/** What kind of value begins. `literal` is `true`, `false` or `null`. */
export type JsonKind = "object" | "array" | "string" | "number" | "literal";

/** Takes part in the reading. Whatever a method throws ends it. */
export interface JsonHandler {
  /** A value begins: as the root, as the member named last, or as the next element of the container entered last. */
  begin(kind: JsonKind): "enter" | "keep" | "skip";
  /** The name of the next member of the object entered last. */
  key(name: string): void;
  /** A kept value, complete. */
  value(value: unknown): void;
  /** The container entered last is complete. */
  end(): void;
}

/** A reading in progress. After an error it must not be used again. */
export interface JsonScanner {
  /** Reads on; the chunk may be of any length and is not kept. @throws SignerError `bad_request` naming the byte offset */
  write(chunk: Uint8Array): void;
  /** Says that there are no more bytes. @throws SignerError `bad_request` when the value is not complete */
  end(): void;
}

/** Bytes of the longest kept value or name: hundreds of times what the interchange format has there. */
export const KEPT_BYTES_MAX = 64 * 1024;
/** Deepest nesting: the interchange format has five levels. */
export const DEPTH_MAX = 128;

/** Takes one byte and answers who takes the next one. */
type State = (byte: number) => State;

const OBJECT = 0;
const ARRAY = 1;

const [TAB, NEWLINE, RETURN, SPACE] = [0x09, 0x0a, 0x0d, 0x20];
const [QUOTE, COMMA, MINUS, POINT, ZERO, NINE, COLON] = [0x22, 0x2c, 0x2d, 0x2e, 0x30, 0x39, 0x3a];
const [OPEN_BRACKET, BACKSLASH, CLOSE_BRACKET, OPEN_BRACE, CLOSE_BRACE] = [0x5b, 0x5c, 0x5d, 0x7b, 0x7d];
const BYTE_ORDER_MARK = [0xef, 0xbb, 0xbf];
const LITERALS = new Map(["true", "false", "null"].map((word) => [word.charCodeAt(0), Buffer.from(word)]));
/** What may follow a backslash, besides `u` (RFC 8259 section 7). */
const ESCAPES = new Set(Buffer.from('"\\/bfnrt'));
/** Bytes that a string may hold and that need no look at their neighbours. */
const PLAIN = Uint8Array.from({ length: 256 }, (_, byte) =>
  Number(byte >= SPACE && byte < 0x80 && byte !== QUOTE && byte !== BACKSLASH),
);

/** Begins a reading; `what` names the text in errors. */
export const createJsonScanner = (handler: JsonHandler, { what }: { what: string }): JsonScanner => {
  const stack: number[] = [];
  const capture = createCapture(() => refuse(`a name or value of more than ${KEPT_BYTES_MAX} bytes`));
  /** Bytes before the current chunk, and the current byte's place in it. */
  let before = 0;
  let index = 0;
  /** Depth at which the kept or skipped value began; -1 while everything is entered. */
  let quietDepth = -1;
  let keeping = false;
  let inName = false;
  /** Of the literal, escape or character that is being read. */
  let literal: Uint8Array = new Uint8Array();
  let left = 0;
  let [low, high] = [0x80, 0xbf];

  const refuse = (problem: string): never => {
    throw new SignerError("bad_request", `${what}: at byte ${before + index}: ${problem}`);
  };
  const fail = (expected: string, byte: number): never => {
    const got =
      byte > SPACE && byte < 0x7f ? `'${String.fromCharCode(byte)}'` : `0x${byte.toString(16).padStart(2, "0")}`;
    return refuse(`not JSON, expected ${expected}, got ${got}`);
  };

  const begin = (kind: JsonKind): void => {
    if (quietDepth >= 0) return;
    const treatment = handler.begin(kind);
    if (treatment === "enter") {
      if (kind === "object" || kind === "array") return;
      throw new SignerError("internal", `json: a ${kind} cannot be entered`);
    }
    quietDepth = stack.length;
    keeping = treatment === "keep";
    if (keeping) capture.start(index);
  };

  /** A value is complete, up to but not including the byte at `end`. */
  const complete = (end: number): State => {
    if (quietDepth === stack.length) {
      quietDepth = -1;
      if (keeping) handler.value(capture.take(end));
      keeping = false;
    }
    return stack.length === 0 ? trailer : afterValue;
  };

  const open = (container: typeof OBJECT | typeof ARRAY): State => {
    begin(container === OBJECT ? "object" : "array");
    if (stack.length === DEPTH_MAX) refuse(`more than ${DEPTH_MAX} levels of nesting`);
    stack.push(container);
    return container === OBJECT ? firstName : firstElement;
  };

  const close = (): State => {
    stack.pop();
    if (quietDepth < 0) handler.end();
    return complete(index + 1);
  };

  const startValue: State = (byte) => {
    if (byte === QUOTE) {
      begin("string");
      return inString;
    }
    if (byte === OPEN_BRACE) return open(OBJECT);
    if (byte === OPEN_BRACKET) return open(ARRAY);
    const word = LITERALS.get(byte);
    if (word !== undefined) {
      begin("literal");
      literal = word;
      left = word.length - 1;
      return inLiteral;
    }
    if (byte !== MINUS && !isDigit(byte)) return fail("a value", byte);
    begin("number");
    if (byte === MINUS) return afterMinus;
    return byte === ZERO ? afterInteger : inInteger;
  };
  const startName: State = (byte) => {
    if (byte !== QUOTE) return fail("a name", byte);
    inName = true;
    if (quietDepth < 0) capture.start(index);
    return inString;
  };

  // Between values.
  const start: State = (byte) => (byte === BYTE_ORDER_MARK[0] && before + index === 0 ? inMark : value(byte));
  const inMark: State = (byte) => {
    if (byte !== BYTE_ORDER_MARK[before + index]) return fail("a value", byte);
    return before + index === 2 ? value : inMark;
  };
  const value: State = (byte) => (isSpace(byte) ? value : startValue(byte));
  const firstElement: State = (byte) => {
    if (isSpace(byte)) return firstElement;
    return byte === CLOSE_BRACKET ? close() : startValue(byte);
  };
  const name: State = (byte) => (isSpace(byte) ? name : startName(byte));
  const firstName: State = (byte) => {
    if (isSpace(byte)) return firstName;
    return byte === CLOSE_BRACE ? close() : startName(byte);
  };
  const colon: State = (byte) => {
    if (isSpace(byte)) return colon;
    return byte === COLON ? value : fail("':'", byte);
  };
  const afterValue: State = (byte) => {
    if (isSpace(byte)) return afterValue;
    const inObject = stack.at(-1) === OBJECT;
    if (byte === COMMA) return inObject ? name : value;
    if (byte === (inObject ? CLOSE_BRACE : CLOSE_BRACKET)) return close();
    return fail(inObject ? "',' or '}'" : "',' or ']'", byte);
  };
  const trailer: State = (byte) => (isSpace(byte) ? trailer : fail("the end", byte));

  // Strings.
  const inString: State = (byte) => {
    if (PLAIN[byte] === 1) return inString;
    if (byte === BACKSLASH) return afterBackslash;
    if (byte >= 0x80) return startCharacter(byte);
    if (byte !== QUOTE) return fail("a character", byte);
    if (!inName) return complete(index + 1);
    inName = false;
    if (quietDepth < 0) handler.key(capture.take(index + 1) as string);
    return colon;
  };
  const afterBackslash: State = (byte) => {
    left = 4;
    if (byte === 0x75) return inHex;
    return ESCAPES.has(byte) ? inString : fail("an escape", byte);
  };
  const inHex: State = (byte) => {
    if (!isHexDigit(byte)) return fail("a hex digit", byte);
    left -= 1;
    return left === 0 ? inString : inHex;
  };
  /** The bounds of the second byte keep out overlong forms, surrogates and what is above U+10FFFF (RFC 3629 section 4). */
  const startCharacter: State = (byte) => {
    if (byte < 0xc2 || byte > 0xf4) return fail("UTF-8", byte);
    left = byte < 0xe0 ? 1 : byte < 0xf0 ? 2 : 3;
    low = byte === 0xe0 ? 0xa0 : byte === 0xf0 ? 0x90 : 0x80;
    high = byte === 0xed ? 0x9f : byte === 0xf4 ? 0x8f : 0xbf;
    return inCharacter;
  };
  const inCharacter: State = (byte) => {
    if (byte < low || byte > high) return fail("UTF-8", byte);
    [low, high] = [0x80, 0xbf];
    left -= 1;
    return left === 0 ? inString : inCharacter;
  };

  // Literals and numbers. A number ends at the byte after it.
  const inLiteral: State = (byte) => {
    if (byte !== literal[literal.length - left]) return fail("true, false or null", byte);
    left -= 1;
    return left === 0 ? complete(index + 1) : inLiteral;
  };
  const afterMinus: State = (byte) => {
    if (!isDigit(byte)) return fail("a digit", byte);
    return byte === ZERO ? afterInteger : inInteger;
  };
  const inInteger: State = (byte) => (isDigit(byte) ? inInteger : afterInteger(byte));
  const afterInteger: State = (byte) => (byte === POINT ? firstDecimal : afterDecimals(byte));
  const firstDecimal: State = (byte) => (isDigit(byte) ? inDecimals : fail("a digit", byte));
  const inDecimals: State = (byte) => (isDigit(byte) ? inDecimals : afterDecimals(byte));
  const afterDecimals: State = (byte) => (byte === 0x65 || byte === 0x45 ? exponent : complete(index)(byte));
  const exponent: State = (byte) => (byte === 0x2b || byte === MINUS ? firstExponent : firstExponent(byte));
  const firstExponent: State = (byte) => (isDigit(byte) ? inExponent : fail("a digit", byte));
  const inExponent: State = (byte) => (isDigit(byte) ? inExponent : complete(index)(byte));

  let state: State = start;

  const write = (chunk: Uint8Array): void => {
    capture.chunk = chunk;
    for (index = 0; index < chunk.length; index += 1) {
      const byte = chunk[index] as number;
      // Most bytes of most files; it saves half the time.
      if (state === inString && PLAIN[byte] === 1) continue;
      state = state(byte);
    }
    capture.pause();
    before += chunk.length;
    index = 0;
  };

  return {
    write,
    end: () => {
      // A number at the very end is complete only now.
      write(Uint8Array.of(SPACE));
      if (state === trailer) return;
      throw new SignerError("bad_request", `${what}: at byte ${before - 1}: not JSON, it ends too early`);
    },
  };
};

interface Capture {
  /** The chunk that is being read. */
  chunk: Uint8Array;
  /** Begins at this place in the chunk. */
  start(index: number): void;
  /** Copies what the chunk has of it, before the next chunk. */
  pause(): void;
  /** Parses everything up to `end`, exclusive, in the chunk. */
  take(end: number): unknown;
}

/** Collects the bytes of one value or name over chunks. */
const createCapture = (tooLong: () => never): Capture => {
  let parts: Uint8Array[] = [];
  let bytes = 0;
  /** Where it begins in the current chunk; -1: there is none. */
  let from = -1;
  const add = (part: Uint8Array): void => {
    parts.push(part);
    bytes += part.length;
    if (bytes > KEPT_BYTES_MAX) tooLong();
  };
  return {
    chunk: new Uint8Array(),
    start: (index) => {
      from = index;
    },
    pause() {
      if (from < 0) return;
      add(new Uint8Array(this.chunk.subarray(from)));
      from = 0;
    },
    take(end) {
      add(this.chunk.subarray(from, end));
      const text = parts.length === 1 ? textOf(parts[0] as Uint8Array) : Buffer.concat(parts).toString("utf8");
      parts = [];
      bytes = 0;
      from = -1;
      return JSON.parse(text);
    },
  };
};

const textOf = ({ buffer, byteOffset, byteLength }: Uint8Array): string =>
  Buffer.from(buffer, byteOffset, byteLength).toString("utf8");

const isSpace = (byte: number): boolean => byte === SPACE || byte === NEWLINE || byte === RETURN || byte === TAB;
const isDigit = (byte: number): boolean => byte >= ZERO && byte <= NINE;
const isHexDigit = (byte: number): boolean =>
  isDigit(byte) || (byte >= 0x41 && byte <= 0x46) || (byte >= 0x61 && byte <= 0x66);
