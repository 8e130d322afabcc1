/** Whatever bytes come, the answer is a verdict or a named error, never a crash; and what is written is read again. */

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { decodeCbor } from "../../../../protocol/attestation/cbor.ts";
import { parseCertificate } from "../../../../protocol/attestation/certificate.ts";
import {
  decodeAttestationResponse,
  decodeNsmRequest,
  encodeAttestationRequest,
  encodeNsmResponse,
} from "../../../../protocol/attestation/nsm-messages.ts";
import { createPcrPolicy } from "../../../../protocol/attestation/policy.ts";
import { ATTESTATION_REJECTIONS, asVerdict } from "../../../../protocol/attestation/rejection.ts";
import { readAttestation, verifyAttestation } from "../../../../protocol/attestation/verify.ts";
import { SignerError } from "../../../../protocol/errors.ts";
import { cbor, mintChain, mintFields, NOW_MS, signParts, soundFields } from "./minting.ts";

const chain = mintChain();
const document = mintFields(soundFields(chain), chain.leafKey);
const options = {
  atMs: NOW_MS,
  roots: [chain.bundle[0] as Uint8Array],
  pcrs: createPcrPolicy([[0, [new Uint8Array(48).fill(1)]]]),
};

const expectRefused = (bytes: Uint8Array): void => {
  const verdict = verifyAttestation(bytes, options);
  expect(verdict.ok ? "ok" : ATTESTATION_REJECTIONS).not.toBe("ok");
  if (!verdict.ok) expect(ATTESTATION_REJECTIONS).toContain(verdict.reason);
};

const bytes = fc.uint8Array({ maxLength: 400 });
/** Anything that CBOR can say, nested. */
const value = fc.letrec((tie) => ({
  value: fc.oneof(
    { depthSize: "small" },
    fc.integer(),
    fc.string(),
    fc.boolean(),
    fc.constant(null),
    fc.double(),
    fc.uint8Array({ maxLength: 100 }),
    fc.array(tie("value"), { maxLength: 5 }),
    fc.array(fc.tuple(tie("value"), tie("value")), { maxLength: 5 }).map((entries) => new Map(entries)),
  ),
})).value;

describe("a document", () => {
  it("of any bytes is refused by a name", () => {
    fc.assert(fc.property(bytes, expectRefused));
  });

  it("of any CBOR is refused by a name", () => {
    fc.assert(fc.property(value, (item) => expectRefused(cbor(item))));
    fc.assert(fc.property(value, (item) => expectRefused(cbor(signParts(cbor(item), chain.leafKey)))));
  });

  it("with any field replaced by anything is taken or refused by a name", () => {
    const names = [...soundFields(chain).keys()];
    const property = fc.property(fc.constantFrom(...names), value, (name, item) => {
      const verdict = verifyAttestation(mintFields(soundFields(chain).set(name, item), chain.leafKey), options);
      if (!verdict.ok) expect(ATTESTATION_REJECTIONS).toContain(verdict.reason);
    });
    fc.assert(property);
  });

  it("with any bytes overwritten is refused by a name", () => {
    const change = fc.record({
      at: fc.nat(document.length - 1),
      patch: fc.uint8Array({ minLength: 1, maxLength: 40 }),
    });
    const property = fc.property(change, ({ at, patch }) => {
      const changed = document.slice();
      changed.set(patch.subarray(0, changed.length - at), at);
      if (Buffer.compare(changed, document) !== 0) expectRefused(changed);
    });
    fc.assert(property);
  });

  it("is read in full, and read alone never ends otherwise", () => {
    expect(readAttestation(document).ok).toBe(true);
    fc.assert(fc.property(bytes, (input) => void expect(readAttestation(input).ok).toBe(false)));
  });
});

describe("a certificate", () => {
  const parse = (der: Uint8Array) => asVerdict(() => ({ ok: true, parsed: parseCertificate(der, "certificate") }));

  it("of any bytes, or with any bytes overwritten, is taken or refused by a name", () => {
    expect(parse(chain.leaf).ok).toBe(true);
    fc.assert(
      fc.property(
        bytes,
        (der) => void expect(parse(der)).toMatchObject({ ok: false, reason: "malformed_certificate" }),
      ),
    );
    const change = fc.record({
      at: fc.nat(chain.leaf.length - 1),
      patch: fc.uint8Array({ minLength: 1, maxLength: 9 }),
    });
    const property = fc.property(change, ({ at, patch }) => {
      const der = chain.leaf.slice();
      der.set(patch.subarray(0, der.length - at), at);
      const verdict = parse(der);
      if (!verdict.ok) expect(ATTESTATION_REJECTIONS).toContain(verdict.reason);
    });
    fc.assert(property, { numRuns: 500 });
  });

  it("cut short is refused", () => {
    for (let length = 0; length < chain.leaf.length; length += 1) {
      expect(parse(chain.leaf.subarray(0, length))).toMatchObject({ reason: "malformed_certificate" });
    }
  });
});

describe("CBOR", () => {
  it.each<[hex: string, maps: "none" | "outermost" | "any", ok: boolean]>([
    ["bf616101ff", "none", false],
    ["bf616101ff", "outermost", true],
    ["bf6161bf616201ffff", "outermost", false],
    ["bf6161bf616201ffff", "any", true],
    ["bf61619fffff", "any", false],
    ["9fff", "any", false],
    ["a16161ff", "none", false],
    ["a16161ff", "outermost", false],
    ["a16161ff", "any", false],
    ["bf6161ffff", "any", false],
    ["81ff", "any", false],
    ["ff", "any", false],
    ["f90000", "none", false],
    ["fb3ff0000000000000", "none", false],
    ["1bffffffffffffffff", "none", false],
    ["1b001fffffffffffff", "none", true],
    ["1b0020000000000000", "none", false],
    ["d200", "none", false],
  ])("%s with maps without length %s: %s", (hex, maps, ok) => {
    const decode = () => decodeCbor(Buffer.from(hex, "hex"), maps);
    if (ok) expect(decode()).toBeDefined();
    else expect(decode).toThrow(Error);
  });

  it("of more than 256 items is refused before it is built", () => {
    expect(decodeCbor(cbor(Array.from({ length: 255 }, () => 0)))).toHaveLength(255);
    expect(() => decodeCbor(cbor(Array.from({ length: 256 }, () => 0)))).toThrow(/at most 256 items/);
    expect(() => decodeCbor(new Uint8Array(100_000).fill(0x81))).toThrow(/at most 256 items/);
  });

  it("is decoded into copies", () => {
    const source = cbor(new Uint8Array([1, 2, 3]));
    const decoded = decodeCbor(source) as Uint8Array;
    source.fill(0);
    expect([...decoded]).toEqual([1, 2, 3]);
  });
});

describe("messages of the NSM", () => {
  it("carry a request there and a document back", () => {
    const field = fc.option(fc.uint8Array({ minLength: 1, maxLength: 512 }), { nil: undefined });
    const property = fc.property(fc.record({ publicKey: field, userData: field, nonce: field }), (fields) => {
      const attestation = Object.fromEntries(Object.entries(fields).filter(([, entry]) => entry !== undefined));
      expect(decodeNsmRequest(encodeAttestationRequest(attestation))).toEqual({ kind: "attestation", attestation });
    });
    fc.assert(property);
    const answer = encodeNsmResponse({ kind: "attestation", document });
    expect(decodeAttestationResponse(answer)).toEqual(document);
  });

  it("are as AWS's library writes them", () => {
    const request = encodeAttestationRequest({ nonce: Uint8Array.of(1, 2) });
    expect(Buffer.from(request).toString("hex")).toBe(
      `a16b${hex("Attestation")}a369${hex("user_data")}f665${hex("nonce")}4201026a${hex("public_key")}f6`,
    );
  });

  const hex = (text: string) => Buffer.from(text).toString("hex");

  it.each<[name: string, answer: Uint8Array, code: string, text: RegExp]>([
    ["a refusal", encodeNsmResponse({ kind: "error", code: "InputTooLarge" }), "unavailable", /refused.*InputTooLarge/],
    [
      "a refusal that nobody knows",
      cbor(new Map([["Error", "Bored"]])),
      "protocol_violation",
      /expected an attestation/,
    ],
    [
      "another answer",
      encodeNsmResponse({ kind: "get-random", random: new Uint8Array(9) }),
      "protocol_violation",
      /expected/,
    ],
    ["an answer without a document", cbor(new Map([["Attestation", new Map()]])), "protocol_violation", /expected/],
    [
      "a document of text",
      cbor(new Map([["Attestation", new Map([["document", "x"]])]])),
      "protocol_violation",
      /expected/,
    ],
    ["no CBOR", Uint8Array.of(0xff), "protocol_violation", /NSM answer/],
    ["nothing", new Uint8Array(), "protocol_violation", /NSM answer/],
    ["too much", new Uint8Array(0x3001), "protocol_violation", /at most 12288 bytes, got 12289/],
  ])("%s is a named failure", (_name, answer, code, text) => {
    const decode = () => decodeAttestationResponse(answer);
    expect(decode).toThrow(SignerError);
    expect(decode).toThrow(expect.objectContaining({ code, detail: expect.stringMatching(text) }));
  });

  it("of any bytes are answered", () => {
    fc.assert(fc.property(bytes, (input) => void expect(decodeNsmRequest(input)).toHaveProperty("kind")));
    fc.assert(fc.property(value, (item) => void expect(decodeNsmRequest(cbor(item))).toHaveProperty("kind")));
    const property = fc.property(
      bytes,
      (input) => void expect(() => decodeAttestationResponse(input)).toThrow(SignerError),
    );
    fc.assert(property);
  });
});
