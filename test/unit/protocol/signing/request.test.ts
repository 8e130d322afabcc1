import { describe, expect, it } from "vitest";
import { fromHex, toHex } from "#protocol/bytes.ts";
import { SignerError } from "#protocol/errors.ts";
import { BODY_BYTES_MAX } from "#protocol/limits.ts";
import { loadNetwork } from "#protocol/signing/load-network.ts";
import { parseSignRequest } from "#protocol/signing/request.ts";
import { SIGNING_TYPES } from "#protocol/signing/types.ts";
import { encode, filled, type Json, SAMPLES, sample, UINT64_MAX, withMember } from "./samples.ts";

const network = loadNetwork({ network: "mainnet", readFile: () => "" });
const parse = (body: Json) => parseSignRequest(encode(body), network);

/** The detail of the `bad_request` that `run` throws. */
const refusal = (run: () => unknown): string => {
  try {
    run();
  } catch (error) {
    if (error instanceof SignerError && error.code === "bad_request") return error.detail;
    throw error;
  }
  throw new Error("was accepted");
};

describe("signing roots", () => {
  it("has a sample of every type", () => {
    expect([...new Set(SAMPLES.map(({ type }) => type))].sort()).toEqual([...SIGNING_TYPES].sort());
  });

  it.each(SAMPLES)("$name equals the root computed by hand", ({ body, type, signingRoot }) => {
    const request = parse(body);
    expect(toHex(request.signingRoot)).toBe(signingRoot);
    expect(request.type).toBe(type);
    expect(Object.isFrozen(request) && Object.isFrozen(request.duty)).toBe(true);
  });

  it.each(SAMPLES)("$name accepts its own root under both names and refuses another", ({ body, signingRoot }) => {
    const wrong = filled(0xee);
    for (const name of ["signingRoot", "signing_root"]) {
      expect(toHex(parse({ ...body, [name]: signingRoot.toUpperCase().replace("0X", "0x") }).signingRoot)).toBe(
        signingRoot,
      );
      expect(refusal(() => parse({ ...body, [name]: wrong }))).toBe(
        `${name}: expected ${signingRoot} for this body, got ${wrong}`,
      );
    }
    expect(refusal(() => parse({ ...body, signingRoot, signing_root: wrong }))).toContain("signing_root: expected");
    expect(refusal(() => parse({ ...body, signingRoot: wrong, signing_root: signingRoot }))).toContain("signingRoot:");
    expect(toHex(parse({ ...body, signingRoot: null, signing_root: null }).signingRoot)).toBe(signingRoot);
  });

  it("gives the same root for the same body again, and another for the next", () => {
    const { body, signingRoot } = sample("ATTESTATION");
    parse(withMember(body, "attestation.slot", "401"));
    expect(toHex(parse(body).signingRoot)).toBe(signingRoot);
    expect(toHex(parse(withMember(body, "attestation.slot", "401")).signingRoot)).not.toBe(signingRoot);
  });
});

describe("what else a request carries", () => {
  it("gives the duty of slashable types from the hashed value", () => {
    expect(parse(sample("ATTESTATION").body).duty).toEqual({
      kind: "attestation",
      slot: 400,
      sourceEpoch: 9,
      targetEpoch: 10,
    });
    expect(parse(sample("BLOCK").body).duty).toEqual({ kind: "block", slot: 320 });
    expect(parse(sample("BLOCK_V2 ALTAIR").body).duty).toEqual({ kind: "block", slot: 320 });
    expect(parse(sample("BLOCK_V2 FULU, last slot before the fork").body).duty).toEqual({ kind: "block", slot: 319 });
    expect(parse(sample("RANDAO_REVEAL").body).duty).toEqual({ kind: "other" });
  });

  it("names the chain for all but deposits and registrations", () => {
    for (const { type, body } of SAMPLES) {
      const { genesisValidatorsRoot } = parse(body);
      const hasChain = type !== "DEPOSIT" && type !== "VALIDATOR_REGISTRATION";
      expect(genesisValidatorsRoot && toHex(genesisValidatorsRoot)).toBe(hasChain ? filled(0x4b) : undefined);
    }
  });

  it.each([
    ["ATTESTATION", "attestation.slot"],
    ["ATTESTATION", "attestation.source.epoch"],
    ["ATTESTATION", "attestation.target.epoch"],
    ["BLOCK", "block.slot"],
    ["BLOCK_V2 PHASE0", "beacon_block.block.slot"],
    ["BLOCK_V2 DENEB, last slot before the fork", "beacon_block.block_header.slot"],
  ])("%s takes %s up to 2^53-1", (name, path) => {
    const { body } = sample(name);
    expect(() => parse(withMember(body, path, "9007199254740991"))).not.toThrow();
    expect(refusal(() => parse(withMember(body, path, "9007199254740992")))).toBe(
      `${path}: expected 0..2^53-1, got "9007199254740992"`,
    );
    expect(refusal(() => parse(withMember(body, path, UINT64_MAX)))).toContain(path);
  });
});

describe("voluntary exits (EIP-7044)", () => {
  const capella = { previous_version: "0x02000000", current_version: "0x03000000", epoch: "10" };
  const exitRoot = (fork: Json, epoch: string) =>
    toHex(
      parse(
        withMember(
          { ...sample("VOLUNTARY_EXIT").body, fork_info: { fork, genesis_validators_root: filled(0x4b) } },
          "voluntary_exit.epoch",
          epoch,
        ),
      ).signingRoot,
    );

  it.each([
    ["Deneb", { previous_version: "0x03000000", current_version: "0x04000000", epoch: "20" }],
    ["Fulu", { previous_version: "0x05000000", current_version: "0x06000000", epoch: "20" }],
    ["an unknown fork", { previous_version: "0x03000000", current_version: "0xdeadbeef", epoch: "0" }],
  ])("gives one root whether the client sends Capella or %s", (_, fork) => {
    for (const epoch of ["10", "19", "20", "21"]) expect(exitRoot(fork, epoch)).toBe(exitRoot(capella, epoch));
  });

  it("takes an earlier fork as sent", () => {
    const altair = { previous_version: "0x00000000", current_version: "0x01000000", epoch: "10" };
    expect(exitRoot(altair, "10")).not.toBe(exitRoot(capella, "10"));
    expect(exitRoot(capella, "9")).not.toBe(exitRoot({ ...capella, previous_version: "0x01000000" }, "9"));
  });
});

describe("registrations", () => {
  it("depend on the network's genesis fork version", () => {
    const hoodi = loadNetwork({ network: "hoodi", readFile: () => "" });
    const { body, signingRoot } = sample("VALIDATOR_REGISTRATION");
    expect(toHex(parseSignRequest(encode(body), hoodi).signingRoot)).not.toBe(signingRoot);
    expect(refusal(() => parseSignRequest(encode({ ...body, signingRoot }), hoodi))).toContain("signingRoot: expected");
  });
});

describe("names", () => {
  it.each([
    ["attestation", true],
    ["AtTeStAtIoN", true],
    ["attestat\u0131on", false],
    ["ATTESTATION ", false],
    ["GENERIC", false],
    ["BLS_TO_EXECUTION_CHANGE", false],
    ["__proto__", false],
    ["constructor", false],
    ["", false],
    [null, false],
    [["ATTESTATION"], false],
    [undefined, false],
  ])("type %j: accepted %s", (type, isAccepted) => {
    const body = { ...sample("ATTESTATION").body, type };
    if (isAccepted) expect(parse(body).type).toBe("ATTESTATION");
    else expect(refusal(() => parse(body))).toMatch(/^type: expected one of AGGREGATION_SLOT, .*VOLUNTARY_EXIT, got /);
  });

  it("takes versions in any letter case and lists the known ones", () => {
    const { body, signingRoot } = sample("BLOCK_V2 FULU, last slot before the fork");
    expect(toHex(parse(withMember(body, "beacon_block.version", "fulu")).signingRoot)).toBe(signingRoot);
    expect(refusal(() => parse(withMember(body, "beacon_block.version", "GLOAS")))).toBe(
      'beacon_block.version: expected one of PHASE0, ALTAIR, BELLATRIX, CAPELLA, DENEB, ELECTRA, FULU, got "GLOAS"',
    );
    const aggregate = sample("AGGREGATE_AND_PROOF_V2 FULU");
    expect(toHex(parse(withMember(aggregate.body, "aggregate_and_proof.version", "Electra")).signingRoot)).toBe(
      aggregate.signingRoot,
    );
    expect(refusal(() => parse(withMember(aggregate.body, "aggregate_and_proof.version", undefined)))).toMatch(
      /^aggregate_and_proof.version: expected one of PHASE0, .* got nothing$/,
    );
  });

  it("names the member that a version needs", () => {
    const header = sample("BLOCK_V2 FULU, last slot before the fork").body;
    const full = sample("BLOCK_V2 ALTAIR").body;
    expect(refusal(() => parse(withMember(header, "beacon_block.version", "ALTAIR")))).toBe(
      "beacon_block.block: expected an object, got nothing",
    );
    expect(refusal(() => parse(withMember(full, "beacon_block.version", "BELLATRIX")))).toBe(
      "beacon_block.block_header: expected an object, got nothing",
    );
    expect(refusal(() => parse(withMember(full, "beacon_block.block.body.sync_aggregate", undefined)))).toBe(
      "beacon_block.block.body.sync_aggregate: expected an object, got nothing",
    );
  });
});

describe("the body as bytes", () => {
  const valid = JSON.stringify(sample("RANDAO_REVEAL").body);
  const text = (body: string) => () => parseSignRequest(new TextEncoder().encode(body), network);

  it("takes JSON with spaces around it and unknown members in it", () => {
    expect(text(` \n${valid}\n`)).not.toThrow();
    expect(() =>
      parse({ ...sample("RANDAO_REVEAL").body, extra: { deep: [1] }, randao_reveal: { epoch: 9, more: 1 } }),
    ).not.toThrow();
  });

  it.each([
    ["nothing", ""],
    ["a byte order mark", `\ufeff${valid}`],
    ["cut JSON", valid.slice(0, -1)],
    ["trailing text", `${valid}x`],
    ["an array", "[]"],
    ["null", "null"],
    ["a string", '"ATTESTATION"'],
    ["deep nesting", "[".repeat(500_000) + "]".repeat(500_000)],
    ["deep nesting in a member", `{"type":${"[".repeat(400_000)}${"]".repeat(400_000)}}`],
  ])("refuses %s", (_, body) => {
    expect(refusal(text(body))).toMatch(/^(body|type): expected /);
  });

  it("refuses bytes that are no UTF-8", () => {
    const bytes = Buffer.from(valid.replace("{", '{"x":"?",'));
    bytes[bytes.indexOf("?")] = 0xff;
    expect(refusal(() => parseSignRequest(bytes, network))).toContain("UTF-8");
  });

  it("takes bodies up to the limit and no longer", () => {
    expect(text(valid.padEnd(BODY_BYTES_MAX))).not.toThrow();
    expect(refusal(text(valid.padEnd(BODY_BYTES_MAX + 1)))).toContain(`at most ${BODY_BYTES_MAX} bytes`);
  });

  it("takes the last of two equal keys, for the hash and for the duty alike", () => {
    const { body } = sample("ATTESTATION");
    const doubled = JSON.stringify(body).replace('"slot":"400"', '"slot":"1","slot":"7"');
    const request = parseSignRequest(new TextEncoder().encode(doubled), network);
    const single = parse(withMember(body, "attestation.slot", "7"));
    expect(request.duty).toMatchObject({ slot: 7 });
    expect(request.signingRoot).toEqual(single.signingRoot);
  });

  it("looks at own members only", () => {
    const inherited = `{"type":"RANDAO_REVEAL","__proto__":${valid}}`;
    expect(refusal(text(inherited))).toBe("randao_reveal: expected an object, got nothing");
    const { prototype } = Object as unknown as { prototype: Json };
    prototype.epoch = "9";
    try {
      expect(refusal(text(valid.replace('"epoch":"9"', '"other":"9"')))).toContain("randao_reveal.epoch: expected");
    } finally {
      delete prototype.epoch;
    }
  });

  it("gives bytes that do not change when the caller reuses the body", () => {
    const bytes = encode(sample("RANDAO_REVEAL").body);
    const { genesisValidatorsRoot } = parseSignRequest(bytes, network);
    bytes.fill(0);
    expect(genesisValidatorsRoot).toEqual(fromHex(filled(0x4b), 32, "root"));
  });
});
