import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { FAILURES_NAMED_MAX, renderInterchange } from "#protocol/slashing/interchange.ts";
import { MALFORMED_VALIDATORS_MAX, readValidators, surveyInterchange } from "#protocol/slashing/interchange-reader.ts";
import type { SlashingState } from "#protocol/slashing/rules.ts";
import { cutAt, parseChunks, parseInterchange, renderText } from "../../../helpers/interchange.ts";
import { parseNaively } from "../../../helpers/naive-interchange.ts";

const GVR = new Uint8Array(32).fill(4);
const GVR_HEX = `0x${"04".repeat(32)}`;
const PUBKEY = `0x${"ab".repeat(48)}`;
const OTHER = `0x${"cd".repeat(48)}`;
const ROOT_1 = `0x${"01".repeat(32)}`;
const ROOT_2 = `0x${"02".repeat(32)}`;
const control = { generation: 0, disabled: false };
const options = { genesisValidatorsRoot: GVR };

const file = (data: unknown, metadata: object = {}): string =>
  JSON.stringify({
    metadata: { interchange_format_version: "5", genesis_validators_root: GVR_HEX, ...metadata },
    data,
  });
const entry = (signed_blocks: unknown, signed_attestations: unknown = [], pubkey: unknown = PUBKEY) => ({
  pubkey,
  signed_blocks,
  signed_attestations,
});
const vote = (source: unknown, target: unknown, signing_root?: string) => ({
  source_epoch: source,
  target_epoch: target,
  ...(signing_root && { signing_root }),
});
const parseOne = async (...entries: unknown[]): Promise<SlashingState | undefined> => {
  const { validators, failures } = await parseInterchange(file(entries), options);
  expect(failures).toEqual([]);
  return validators.get(PUBKEY);
};

describe("an interchange file folds histories", () => {
  it("to the highest slot and its root, in any order", async () => {
    const blocks = [{ slot: "9" }, { slot: "11", signing_root: ROOT_1 }, { slot: "10", signing_root: ROOT_2 }];
    expect(await parseOne(entry(blocks))).toEqual({
      block: { slot: 11, signingRoot: new Uint8Array(32).fill(1) },
      control,
    });
  });

  it("to the highest source and the highest target of all attestations", async () => {
    expect(await parseOne(entry([], [vote("2", "9", ROOT_1), vote("5", "6", ROOT_2)]))).toEqual({
      attestation: { sourceEpoch: 5, targetEpoch: 9, signingRoot: new Uint8Array(32).fill(1) },
      control,
    });
  });

  it.each([
    ["different", ROOT_2],
    ["absent", undefined],
  ])("to an unknown root when the roots at the highest slot and target are %s", async (_name, second) => {
    const blocks = [
      { slot: "9", signing_root: ROOT_1 },
      { slot: "9", signing_root: second },
    ];
    const state = await parseOne(entry(blocks, [vote("1", "2", ROOT_1), vote("1", "2", second)]));
    expect(state).toEqual({ block: { slot: 9 }, attestation: { sourceEpoch: 1, targetEpoch: 2 }, control });
  });

  it("of a validator that is listed twice, in either case of its hex", async () => {
    const upper = `0x${"AB".repeat(48)}`;
    const state = await parseOne(entry([{ slot: "3" }]), entry([{ slot: "7" }], [vote("0", "1")], upper));
    expect(state).toEqual({ block: { slot: 7 }, attestation: { sourceEpoch: 0, targetEpoch: 1 }, control });
  });

  it("of nothing to nothing", async () => {
    expect(await parseOne(entry([]))).toEqual({ control });
    expect(await parseInterchange(file([]), options)).toEqual({ validators: new Map(), failures: [] });
  });

  it("from bytes as from text, and from safe integers as from decimal text", async () => {
    const bytes = Buffer.from(file([entry([{ slot: 12 }])]));
    expect((await parseInterchange(bytes, options)).validators.get(PUBKEY)).toEqual({ block: { slot: 12 }, control });
  });
});

describe("an interchange file is refused as a whole", () => {
  it.each([
    ["another version", file([], { interchange_format_version: "4" }), 'expected "5", got "4"'],
    ["a version as a number", file([], { interchange_format_version: 5 }), 'expected "5", got 5'],
    ["another chain", file([], { genesis_validators_root: ROOT_1 }), "genesis_validators_root: expected 0x04"],
    ["no chain", file([], { genesis_validators_root: undefined }), "genesis_validators_root"],
    ["a root that is not hex", file([], { genesis_validators_root: "0x12" }), "genesis_validators_root"],
    ["no JSON", "{", "at byte 1: not JSON"],
    ["a file that breaks off", file([entry([{ slot: "1" }])]).slice(0, -3), "not JSON, it ends too early"],
    ["a file with something after it", `${file([])},`, "not JSON, expected the end, got ','"],
    ["nothing", "", "at byte 0: not JSON"],
    ["metadata twice", file([]).replace("{", '{"metadata":{},'), "interchange_format_version"],
    ["the same metadata twice", `{${file([]).slice(1, -1)},${file([]).slice(1)}`, "metadata: expected once"],
    ["data twice", file([]).replace("{", '{"data":[],'), "data: expected once"],
    ["an element that is too long", file([entry([{ slot: "1", note: "x".repeat(65_536) }])]), "more than 65536 bytes"],
    ["an array", "[]", "interchange: expected an object"],
    ["no metadata", '{"data":[]}', "metadata: expected an object, it is missing"],
    ["metadata that is no object", '{"metadata":[],"data":[]}', "metadata: expected an object, got []"],
    ["no data", file([]).replace('"data"', '"date"'), "data: expected an array, it is missing"],
    ["data that is no array", file({}), "data: expected an array"],
  ])("%s", async (_name, text, message) => {
    await expect(parseInterchange(text, options)).rejects.toThrow(message);
  });

  it("that is not UTF-8", async () => {
    const bytes = Buffer.concat([Buffer.from('{"x":"'), Buffer.of(0xff), Buffer.from(file([]).replace("{", '",'))]);
    await expect(parseInterchange(bytes, options)).rejects.toThrow("at byte 6: not JSON, expected UTF-8, got 0xff");
  });
});

describe("an interchange file reports one validator and keeps the rest", () => {
  it.each([
    ["a slot of 2^53", entry([{ slot: "9007199254740992" }]), "slot: expected 0..2^53-1"],
    ["a slot of 2^53 as a number", entry([{ slot: 2 ** 53 }]), "slot"],
    ["a negative slot", entry([{ slot: "-1" }]), "slot"],
    ["a slot with a leading zero", entry([{ slot: "01" }]), "slot"],
    ["a slot in hex", entry([{ slot: "0x1" }]), "slot"],
    ["a slot with a space", entry([{ slot: " 1" }]), "slot"],
    ["a fraction", entry([{ slot: 1.5 }]), "slot"],
    ["a missing slot", entry([{}]), "slot"],
    ["a block that is no object", entry([null]), "signed block: expected an object"],
    ["missing blocks", { pubkey: PUBKEY, signed_attestations: [] }, "signed_blocks: expected once, it is missing"],
    [
      "missing attestations",
      { pubkey: PUBKEY, signed_blocks: [] },
      "signed_attestations: expected once, it is missing",
    ],
    ["blocks that are no array", entry({ 0: { slot: "1" } }), "signed_blocks: expected an array, got an object"],
    [
      "attestations that are no array",
      entry([], null),
      "signed_attestations: expected an array, got true, false or null",
    ],
    ["a missing source", entry([], [{ target_epoch: "1" }]), "source_epoch"],
    ["a missing target", entry([], [{ source_epoch: "1" }]), "target_epoch"],
    ["a short root", entry([{ slot: "1", signing_root: "0x01" }]), "signing_root"],
    ["a root that is a number", entry([{ slot: "1", signing_root: 1 }]), "signing_root"],
    ["a short public key", entry([], [], "0xab"), "pubkey"],
    ["no public key", entry([], [], null), "pubkey"],
    ["an entry that is no object", 5, "pubkey"],
  ])("%s", async (_name, bad, reason) => {
    const { validators, failures } = await parseInterchange(file([bad, entry([{ slot: "1" }], [], OTHER)]), options);
    expect([...validators.keys()]).toEqual([OTHER]);
    expect(failures).toHaveLength(1);
    expect(failures[0]?.reason).toContain(reason);
  });

  it("and uses nothing of a validator with one bad entry of two", async () => {
    const { validators, failures } = await parseInterchange(
      file([entry([{ slot: "1" }]), entry([{ slot: "x" }])]),
      options,
    );
    expect(validators.size).toBe(0);
    expect(failures.map(({ pubkey }) => pubkey)).toEqual([PUBKEY]);
  });

  it("while the largest safe number is fine", async () => {
    expect(await parseOne(entry([{ slot: "9007199254740991" }]))).toEqual({ block: { slot: 2 ** 53 - 1 }, control });
  });
});

describe("a file of any size", () => {
  const text = (entries: unknown[]): Uint8Array => Buffer.from(file(entries));

  it("may have its metadata after its data, fields in any order, a byte order mark and unknown fields", async () => {
    const { pubkey, ...histories } = entry([{ slot: "7" }]);
    const metadata = { genesis_validators_root: GVR_HEX, interchange_format_version: "5", by: "x" };
    const more = { x: [[{ y: [1, "ü"] }]], "": 1.5e3 };
    const late = JSON.stringify({ ...more, data: [{ ...histories, ...more, pubkey }], metadata, z: null });
    const { validators } = await parseInterchange(`\uFEFF${late}`, options);
    expect(validators).toEqual(new Map([[PUBKEY, { block: { slot: 7 }, control }]]));
  });

  it("of another chain is refused before its data is read, when that is known first", async () => {
    const chunks = function* () {
      yield text([]).subarray(0, -1);
      throw new Error("read on");
    };
    const foreign = { genesisValidatorsRoot: new Uint8Array(32).fill(9) };
    await expect(surveyInterchange(chunks(), foreign)).rejects.toThrow("genesis_validators_root: expected 0x0909");
    expect((await surveyInterchange([text([])])).genesisValidatorsRoot).toEqual(GVR);
  });

  it("that changes between the passes is refused", async () => {
    const survey = await surveyInterchange([text([entry([])])]);
    const read = (bytes: Uint8Array) => Array.fromAsync(readValidators([bytes], survey));
    await expect(read(text([entry([{ slot: "x" }])]))).rejects.toThrow("changed while it was read");
    await expect(read(Buffer.from('{"data":[]}'))).rejects.toThrow("metadata");
    await expect(read(Buffer.from(file([], { genesis_validators_root: ROOT_1 })))).rejects.toThrow("expected 0x04");
  });

  it("names a validator once, whoever has no public key by its place, and the first failures only", async () => {
    const bad = Array.from({ length: 250 }, (_, index) => [entry([1]), index]).flat();
    const survey = await surveyInterchange([text(bad)]);
    expect(survey).toMatchObject({ entries: 500, malformed: new Set([PUBKEY]) });
    expect(survey.failures.count).toBe(251);
    expect(survey.failures.named).toHaveLength(FAILURES_NAMED_MAX);
    expect(survey.failures.named.slice(0, 2)).toEqual([
      { pubkey: PUBKEY, reason: "signed block: expected an object, got 1" },
      { pubkey: "entry 1 of data", reason: "validator: expected an object with a pubkey, got a number" },
    ]);
  });

  it("with too many malformed validators is another file than was meant", async () => {
    const pieces = function* (validators: number) {
      yield text([]).subarray(0, -2);
      for (let index = 0; index < validators; index += 1) {
        yield Buffer.from(`${index === 0 ? "" : ","}{"pubkey":"${index.toString(16).padStart(96, "0")}"}`);
      }
      yield Buffer.from("]}");
    };
    expect((await surveyInterchange(pieces(MALFORMED_VALIDATORS_MAX))).malformed.size).toBe(MALFORMED_VALIDATORS_MAX);
    const many = surveyInterchange(pieces(MALFORMED_VALIDATORS_MAX + 1));
    await expect(many).rejects.toThrow("more than 100000 validators are malformed");
  });

  it("folds a validator with a million attestations", async () => {
    const pieces = function* () {
      yield Buffer.from(file([]).slice(0, -2));
      yield Buffer.from(`{"pubkey":"${PUBKEY}","signed_blocks":[],"signed_attestations":[`);
      for (let part = 0; part < 100; part += 1) {
        const votes = Array.from({ length: 10_000 }, (_, index) => vote(String(index), String(part * 10_000 + index)));
        yield Buffer.from(`${part === 0 ? "" : ","}${JSON.stringify(votes).slice(1, -1)}`);
      }
      yield Buffer.from("]}]}");
    };
    const survey = await surveyInterchange(pieces());
    expect(await Array.fromAsync(readValidators(pieces(), survey))).toEqual([
      [PUBKEY, { attestation: { sourceEpoch: 9999, targetEpoch: 999_999 }, control }],
    ]);
  });
});

describe("the streaming reader and the naive one", () => {
  const odd = fc.oneof(fc.jsonValue(), fc.constantFrom("01", "-1", "9007199254740992", 1.5, "0xff", null));
  /** Mostly right, sometimes anything. */
  const rarely = <T>(right: fc.Arbitrary<T>) =>
    fc.oneof({ weight: 30, arbitrary: right }, { weight: 1, arbitrary: odd });
  const number = rarely(fc.nat(5).chain((it) => fc.constantFrom<unknown>(it, String(it))));
  const root = rarely(fc.constantFrom(ROOT_1, ROOT_2, null, undefined));
  const blocks = rarely(fc.array(rarely(fc.record({ slot: number, signing_root: root })), { maxLength: 4 }));
  const votes = rarely(
    fc.array(rarely(fc.record({ source_epoch: number, target_epoch: number, signing_root: root })), { maxLength: 4 }),
  );
  const pubkey = rarely(fc.constantFrom(PUBKEY, OTHER, PUBKEY.toUpperCase().replace("0X", "0x"), OTHER.slice(2)));
  const validator = rarely(
    fc.record({ pubkey, signed_blocks: blocks, signed_attestations: votes, note: odd }, { requiredKeys: ["pubkey"] }),
  );
  const metadata = rarely(
    fc.record({
      interchange_format_version: rarely(fc.constant("5")),
      genesis_validators_root: rarely(fc.constant(GVR_HEX)),
    }),
  );
  const content = fc.record({ metadata, data: rarely(fc.array(validator, { maxLength: 5 })), note: odd });
  const bytes = fc.tuple(content, fc.boolean(), fc.constantFrom(0, 2)).map(([it, late, indent]) => {
    const { metadata: first, ...rest } = it;
    return new Uint8Array(Buffer.from(JSON.stringify(late ? { ...rest, metadata: first } : it, undefined, indent)));
  });
  const damaged = fc.tuple(bytes, fc.nat(), fc.nat(255)).map(([file, at, byte]) => file.with(at % file.length, byte));
  const places = fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 6 });

  const naive = (input: Uint8Array) => {
    try {
      const { validators, failed } = parseNaively(input, options);
      return { validators, failed: [...failed].filter((it) => /^0x[0-9a-f]{96}$/.test(it)).sort() };
    } catch {
      return "refused";
    }
  };
  const streaming = async (chunks: Uint8Array[]) => {
    try {
      const { validators, failures } = await parseChunks(chunks, options);
      return {
        validators,
        failed: failures
          .map((it) => it.pubkey)
          .filter((it) => it.startsWith("0x"))
          .sort(),
      };
    } catch (error) {
      expect(error).toMatchObject({ name: "SignerError", code: "bad_request" });
      return "refused";
    }
  };

  it.each([
    ["files", bytes],
    ["random bytes", fc.uint8Array()],
    ["random JSON", fc.json().map((it) => new Uint8Array(Buffer.from(it)))],
  ])("agree on %s in any chunks", async (_name, arbitrary) => {
    let accepted = 0;
    await fc.assert(
      fc.asyncProperty(arbitrary, places, async (input, cuts) => {
        const expected = naive(input);
        if (expected !== "refused") accepted += 1;
        expect(await streaming(cutAt(input, cuts))).toEqual(expected);
      }),
      { numRuns: 1000 },
    );
    if (arbitrary === bytes) expect(accepted).toBeGreaterThan(300);
  });

  it("agree on files with one byte changed, or the streaming one refuses them for a name that is there twice", async () => {
    await fc.assert(
      fc.asyncProperty(damaged, async (input) => {
        const found = await streaming([input]);
        if (found !== "refused") expect(found).toEqual(naive(input));
      }),
      { numRuns: 1000 },
    );
  });
});

describe("a written interchange file", () => {
  it("has decimal text, leaves unknown roots out and keeps the order", async () => {
    const state: SlashingState = { block: { slot: 5 }, control };
    const voted: SlashingState = {
      attestation: { sourceEpoch: 1, targetEpoch: 2, signingRoot: new Uint8Array(32).fill(1) },
      control: { generation: 3, disabled: true },
    };
    const entries = [
      [PUBKEY, state],
      [OTHER, voted],
    ] as const;
    const text = await renderText(entries, options);
    expect(JSON.parse(text)).toEqual({
      metadata: { interchange_format_version: "5", genesis_validators_root: GVR_HEX },
      data: [
        { pubkey: PUBKEY, signed_blocks: [{ slot: "5" }], signed_attestations: [] },
        { pubkey: OTHER, signed_blocks: [], signed_attestations: [vote("1", "2", ROOT_1)] },
      ],
    });
  });

  it("of nobody is a file too", async () => {
    expect(await parseInterchange(await renderText([], options), options)).toEqual({
      validators: new Map(),
      failures: [],
    });
  });

  it("comes in pieces of bounded length", async () => {
    const states = Array.from({ length: 2000 }, () => [PUBKEY, { block: { slot: 5 }, control }] as const);
    const pieces = await Array.fromAsync(renderInterchange(states, options));
    expect(pieces.length).toBeGreaterThan(3);
    expect(Math.max(...pieces.map(({ length }) => length))).toBeLessThan(70_000);
    expect((await parseInterchange(pieces.join(""), options)).validators.size).toBe(1);
  });

  it("is read back as it was", async () => {
    const root = fc.option(fc.uint8Array({ minLength: 32, maxLength: 32 }), { nil: undefined });
    const state = fc.record({
      slot: fc.maxSafeNat(),
      source: fc.maxSafeNat(),
      target: fc.maxSafeNat(),
      a: root,
      b: root,
    });
    await fc.assert(
      fc.asyncProperty(state, async ({ slot, source, target, a, b }) => {
        const original: SlashingState = {
          block: { slot, ...(a && { signingRoot: a }) },
          attestation: { sourceEpoch: source, targetEpoch: target, ...(b && { signingRoot: b }) },
          control,
        };
        const text = await renderText([[PUBKEY, original]], options);
        const { validators } = await parseInterchange(text, options);
        expect(validators).toEqual(new Map([[PUBKEY, original]]));
      }),
    );
  });

  it("is total on any JSON value", async () => {
    await fc.assert(
      fc.asyncProperty(fc.jsonValue(), async (value) => {
        const parsed = await parseInterchange(file([value]), options);
        expect(parsed.validators.size + parsed.failures.length).toBe(1);
      }),
    );
  });
});
