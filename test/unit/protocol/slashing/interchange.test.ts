import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { parseInterchange, renderInterchange } from "#protocol/slashing/interchange.ts";
import type { SlashingState } from "#protocol/slashing/rules.ts";

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
const parseOne = (...entries: unknown[]): SlashingState | undefined => {
  const { validators, failures } = parseInterchange(file(entries), options);
  expect(failures).toEqual([]);
  return validators.get(PUBKEY);
};

describe("parseInterchange folds histories", () => {
  it("to the highest slot and its root, in any order", () => {
    const blocks = [{ slot: "9" }, { slot: "11", signing_root: ROOT_1 }, { slot: "10", signing_root: ROOT_2 }];
    expect(parseOne(entry(blocks))).toEqual({ block: { slot: 11, signingRoot: new Uint8Array(32).fill(1) }, control });
  });

  it("to the highest source and the highest target of all attestations", () => {
    expect(parseOne(entry([], [vote("2", "9", ROOT_1), vote("5", "6", ROOT_2)]))).toEqual({
      attestation: { sourceEpoch: 5, targetEpoch: 9, signingRoot: new Uint8Array(32).fill(1) },
      control,
    });
  });

  it.each([
    ["different", ROOT_2],
    ["absent", undefined],
  ])("to an unknown root when the roots at the highest slot and target are %s", (_name, second) => {
    const blocks = [
      { slot: "9", signing_root: ROOT_1 },
      { slot: "9", signing_root: second },
    ];
    const state = parseOne(entry(blocks, [vote("1", "2", ROOT_1), vote("1", "2", second)]));
    expect(state).toEqual({ block: { slot: 9 }, attestation: { sourceEpoch: 1, targetEpoch: 2 }, control });
  });

  it("of a validator that is listed twice, in either case of its hex", () => {
    const upper = `0x${"AB".repeat(48)}`;
    const state = parseOne(entry([{ slot: "3" }]), entry([{ slot: "7" }], [vote("0", "1")], upper));
    expect(state).toEqual({ block: { slot: 7 }, attestation: { sourceEpoch: 0, targetEpoch: 1 }, control });
  });

  it("of nothing to nothing", () => {
    expect(parseOne(entry([]))).toEqual({ control });
    expect(parseInterchange(file([]), options)).toEqual({ validators: new Map(), failures: [] });
  });

  it("from bytes as from text, and from safe integers as from decimal text", () => {
    const bytes = Buffer.from(file([entry([{ slot: 12 }])]));
    expect(parseInterchange(bytes, options).validators.get(PUBKEY)).toEqual({ block: { slot: 12 }, control });
  });
});

describe("parseInterchange refuses the whole file", () => {
  it.each([
    ["another version", file([], { interchange_format_version: "4" }), 'expected "5", got "4"'],
    ["a version as a number", file([], { interchange_format_version: 5 }), 'expected "5", got 5'],
    ["another chain", file([], { genesis_validators_root: ROOT_1 }), "genesis_validators_root: expected 0x04"],
    ["no chain", file([], { genesis_validators_root: undefined }), "genesis_validators_root"],
    ["a root that is not hex", file([], { genesis_validators_root: "0x12" }), "genesis_validators_root"],
    ["no JSON", "{", "expected JSON"],
    ["an array", "[]", "interchange: expected an object"],
    ["no metadata", '{"data":[]}', "metadata: expected an object"],
    ["data that is no array", file({}), "data: expected an array"],
  ])("%s", (_name, text, message) => {
    expect(() => parseInterchange(text, options)).toThrow(message);
  });

  it("that is not UTF-8", () => {
    expect(() => parseInterchange(new Uint8Array([0x22, 0xff, 0x22]), options)).toThrow("UTF-8");
  });
});

describe("parseInterchange reports one validator and keeps the rest", () => {
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
    ["missing blocks", { pubkey: PUBKEY, signed_attestations: [] }, "signed_blocks: expected an array"],
    ["missing attestations", { pubkey: PUBKEY, signed_blocks: [] }, "signed_attestations: expected an array"],
    ["a missing source", entry([], [{ target_epoch: "1" }]), "source_epoch"],
    ["a missing target", entry([], [{ source_epoch: "1" }]), "target_epoch"],
    ["a short root", entry([{ slot: "1", signing_root: "0x01" }]), "signing_root"],
    ["a root that is a number", entry([{ slot: "1", signing_root: 1 }]), "signing_root"],
    ["a short public key", entry([], [], "0xab"), "pubkey"],
    ["no public key", entry([], [], null), "pubkey"],
    ["an entry that is no object", 5, "pubkey"],
  ])("%s", (_name, bad, reason) => {
    const { validators, failures } = parseInterchange(file([bad, entry([{ slot: "1" }], [], OTHER)]), options);
    expect([...validators.keys()]).toEqual([OTHER]);
    expect(failures).toHaveLength(1);
    expect(failures[0]?.reason).toContain(reason);
  });

  it("and uses nothing of a validator with one bad entry of two", () => {
    const { validators, failures } = parseInterchange(file([entry([{ slot: "1" }]), entry([{ slot: "x" }])]), options);
    expect(validators.size).toBe(0);
    expect(failures.map(({ pubkey }) => pubkey)).toEqual([PUBKEY]);
  });

  it("while the largest safe number is fine", () => {
    expect(parseOne(entry([{ slot: "9007199254740991" }]))).toEqual({ block: { slot: 2 ** 53 - 1 }, control });
  });
});

describe("renderInterchange", () => {
  it("writes decimal text, leaves unknown roots out and sorts validators", () => {
    const state: SlashingState = { block: { slot: 5 }, control };
    const voted: SlashingState = {
      attestation: { sourceEpoch: 1, targetEpoch: 2, signingRoot: new Uint8Array(32).fill(1) },
      control: { generation: 3, disabled: true },
    };
    const text = renderInterchange(
      [
        [OTHER, voted],
        [PUBKEY, state],
      ],
      options,
    );
    expect(JSON.parse(text)).toEqual({
      metadata: { interchange_format_version: "5", genesis_validators_root: GVR_HEX },
      data: [
        { pubkey: PUBKEY, signed_blocks: [{ slot: "5" }], signed_attestations: [] },
        { pubkey: OTHER, signed_blocks: [], signed_attestations: [vote("1", "2", ROOT_1)] },
      ],
    });
  });

  it("is read back as it was", () => {
    const root = fc.option(fc.uint8Array({ minLength: 32, maxLength: 32 }), { nil: undefined });
    const state = fc.record({
      slot: fc.maxSafeNat(),
      source: fc.maxSafeNat(),
      target: fc.maxSafeNat(),
      a: root,
      b: root,
    });
    fc.assert(
      fc.property(state, ({ slot, source, target, a, b }) => {
        const original: SlashingState = {
          block: { slot, ...(a && { signingRoot: a }) },
          attestation: { sourceEpoch: source, targetEpoch: target, ...(b && { signingRoot: b }) },
          control,
        };
        const { validators } = parseInterchange(renderInterchange([[PUBKEY, original]], options), options);
        expect(validators).toEqual(new Map([[PUBKEY, original]]));
      }),
    );
  });

  it("is total on any JSON value", () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        const parsed = parseInterchange(file([value]), options);
        expect(parsed.validators.size + parsed.failures.length).toBe(1);
      }),
    );
  });
});
