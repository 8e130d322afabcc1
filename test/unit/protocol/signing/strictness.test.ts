import { describe, expect, it } from "vitest";
import { SignerError } from "#protocol/errors.ts";
import { loadNetwork } from "#protocol/signing/load-network.ts";
import { parseSignRequest } from "#protocol/signing/request.ts";
import { bitlistJson, bitvectorJson } from "../../../helpers/naive-ssz.ts";
import { encode, filled, type Json, SAMPLES, sample, UINT64_MAX, withMember } from "./samples.ts";

const network = loadNetwork({ network: "mainnet", readFile: () => "" });

/** The detail of the refusal, or "accepted". */
const outcome = (body: Json): string => {
  try {
    parseSignRequest(encode(body), network);
    return "accepted";
  } catch (error) {
    if (error instanceof SignerError && error.code === "bad_request") return error.detail;
    throw error;
  }
};

/** Every member of a body that holds no further members, but for names of types and versions. */
const leaves = (node: Json, path = ""): { path: string; value: string }[] => {
  if (typeof node !== "object")
    return path === "type" || (path.endsWith("version") && !node.startsWith("0x")) ? [] : [{ path, value: node }];
  return Object.entries(node).flatMap(([key, child]) =>
    leaves(child, Array.isArray(node) ? `${path}[${key}]` : path === "" ? key : `${path}.${key}`),
  );
};
const branches = (node: Json, path = ""): string[] =>
  typeof node !== "object"
    ? []
    : [
        ...(path === "" ? [] : [path]),
        ...Object.entries(node).flatMap(([key, child]) =>
          branches(child, Array.isArray(node) ? `${path}[${key}]` : path === "" ? key : `${path}.${key}`),
        ),
      ];

const BAD_ANYWHERE = [undefined, null, true, {}, "", " ", "0x"];
const BAD_UINTS = [
  ...[-1, 1.5, 9007199254740992, 1e300, [], ["1"], "-1", "+1", "1.0", "1e3", "12abc", "0x10", "00", "01", " 5", "5 "],
  ...["5\n", "1_000", "١٢", "18446744073709551616", "99999999999999999999", "1".repeat(300_000)],
];
const GOOD_UINTS = ["0", 0, 7, "9007199254740991", 9007199254740991];
const isUint = (value: string) => !value.startsWith("0x");
const isBits = (path: string) => path.endsWith("_bits");

const badBytes = (value: string): unknown[] => [
  0,
  [],
  value.slice(2),
  `0X${value.slice(2)}`,
  `${value}00`,
  value.slice(0, -2),
  value.slice(0, -1),
  `${value.slice(0, -1)}g`,
  `0xzz${value.slice(4)}`,
  `${value.slice(0, -2)}\u0130\u0131`,
  ` ${value.slice(1)}`,
];

/** Samples of every type; of the forms of one type, those whose members differ. */
const FORMS = SAMPLES.filter(
  ({ name }) => !/before the fork|ALTAIR|wrapped|V2 (PHASE0|BELLATRIX|CAPELLA|DENEB|FULU)/.test(name),
);

describe.each([...FORMS, sample("BLOCK_V2 ALTAIR"), sample("BLOCK_V2 FULU, last slot before the fork")])(
  "$name",
  ({ body }) => {
    const uints = leaves(body).filter(({ value }) => isUint(value));
    const bytes = leaves(body).filter(({ value, path }) => !isUint(value) && !isBits(path));

    it("is accepted as it stands", () => {
      expect(outcome(body)).toBe("accepted");
      expect(leaves(body).length).toBeGreaterThan(1);
    });

    it("refuses every ill-formed integer and names it", () => {
      for (const { path } of uints) {
        for (const good of GOOD_UINTS) expect(outcome(withMember(body, path, good))).toBe("accepted");
        for (const bad of [...BAD_ANYWHERE, ...BAD_UINTS]) {
          const detail = outcome(withMember(body, path, bad));
          expect(detail.slice(0, 300), `${path} = ${String(bad).slice(0, 40)}`).toContain(
            `${path}: expected an integer 0..2^64-1`,
          );
          expect(detail.length).toBeLessThan(300);
        }
      }
    });

    it("refuses every ill-formed byte string and names it", () => {
      for (const { path, value } of bytes) {
        expect(outcome(withMember(body, path, `0x${value.slice(2).toUpperCase()}`))).toBe("accepted");
        const length = (value.length - 2) / 2;
        for (const bad of [...BAD_ANYWHERE, ...badBytes(value)]) {
          const detail = outcome(withMember(body, path, bad));
          expect(detail, `${path} = ${String(bad).slice(0, 40)}`).toContain(`${path}: expected ${length} bytes`);
        }
      }
    });

    it("refuses every object and array that is missing or something else, and names it", () => {
      for (const path of branches(body)) {
        for (const bad of [undefined, null, 1, "x", true]) {
          const detail = outcome(withMember(body, path, bad));
          // A list in which an element is deleted has a hole, null in JSON.
          expect(detail, `${path} = ${String(bad)}`).toContain(`${path}: expected an `);
        }
      }
    });
  },
);

describe("bits", () => {
  const row = (name: string, path: string, value: unknown, expected: string | RegExp) => ({
    name,
    path,
    value,
    expected,
  });
  const ones = (length: number) => Array.from({ length }, () => true);
  const bare = "aggregate_and_proof.aggregate.aggregation_bits";
  const electra = "aggregate_and_proof.data.aggregate.aggregation_bits";
  const committees = "aggregate_and_proof.data.aggregate.committee_bits";
  const sync = "contribution_and_proof.contribution.aggregation_bits";
  const PRE = "AGGREGATE_AND_PROOF bare";
  const V2 = "AGGREGATE_AND_PROOF_V2 ELECTRA";
  const SYNC = "SYNC_COMMITTEE_CONTRIBUTION_AND_PROOF";
  const LIST = "a bitlist of at most 2048 bits in 0x-hex with its sentinel bit";

  it.each([
    row(PRE, bare, "0x01", "accepted"),
    row(PRE, bare, "0x", `${bare}: expected ${LIST}, got "0x"`),
    row(PRE, bare, "0x00", `${bare}: expected ${LIST}, got "0x00"`),
    row(PRE, bare, "0xff01", "accepted"),
    row(PRE, bare, "0xff00", `${bare}: expected ${LIST}, got "0xff00"`),
    row(PRE, bare, "0xFF80", "accepted"),
    row(PRE, bare, "0xff8", `${bare}: expected ${LIST}, got "0xff8"`),
    row(PRE, bare, "ff80", `${bare}: expected ${LIST}, got "ff80"`),
    row(PRE, bare, "0xfg80", /aggregation_bits: expected 2 bytes of hex/),
    row(PRE, bare, bitlistJson(ones(2048)), "accepted"),
    row(PRE, bare, bitlistJson(ones(2049)), /aggregation_bits: expected a bitlist of at most 2048 bits/),
    row(PRE, bare, bitlistJson(ones(2056)), /aggregation_bits: expected a bitlist of at most 2048 bits/),
    row(PRE, bare, bitlistJson(ones(500_000)), /aggregation_bits: expected a bitlist of at most 2048 bits/),
    row(PRE, bare, [true], /aggregation_bits: expected a bitlist of at most 2048 bits .* got an array of 1$/),
    row(PRE, bare, null, /aggregation_bits: expected a bitlist .* got null$/),
    row(PRE, bare, undefined, /aggregation_bits: expected a bitlist .* got nothing$/),
    row(V2, electra, bitlistJson(ones(131_072)), "accepted"),
    row(V2, electra, bitlistJson(ones(131_073)), /aggregation_bits: expected a bitlist of at most 131072 bits/),
    row(V2, committees, "0xffffffffffffffff", "accepted"),
    row(V2, committees, "0xffffffffffffff", /committee_bits: expected 8 bytes/),
    row(V2, committees, "0xffffffffffffffff01", /committee_bits: expected 8 bytes/),
    row(V2, committees, undefined, /committee_bits: expected 8 bytes of 0x-hex, got nothing/),
    row(SYNC, sync, bitvectorJson(ones(128)), "accepted"),
    row(SYNC, sync, bitvectorJson(ones(120)), /aggregation_bits: expected 16 bytes/),
    row(SYNC, sync, bitvectorJson(ones(129)), /aggregation_bits: expected 16 bytes/),
  ])("$name, $path = $value", ({ name, path, value, expected }) => {
    const detail = outcome(withMember(sample(name).body, path, value));
    if (typeof expected === "string") expect(detail).toBe(expected);
    else expect(detail).toMatch(expected);
  });

  it("tell a bare pre-Electra aggregate from one since", () => {
    const { body } = sample(PRE);
    const withBits = withMember(body, "aggregate_and_proof.aggregate.committee_bits", "0x0100000000000000");
    expect(outcome({ ...withBits, signingRoot: sample(PRE).signingRoot })).toContain("signingRoot: expected");
    expect(outcome(withMember(withBits, "aggregate_and_proof.aggregate.committee_bits", null))).toContain(
      "committee_bits",
    );
    expect(outcome({ ...sample(V2).body, signingRoot: sample(V2).signingRoot })).toBe("accepted");
  });
});

describe("lists", () => {
  const path = "block.body.proposer_slashings";
  const { body } = sample("BLOCK");
  const times = (length: number, element: Json) => Array.from({ length }, () => element);
  const first = body.block.body;

  it.each([
    ["proposer_slashings", 16, first.proposer_slashings[0]],
    ["attester_slashings", 2, first.attester_slashings[0]],
    ["attestations", 128, first.attestations[0]],
    ["deposits", 16, first.deposits[0]],
    ["voluntary_exits", 16, first.voluntary_exits[0]],
    ["attester_slashings[1].attestation_2.attesting_indices", 2048, UINT64_MAX],
  ])("%s holds up to %i", (member, limit, element) => {
    const at = `block.body.${member}`;
    expect(outcome(withMember(body, at, times(limit, element)))).toBe("accepted");
    expect(outcome(withMember(body, at, times(limit + 1, element)))).toBe(
      `${at}: expected an array of at most ${limit}, got an array of ${limit + 1}`,
    );
  });

  it("are arrays, not objects that look like one", () => {
    expect(outcome(withMember(body, path, { length: 0 }))).toBe(
      `${path}: expected an array of at most 16, got an object`,
    );
    expect(outcome(withMember(body, "block", [body.block]))).toBe("block: expected an object, got an array of 1");
  });

  it("of fixed length are exactly so long", () => {
    const proof = "block.body.deposits[0].proof";
    for (const length of [0, 32, 34]) {
      expect(outcome(withMember(body, proof, times(length, filled(1))))).toBe(
        `${proof}: expected an array of 33, got an array of ${length}`,
      );
    }
    expect(outcome(withMember(body, proof, times(33, filled(1))))).toBe("accepted");
  });
});

describe("signingRoot", () => {
  const { body, signingRoot } = sample("RANDAO_REVEAL");
  it.each([
    [signingRoot, "accepted"],
    [null, "accepted"],
    ["", "signingRoot: expected 32 bytes"],
    [signingRoot.slice(2), "signingRoot: expected 32 bytes of 0x-hex"],
    [signingRoot.slice(0, -2), "signingRoot: expected 32 bytes of hex"],
    [`${signingRoot}00`, "signingRoot: expected 32 bytes of hex"],
    [0, "signingRoot: expected 32 bytes of 0x-hex, got 0"],
    [[signingRoot], "signingRoot: expected 32 bytes of 0x-hex, got an array of 1"],
    [false, "signingRoot: expected 32 bytes of 0x-hex, got false"],
  ])("%j: %s", (value, expected) => {
    expect(outcome({ ...body, signingRoot: value })).toContain(expected);
  });
});
