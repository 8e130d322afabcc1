import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { SignerError } from "#protocol/errors.ts";
import {
  createJsonScanner,
  DEPTH_MAX,
  type JsonHandler,
  type JsonKind,
  KEPT_BYTES_MAX,
} from "#protocol/slashing/json-scanner.ts";
import { cutAt } from "../../../helpers/interchange.ts";

type Choice = (kind: JsonKind, depth: number) => ReturnType<JsonHandler["begin"]>;

/** Puts the value together again; what is skipped is `"(skipped)"`. */
const build = (chunks: readonly Uint8Array[], choose: Choice): unknown => {
  let result: unknown;
  const stack: { container: unknown[] | [string, unknown][]; kind: JsonKind; name: string }[] = [];
  const put = (value: unknown): void => {
    const top = stack.at(-1);
    if (top === undefined) result = value;
    else if (top.kind === "array") top.container.push(value as never);
    else top.container.push([top.name, value] as never);
  };
  const handler: JsonHandler = {
    begin: (kind) => {
      const choice = choose(kind, stack.length);
      if (choice === "enter") stack.push({ container: [], kind, name: "" });
      if (choice === "skip") put("(skipped)");
      return choice;
    },
    key: (name) => {
      const top = stack.at(-1);
      if (top) top.name = name;
    },
    value: put,
    end: () => {
      const { container, kind } = stack.pop() as (typeof stack)[number];
      put(kind === "array" ? container : Object.fromEntries(container as [string, unknown][]));
    },
  };
  const scanner = createJsonScanner(handler, { what: "test" });
  for (const chunk of chunks) scanner.write(chunk);
  scanner.end();
  return result;
};

const isContainer = (kind: JsonKind): boolean => kind === "object" || kind === "array";
const enterAll: Choice = (kind) => (isContainer(kind) ? "enter" : "keep");
const enterTwo: Choice = (kind, depth) => (isContainer(kind) && depth < 2 ? "enter" : "keep");
const keepAll: Choice = () => "keep";
const skipAll: Choice = () => "skip";

/** What the platform says of it: the value, or that it is none. */
const platform = (bytes: Uint8Array): { value: unknown } | undefined => {
  try {
    return { value: JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes)) };
  } catch {
    return undefined;
  }
};
const ours = (chunks: readonly Uint8Array[], choose: Choice): { value: unknown } | undefined => {
  try {
    return { value: build(chunks, choose) };
  } catch (error) {
    expect(error).toBeInstanceOf(SignerError);
    expect((error as SignerError).message).toMatch(/^bad_request: test: at byte \d+: /);
    return undefined;
  }
};
const places = fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 8 });

/** Bytes that are nearly JSON: pieces of it in random order, with some noise. */
const nearlyJson = fc
  .array(
    fc.oneof(
      fc
        .constantFrom('{"a":', "[", "]", "}", ",", ":", '"', "1", "-0", "0.5", "1e5", "E+", "true", "null", "fals", " ")
        .map((text) => Buffer.from(text)),
      fc
        .constantFrom("\\", "\\u00e9", "\\ud800", "\\n", '"ü€😀"', "\t", "\n", "\uFEFF")
        .map((text) => Buffer.from(text)),
      fc.uint8Array({ maxLength: 3 }),
    ),
    { maxLength: 12 },
  )
  .map((parts) => new Uint8Array(Buffer.concat(parts)));

describe("the JSON scanner", () => {
  it.each([enterAll, enterTwo, keepAll])("reads any JSON, in any chunks (%o)", (choose) => {
    const text = fc.oneof(
      fc.json({ depthSize: "medium" }),
      fc.jsonValue().map((it) => JSON.stringify(it, undefined, 2)),
    );
    fc.assert(
      fc.property(text, places, (json, cuts) => {
        const bytes = Buffer.from(json);
        expect(build(cutAt(bytes, cuts), choose)).toEqual(JSON.parse(json));
        expect(
          build(
            [...bytes].map((byte) => Uint8Array.of(byte)),
            choose,
          ),
        ).toEqual(JSON.parse(json));
      }),
      { numRuns: 300 },
    );
  });

  it.each([
    ["random bytes", fc.uint8Array({ maxLength: 40 })],
    ["bytes that are nearly JSON", nearlyJson],
    [
      "JSON with one byte changed",
      fc.tuple(fc.json(), fc.nat(), fc.nat(255)).map(([json, at, byte]) => {
        const bytes = new Uint8Array(Buffer.from(json));
        bytes[at % bytes.length] = byte;
        return bytes;
      }),
    ],
    [
      "JSON cut short",
      fc.tuple(fc.json(), fc.nat()).map(([json, at]) => {
        const bytes = Buffer.from(json);
        return new Uint8Array(bytes.subarray(0, at % (bytes.length + 1)));
      }),
    ],
  ])("agrees with JSON.parse on %s, whatever is entered", (_name, arbitrary) => {
    fc.assert(
      fc.property(arbitrary, places, (bytes, cuts) => {
        const expected = platform(bytes);
        const chunks = cutAt(bytes, cuts);
        for (const choose of [enterAll, enterTwo, keepAll]) expect(ours(chunks, choose)).toEqual(expected);
        expect(ours(chunks, skipAll)).toEqual(expected && { value: "(skipped)" });
      }),
      { numRuns: 2000 },
    );
  });

  it.each([
    ['{"a":1,}', "at byte 7: not JSON, expected a name, got '}'"],
    ["[1 2]", "at byte 3: not JSON, expected ',' or ']', got '2'"],
    ['{"a" 1}', "at byte 5: not JSON, expected ':', got '1'"],
    ['["\n"]', "at byte 2: not JSON, expected a character, got 0x0a"],
    ["[01]", "at byte 2: not JSON"],
    ["{} x", "at byte 3: not JSON, expected the end, got 'x'"],
    ['["ab', "at byte 4: not JSON, it ends too early"],
    ["", "at byte 0: not JSON, it ends too early"],
  ])("says where %s is wrong, in any chunks", (text, message) => {
    const bytes = Buffer.from(text);
    expect(() => build([bytes], enterAll)).toThrow(message);
    expect(() =>
      build(
        [...bytes].map((byte) => Uint8Array.of(byte)),
        skipAll,
      ),
    ).toThrow(message);
  });

  it("has its limits: nesting, and what is kept, but not what is skipped", () => {
    const nested = (depth: number) => [Buffer.from("[".repeat(depth) + "]".repeat(depth))];
    expect(build(nested(DEPTH_MAX), skipAll)).toBe("(skipped)");
    for (const choose of [skipAll, enterAll]) {
      expect(() => build(nested(DEPTH_MAX + 1), choose)).toThrow(`at byte ${DEPTH_MAX}: more than ${DEPTH_MAX} levels`);
    }
    const long = (chars: number) => [Buffer.from(`"${"x".repeat(chars)}"`)];
    expect(build(long(KEPT_BYTES_MAX - 2), keepAll)).toHaveLength(KEPT_BYTES_MAX - 2);
    expect(() => build(long(KEPT_BYTES_MAX - 1), keepAll)).toThrow("name or value of more than 65536 bytes");
    expect(build(long(10 * KEPT_BYTES_MAX), skipAll)).toBe("(skipped)");
    const parts = cutAt(long(10 * KEPT_BYTES_MAX)[0] as Uint8Array, [0.1, 0.2, 0.3]);
    expect(() => build(parts, keepAll)).toThrow("more than 65536 bytes");
  });

  it("does not let a handler enter what has no members, nor keeps the chunks", () => {
    expect(() => build([Buffer.from("1")], () => "enter")).toThrow("internal");
    const chunk = Buffer.from('["abc');
    const kept: unknown[] = [];
    const scanner = createJsonScanner(
      { begin: () => "keep", key: () => undefined, value: (it) => void kept.push(it), end: () => undefined },
      { what: "test" },
    );
    scanner.write(chunk);
    chunk.fill(0);
    scanner.write(Buffer.from('d"]'));
    scanner.end();
    expect(kept).toEqual([["abcd"]]);
  });
});
