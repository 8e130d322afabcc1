/** Documents that must be taken, each beside those that must not. */

import { createPublicKey, generateKeyPairSync } from "node:crypto";
import { describe, expect, it } from "vitest";
import {
  basicConstraints,
  type Extension,
  issueCertificate,
  keyUsage,
} from "../../../../infra/local/nsm/certificate.ts";
import { decodeCbor } from "../../../../protocol/attestation/cbor.ts";
import { DevelopmentTrust } from "../../../../protocol/attestation/development.ts";
import { createPcrPolicy } from "../../../../protocol/attestation/policy.ts";
import type { AttestationRejection } from "../../../../protocol/attestation/rejection.ts";
import {
  authenticateAttestation,
  readAttestation,
  type VerifyOptions,
  verifyAttestation,
} from "../../../../protocol/attestation/verify.ts";
import { emulatorDocument } from "./emulator-document.ts";
import {
  type CertificateChange,
  cbor,
  ES384,
  type MintedChain,
  makeKey,
  mintChain,
  mintFields,
  NOW_MS,
  patchHex,
  signParts,
  soundFields,
} from "./minting.ts";

const chain = mintChain();
const roots = [chain.bundle[0] as Uint8Array];
const pcr = (index: number) => new Uint8Array(48).fill(index + 1);
const pcrs = createPcrPolicy([[0, [pcr(0)]]]);

const reasonOf = (bytes: Uint8Array, options: Partial<VerifyOptions> = {}): AttestationRejection | "ok" => {
  const verdict = verifyAttestation(bytes, { atMs: NOW_MS, roots, pcrs, ...options });
  if (!verdict.ok) expect(verdict.detail).not.toBe("");
  return verdict.ok ? "ok" : verdict.reason;
};

/** A document of sound fields with some replaced; undefined takes one away. */
const withFields = (changes: Record<string, unknown>, from: MintedChain = chain): Uint8Array => {
  const fields = soundFields(from);
  for (const [name, value] of Object.entries(changes)) {
    if (value === undefined) fields.delete(name);
    else fields.set(name, value);
  }
  return mintFields(fields, from.leafKey);
};

const bytes = (length: number) => new Uint8Array(length).fill(7);
const pcrMap = (...entries: readonly (readonly [unknown, unknown])[]) =>
  new Map<unknown, unknown>([[0, pcr(0)], ...entries]);

describe("a document's fields", () => {
  it.each<[name: string, changes: Record<string, unknown>, expected: AttestationRejection | "ok"]>([
    ["as they should be", {}, "ok"],
    ["without the optional ones", { public_key: undefined, user_data: undefined, nonce: undefined }, "ok"],
    ["the shortest public key", { public_key: bytes(1) }, "ok"],
    ["no byte of public key", { public_key: bytes(0) }, "wrong_field"],
    ["the longest public key", { public_key: bytes(1024) }, "ok"],
    ["too long a public key", { public_key: bytes(1025) }, "wrong_field"],
    ["a public key of text", { public_key: "key" }, "wrong_field"],
    ["empty user data", { user_data: bytes(0) }, "ok"],
    ["the longest user data", { user_data: bytes(512) }, "ok"],
    ["too long user data", { user_data: bytes(513) }, "wrong_field"],
    ["the longest nonce", { nonce: bytes(512) }, "ok"],
    ["too long a nonce", { nonce: bytes(513) }, "wrong_field"],
    ["a nonce of a number", { nonce: 7 }, "wrong_field"],
    ["an unknown field", { extra: 1 }, "unknown_field"],
    ["no module", { module_id: undefined }, "missing_field"],
    ["an empty module", { module_id: "" }, "wrong_field"],
    ["a module that writes to the terminal", { module_id: "i-0\u001b[2J" }, "wrong_field"],
    ["too long a module", { module_id: "i".repeat(257) }, "wrong_field"],
    ["a module of bytes", { module_id: bytes(8) }, "wrong_field"],
    ["no digest", { digest: undefined }, "missing_field"],
    ["digest SHA256", { digest: "SHA256" }, "wrong_field"],
    ["digest in small letters", { digest: "sha384" }, "wrong_field"],
    ["no timestamp", { timestamp: undefined }, "missing_field"],
    ["timestamp 0", { timestamp: 0 }, "wrong_field"],
    ["a negative timestamp", { timestamp: -1 }, "wrong_field"],
    ["a timestamp of text", { timestamp: "now" }, "wrong_field"],
    ["a timestamp before the certificate", { timestamp: NOW_MS - 2 * 86_400_000 }, "timestamp_outside_certificate"],
    ["a timestamp after the certificate", { timestamp: NOW_MS + 2 * 86_400_000 }, "timestamp_outside_certificate"],
    ["no PCRs", { pcrs: undefined }, "missing_field"],
    ["an empty map of PCRs", { pcrs: new Map() }, "wrong_field"],
    ["a list of PCRs", { pcrs: [pcr(0)] }, "wrong_field"],
    ["PCR31", { pcrs: pcrMap([31, pcr(1)]) }, "ok"],
    ["PCR32", { pcrs: pcrMap([32, pcr(1)]) }, "wrong_field"],
    ["PCR-1", { pcrs: pcrMap([-1, pcr(1)]) }, "wrong_field"],
    ["a PCR by name", { pcrs: pcrMap(["1", pcr(1)]) }, "wrong_field"],
    ["a PCR of 32 bytes", { pcrs: pcrMap([3, bytes(32)]) }, "ok"],
    ["a PCR of 64 bytes", { pcrs: pcrMap([3, bytes(64)]) }, "ok"],
    ["a PCR of 47 bytes", { pcrs: pcrMap([3, bytes(47)]) }, "wrong_field"],
    ["a PCR of no bytes", { pcrs: pcrMap([3, bytes(0)]) }, "wrong_field"],
    ["a PCR of text", { pcrs: pcrMap([3, "a".repeat(48)]) }, "wrong_field"],
    ["no certificate", { certificate: undefined }, "missing_field"],
    ["an empty certificate", { certificate: bytes(0) }, "wrong_field"],
    ["too long a certificate", { certificate: bytes(1025) }, "wrong_field"],
    ["a certificate of anything", { certificate: bytes(300) }, "malformed_certificate"],
    [
      "a certificate in PEM",
      {
        certificate: Buffer.from(
          `-----BEGIN CERTIFICATE-----\n${Buffer.from(chain.leaf).toString("base64")}\n-----END CERTIFICATE-----\n`,
        ),
      },
      "malformed_certificate",
    ],
    [
      "a certificate with a byte behind it",
      { certificate: Buffer.concat([chain.leaf, bytes(1)]) },
      "malformed_certificate",
    ],
    ["no bundle", { cabundle: undefined }, "missing_field"],
    ["an empty bundle", { cabundle: [] }, "wrong_field"],
    ["a bundle that is a certificate", { cabundle: chain.leaf }, "wrong_field"],
    ["a bundle with too many", { cabundle: Array.from({ length: 11 }, () => chain.bundle[0]) }, "wrong_field"],
    ["a bundle with an empty certificate", { cabundle: [...chain.bundle, bytes(0)] }, "wrong_field"],
    ["a bundle with a number", { cabundle: [...chain.bundle, 1] }, "wrong_field"],
  ])("%s", (_name, changes, expected) => {
    expect(reasonOf(withFields(changes))).toBe(expected);
  });

  it("are given as they are", () => {
    const verdict = verifyAttestation(withFields({ nonce: bytes(3), public_key: bytes(9) }), {
      atMs: NOW_MS,
      roots,
      pcrs,
    });
    if (!verdict.ok) throw new Error(verdict.detail);
    const { document } = verdict;
    expect(document.moduleId).toBe("i-0123456789abcdef0-enc0123456789abcdef");
    expect(document.timestampMs).toBe(NOW_MS);
    expect([...document.pcrs.keys()]).toEqual(Array.from({ length: 16 }, (_, index) => index));
    expect(document.nonce).toEqual(bytes(3));
    expect(document.publicKey).toEqual(bytes(9));
    expect("userData" in document).toBe(false);
    expect(verdict.chain.map(({ x509 }) => x509.subject.split("\n").at(-1))).toEqual(
      [0, 1, 2, 3].map((index) => `CN=certificate ${index}`),
    );
  });
});

/** A truly signed document around payload bytes. */
const withPayload = (payload: Uint8Array): Uint8Array => cbor(signParts(payload, chain.leafKey));
const soundPayload = cbor(soundFields(chain));
const text = (value: string) => Buffer.from(cbor(value)).toString("hex");

describe("CBOR that could be written otherwise", () => {
  it.each<[name: string, document: Uint8Array, expected: AttestationRejection | "ok"]>([
    ["a map with a length", withPayload(soundPayload), "ok"],
    [
      "a map with an end, as AWS writes it",
      withPayload(Buffer.concat([Uint8Array.of(0xbf), soundPayload.subarray(1), Uint8Array.of(0xff)])),
      "ok",
    ],
    [
      "a map whose end is missing",
      withPayload(Buffer.concat([Uint8Array.of(0xbf), soundPayload.subarray(1)])),
      "malformed_cbor",
    ],
    ["a byte behind the payload", withPayload(Buffer.concat([soundPayload, Uint8Array.of(0)])), "malformed_cbor"],
    [
      "a map with a longer length",
      withPayload(Buffer.concat([Uint8Array.of(0xb8, 9), soundPayload.subarray(1)])),
      "malformed_cbor",
    ],
    [
      "a map that says four billion",
      withPayload(Buffer.concat([Uint8Array.of(0xba, 255, 255, 255, 255), soundPayload.subarray(1)])),
      "malformed_cbor",
    ],
    [
      "text with a longer length",
      withPayload(patchHex(soundPayload, text("SHA384"), `7806${text("SHA384").slice(2)}`)),
      "malformed_cbor",
    ],
    [
      "a PCR index in two bytes",
      withPayload(patchHex(soundPayload, `0f5830${"10".repeat(48)}`, `180f5830${"10".repeat(48)}`)),
      "malformed_cbor",
    ],
    [
      "a PCR index that is 15.0",
      withPayload(patchHex(soundPayload, `0f5830${"10".repeat(48)}`, `f94b805830${"10".repeat(48)}`)),
      "malformed_cbor",
    ],
    [
      "a PCR twice",
      withPayload(patchHex(soundPayload, `0f5830${"10".repeat(48)}`, `0e5830${"10".repeat(48)}`)),
      "malformed_cbor",
    ],
    [
      "the nonce twice",
      withPayload(Buffer.concat([Uint8Array.of(0xaa), soundPayload.subarray(1), cbor("nonce"), Uint8Array.of(0xf6)])),
      "malformed_cbor",
    ],
    [
      "PCRs in a map with an end",
      withPayload(patchHex(soundPayload, `${text("pcrs")}b0`, `${text("pcrs")}bf`)),
      "malformed_cbor",
    ],
    [
      "undefined for null",
      withPayload(patchHex(soundPayload, `${text("nonce")}f6`, `${text("nonce")}f7`)),
      "malformed_cbor",
    ],
    [
      "an end for null",
      withPayload(patchHex(soundPayload, `${text("nonce")}f6`, `${text("nonce")}ff`)),
      "malformed_cbor",
    ],
    ["text in pieces", withPayload(patchHex(soundPayload, text("SHA384"), `7f${text("SHA384")}ff`)), "malformed_cbor"],
    [
      "a tagged timestamp",
      withPayload(patchHex(soundPayload, text("timestamp"), `${text("timestamp")}c1`)),
      "malformed_cbor",
    ],
    ["a list", withPayload(cbor([1])), "wrong_field"],
    ["lists in lists, 4,000 deep", withPayload(new Uint8Array(4000).fill(0x81)), "malformed_cbor"],
    ["nothing", withPayload(new Uint8Array()), "malformed_cbor"],
  ])("%s", (_name, document, expected) => {
    expect(reasonOf(document)).toBe(expected);
  });
});

const sound = withFields({});
const parts = signParts(soundPayload, chain.leafKey);
const withPart = (index: number, value: unknown): Uint8Array => cbor(parts.with(index, value));
const concat = (...all: Uint8Array[]) => Buffer.concat(all);

describe("the signed document", () => {
  const headerOf = (header: Map<unknown, unknown>) => cbor(signParts(soundPayload, chain.leafKey, cbor(header)));

  it.each<[name: string, document: Uint8Array, expected: AttestationRejection | "ok"]>([
    ["untagged, as AWS sends it", sound, "ok"],
    ["tagged 18", concat(Uint8Array.of(0xd2), sound), "ok"],
    ["tagged twice", concat(Uint8Array.of(0xd2, 0xd2), sound), "malformed_cbor"],
    ["tagged 18 in two bytes", concat(Uint8Array.of(0xd8, 0x12), sound), "malformed_cbor"],
    ["tagged 98, with several signatures", concat(Uint8Array.of(0xd8, 0x62), sound), "malformed_cbor"],
    ["nothing at all", new Uint8Array(), "malformed_cbor"],
    ["the tag alone", Uint8Array.of(0xd2), "malformed_cbor"],
    ["a byte behind it", concat(sound, Uint8Array.of(0)), "malformed_cbor"],
    ["the last byte missing", sound.subarray(0, -1), "malformed_cbor"],
    ["text", Buffer.from("attestation"), "malformed_cbor"],
    ["a map", cbor(new Map([[1, 2]])), "not_cose_sign1"],
    ["a list with an end", concat(Uint8Array.of(0x9f), sound.subarray(1), Uint8Array.of(0xff)), "malformed_cbor"],
    ["three parts", cbor(parts.slice(0, 3)), "not_cose_sign1"],
    ["five parts", cbor([...parts, null]), "not_cose_sign1"],
    ["a header that is a map", withPart(0, new Map([[1, -35]])), "not_cose_sign1"],
    ["no header", withPart(0, new Uint8Array()), "wrong_algorithm"],
    ["ES256", headerOf(new Map([[1, -7]])), "wrong_algorithm"],
    ["ES512", headerOf(new Map([[1, -36]])), "wrong_algorithm"],
    ["no algorithm, as emulators write it", headerOf(new Map([[1, -1]])), "wrong_algorithm"],
    [
      "ES384 and a key id",
      headerOf(
        new Map<unknown, unknown>([
          [1, -35],
          [4, bytes(4)],
        ]),
      ),
      "wrong_algorithm",
    ],
    [
      "ES384 in more bytes than needed",
      cbor(signParts(soundPayload, chain.leafKey, Uint8Array.of(0xa1, 0x01, 0x39, 0, 0x22))),
      "wrong_algorithm",
    ],
    ["an unprotected header", withPart(1, new Map([[4, bytes(4)]])), "wrong_algorithm"],
    ["an unprotected algorithm", withPart(1, new Map([[1, -35]])), "wrong_algorithm"],
    ["an unprotected header that is none", withPart(1, null), "not_cose_sign1"],
    ["no payload", withPart(2, null), "not_cose_sign1"],
    ["an open payload", withPart(2, soundFields(chain)), "not_cose_sign1"],
    ["no signature", withPart(3, new Uint8Array()), "not_cose_sign1"],
    ["a signature of 95 bytes", withPart(3, (parts[3] as Uint8Array).subarray(1)), "not_cose_sign1"],
    ["a signature of zeros", withPart(3, new Uint8Array(96)), "bad_signature"],
    ["a signature of another key", cbor(signParts(soundPayload, makeKey())), "bad_signature"],
    ["too large", new Uint8Array(0x3001), "too_large"],
    ["as large as allowed, of nothing", new Uint8Array(0x3000), "malformed_cbor"],
  ])("%s", (_name, document, expected) => {
    expect(reasonOf(document)).toBe(expected);
  });

  it("whose signature is over other bytes is refused", () => {
    const other = signParts(cbor(soundFields(chain).set("nonce", bytes(1))), chain.leafKey);
    expect(reasonOf(withPart(3, other[3]))).toBe("bad_signature");
  });
});

const DAY_MS = 86_400_000;
const usage = { documents: keyUsage("documents"), certificates: keyUsage("certificates") };
const critical = (id: string): Extension => ({ id, critical: true, value: Uint8Array.of(0x30, 0x00) });
const raw = (extension: Extension, hex: string): Extension => ({ ...extension, value: Buffer.from(hex, "hex") });

describe("the chain", () => {
  // Position 0 is the root, 3 the leaf.
  it.each<[name: string, changes: Record<number, CertificateChange>, expected: AttestationRejection | "ok"]>([
    ["as it should be", {}, "ok"],
    ["a leaf that expired a second ago", { 3: { notAfterMs: NOW_MS - 1000 } }, "certificate_expired"],
    ["a leaf that expires now", { 3: { notAfterMs: NOW_MS } }, "ok"],
    ["a leaf that begins now", { 3: { notBeforeMs: NOW_MS } }, "ok"],
    ["a leaf that begins in a second", { 3: { notBeforeMs: NOW_MS + 1000 } }, "certificate_not_yet_valid"],
    ["an authority that expired", { 1: { notAfterMs: NOW_MS - 1000 } }, "certificate_expired"],
    ["an authority of tomorrow", { 2: { notBeforeMs: NOW_MS + DAY_MS } }, "certificate_not_yet_valid"],
    ["a root that expired", { 0: { notAfterMs: NOW_MS - 1000 } }, "certificate_expired"],
    ["an authority without basic constraints", { 1: { extensions: [usage.certificates] } }, "not_a_ca"],
    ["an authority that is none", { 1: { extensions: [basicConstraints(), usage.certificates] } }, "not_a_ca"],
    [
      "an authority without keyCertSign",
      { 2: { extensions: [basicConstraints({}), usage.documents] } },
      "wrong_key_usage",
    ],
    ["an authority without key usage", { 2: { extensions: [basicConstraints({})] } }, "wrong_key_usage"],
    ["a root without keyCertSign", { 0: { extensions: [basicConstraints({}), usage.documents] } }, "wrong_key_usage"],
    [
      "path lengths that just do",
      {
        0: { extensions: [basicConstraints({ pathLength: 2 }), usage.certificates] },
        1: { extensions: [basicConstraints({ pathLength: 1 }), usage.certificates] },
        2: { extensions: [basicConstraints({ pathLength: 0 }), usage.certificates] },
      },
      "ok",
    ],
    [
      "a path length of one too few",
      { 1: { extensions: [basicConstraints({ pathLength: 0 }), usage.certificates] } },
      "path_too_long",
    ],
    [
      "a root with a path length of one too few",
      { 0: { extensions: [basicConstraints({ pathLength: 1 }), usage.certificates] } },
      "path_too_long",
    ],
    ["a leaf that is an authority", { 3: { extensions: [basicConstraints({}), usage.documents] } }, "leaf_is_a_ca"],
    [
      "a leaf with a path length",
      { 3: { extensions: [raw(basicConstraints(), "3003020100"), usage.documents] } },
      "leaf_is_a_ca",
    ],
    ["a leaf without extensions", { 3: { extensions: [] } }, "wrong_key_usage"],
    [
      "a leaf without digitalSignature",
      { 3: { extensions: [basicConstraints(), raw(usage.documents, "03020640")] } },
      "wrong_key_usage",
    ],
    ["a leaf with a key on P-256", { 3: { publicKey: createPublicKey(makeKey("P-256")) } }, "unsupported_certificate"],
    [
      "a leaf with an RSA key",
      { 3: { publicKey: generateKeyPairSync("rsa", { modulusLength: 2048 }).publicKey } },
      "unsupported_certificate",
    ],
    ["a leaf of another key than signed", { 3: { publicKey: createPublicKey(makeKey()) } }, "bad_signature"],
    ["a leaf of another issuer's name", { 3: { issuer: "somebody" } }, "broken_chain"],
    ["an authority of another issuer's name", { 1: { issuer: "somebody" } }, "broken_chain"],
    ["a leaf that names itself its issuer", { 3: { issuer: "certificate 3" } }, "broken_chain"],
    [
      "an unknown critical extension",
      { 2: { extensions: [basicConstraints({}), usage.certificates, critical("2.5.29.30")] } },
      "unsupported_certificate",
    ],
    [
      "an unknown extension that is not critical",
      { 2: { extensions: [basicConstraints({}), usage.certificates, { ...critical("1.2.3.4"), critical: false }] } },
      "ok",
    ],
    [
      "basic constraints twice",
      { 2: { extensions: [basicConstraints({}), basicConstraints({}), usage.certificates] } },
      "malformed_certificate",
    ],
    [
      "basic constraints with FALSE written out",
      { 3: { extensions: [raw(basicConstraints(), "3003010100"), usage.documents] } },
      "malformed_certificate",
    ],
    [
      "basic constraints with TRUE as 1",
      { 2: { extensions: [raw(basicConstraints({}), "3003010101"), usage.certificates] } },
      "malformed_certificate",
    ],
    [
      "basic constraints with something behind",
      { 2: { extensions: [raw(basicConstraints({}), "30030101ff00"), usage.certificates] } },
      "malformed_certificate",
    ],
    [
      "basic constraints with a longer length",
      { 2: { extensions: [raw(basicConstraints({}), "3081030101ff"), usage.certificates] } },
      "malformed_certificate",
    ],
    [
      "a negative path length",
      { 2: { extensions: [raw(basicConstraints({}), "30060101ff0201ff"), usage.certificates] } },
      "malformed_certificate",
    ],
    [
      "a key usage of no bits",
      { 2: { extensions: [basicConstraints({}), raw(usage.certificates, "030100")] } },
      "malformed_certificate",
    ],
    [
      "a key usage with eight bits unused",
      { 2: { extensions: [basicConstraints({}), raw(usage.certificates, "03020886")] } },
      "malformed_certificate",
    ],
  ])("%s", (_name, changes, expected) => {
    const minted = mintChain({ changes });
    expect(reasonOf(withFields({}, minted), { roots: [minted.bundle[0] as Uint8Array] })).toBe(expected);
  });

  it.each([1, 2, 3])("whose certificate %d is signed with a key of its own is broken", (position) => {
    const minted = mintChain({ signers: { [position]: makeKey() } });
    expect(reasonOf(withFields({}, minted), { roots: [minted.bundle[0] as Uint8Array] })).toBe("broken_chain");
  });

  it("whose root is not signed with its own key is broken, although it is trusted", () => {
    const minted = mintChain({ signers: { 0: makeKey() } });
    expect(reasonOf(withFields({}, minted), { roots: [minted.bundle[0] as Uint8Array] })).toBe("broken_chain");
  });

  it.each<[name: string, patch: [from: string, to: string], expected: AttestationRejection]>([
    ["of version 1", ["a003020102", "a003020100"], "unsupported_certificate"],
    ["with an indefinite length", ["a003020102", "a080020102"], "malformed_certificate"],
  ])("with a leaf %s is refused", (_name, [from, to], expected) => {
    expect(reasonOf(withFields({ certificate: patchHex(chain.leaf, from, to) }))).toBe(expected);
  });

  it("signed with ECDSA and SHA-256 is refused", () => {
    const hex = Buffer.from(chain.leaf).toString("hex").replaceAll("06082a8648ce3d040303", "06082a8648ce3d040302");
    expect(reasonOf(withFields({ certificate: Buffer.from(hex, "hex") }))).toBe("unsupported_certificate");
  });

  const [root, first, second] = chain.bundle as [Uint8Array, Uint8Array, Uint8Array];
  it.each<[name: string, bundle: readonly Uint8Array[], expected: AttestationRejection]>([
    ["without the root", [first, second], "untrusted_root"],
    ["without the first authority", [root, second], "broken_chain"],
    ["without the last authority", [root, first], "broken_chain"],
    ["of the root alone", [root], "broken_chain"],
    ["with the root twice", [root, root, first, second], "broken_chain"],
    ["with an authority twice", [root, first, first, second], "broken_chain"],
    ["with the leaf in it", [root, first, second, chain.leaf], "not_a_ca"],
    ["in the other order", [second, first, root], "untrusted_root"],
    ["with two swapped", [root, second, first], "broken_chain"],
  ])("%s is refused", (_name, cabundle, expected) => {
    expect(reasonOf(withFields({ cabundle }))).toBe(expected);
  });

  it("of another root is refused, however alike its names are, and so is any chain when nothing is trusted", () => {
    const other = mintChain();
    expect(reasonOf(withFields({}, other))).toBe("untrusted_root");
    expect(reasonOf(sound, { roots: [] })).toBe("untrusted_root");
    const verdict = authenticateAttestation(sound, { atMs: NOW_MS });
    expect(verdict).toMatchObject({ ok: false, reason: "untrusted_root" }); // AWS's is what is trusted unless told
  });

  it("may have as many authorities as a bundle holds", () => {
    const minted = mintChain({ authorities: 9 });
    expect(reasonOf(withFields({}, minted), { roots: [minted.bundle[0] as Uint8Array] })).toBe("ok");
  });

  it("is not believed because its leaf issues another leaf", () => {
    const key = makeKey();
    const forged = issueCertificate(
      {
        subject: "forged",
        issuer: "certificate 3",
        publicKey: createPublicKey(key),
        notBeforeMs: NOW_MS - 1000,
        notAfterMs: NOW_MS + 1000,
        extensions: [basicConstraints(), keyUsage("documents")],
      },
      chain.leafKey,
    );
    const fields = soundFields(chain)
      .set("certificate", forged)
      .set("cabundle", [...chain.bundle, chain.leaf]);
    expect(reasonOf(mintFields(fields, key))).toBe("not_a_ca");
  });
});

describe("the policy", () => {
  const nonce = bytes(32);
  const document = withFields({ nonce, user_data: bytes(5), public_key: bytes(6) });

  it.each<[name: string, options: Partial<VerifyOptions>, expected: AttestationRejection | "ok"]>([
    ["PCR0", {}, "ok"],
    ["PCR0 of another image", { pcrs: createPcrPolicy([[0, [pcr(1)]]]) }, "wrong_pcr"],
    ["PCR0 of either image", { pcrs: createPcrPolicy([[0, [pcr(1), pcr(0)]]]) }, "ok"],
    ["PCR0, 1 and 2", { pcrs: createPcrPolicy([0, 1, 2].map((index) => [index, [pcr(index)]])) }, "ok"],
    [
      "PCR0 right and PCR8 wrong",
      {
        pcrs: createPcrPolicy([
          [0, [pcr(0)]],
          [8, [pcr(0)]],
        ]),
      },
      "wrong_pcr",
    ],
    [
      "a PCR that is not there",
      {
        pcrs: createPcrPolicy([
          [0, [pcr(0)]],
          [16, [pcr(0)]],
        ]),
      },
      "missing_pcr",
    ],
    ["no PCR", { pcrs: new Map() }, "empty_policy"],
    ["a PCR with no value", { pcrs: new Map([[0, []]]) }, "wrong_pcr"],
    ["the nonce", { nonce }, "ok"],
    ["another nonce", { nonce: nonce.with(31, 0) }, "wrong_nonce"],
    ["a nonce that begins alike", { nonce: nonce.subarray(1) }, "wrong_nonce"],
    ["an empty nonce", { nonce: new Uint8Array() }, "wrong_nonce"],
    ["the user data", { userData: bytes(5) }, "ok"],
    ["other user data", { userData: bytes(4) }, "wrong_user_data"],
    ["the public key", { publicKey: bytes(6) }, "ok"],
    ["another public key", { publicKey: bytes(5) }, "wrong_public_key"],
  ])("%s", (_name, options, expected) => {
    expect(reasonOf(document, options)).toBe(expected);
  });

  it("that expects a nonce refuses a document with none", () => {
    expect(reasonOf(sound, { nonce })).toBe("wrong_nonce");
    expect(reasonOf(sound, { userData: bytes(1) })).toBe("wrong_user_data");
    expect(reasonOf(sound, { publicKey: bytes(1) })).toBe("wrong_public_key");
  });

  it.each<[name: string, values: [number, Uint8Array[]][], text: RegExp]>([
    ["no PCR", [], /at least one PCR/],
    ["PCR32", [[32, [pcr(0)]]], /index 0\.\.31, got 32/],
    ["PCR0.5", [[0.5, [pcr(0)]]], /index 0\.\.31/],
    ["no value", [[0, []]], /PCR0: expected a value/],
    ["47 bytes", [[0, [bytes(47)]]], /PCR0: expected 48 bytes \(SHA-384\), got 47/],
  ])("of %s cannot be made", (_name, values, text) => {
    expect(() => createPcrPolicy(values)).toThrow(text);
  });
});

describe("debug mode", () => {
  const zeros = new Uint8Array(48);
  const development = new DevelopmentTrust();
  const debug = withFields({ pcrs: new Map(Array.from({ length: 16 }, (_, index) => [index, zeros])) });
  const zeroPolicy = { pcrs: createPcrPolicy([[0, [zeros]]]) };

  it("is refused, even by a policy of zeros, and passes with development's permission alone", () => {
    expect(reasonOf(debug, zeroPolicy)).toBe("debug_mode");
    expect(reasonOf(debug, { ...zeroPolicy, development })).toBe("ok");
    expect(reasonOf(debug, { development })).toBe("wrong_pcr");
    expect(authenticateAttestation(debug, { atMs: NOW_MS, roots })).toMatchObject({ ok: false, reason: "debug_mode" });
  });

  it("is not permitted by something that looks like the permission", () => {
    const copies = [
      { allowDebugMode: true },
      structuredClone(development),
      Object.create(DevelopmentTrust.prototype),
      true,
    ];
    for (const copy of copies)
      expect(reasonOf(debug, { ...zeroPolicy, development: copy as never })).toBe("debug_mode");
  });

  it.each([0, 1, 2])("is what zeros in PCR%d alone mean; in the others they are nothing strange", (index) => {
    const pcrsOf = (zero: number) =>
      new Map(Array.from({ length: 16 }, (_, at) => [at, at === zero ? zeros : pcr(at)]));
    expect(reasonOf(withFields({ pcrs: pcrsOf(index) }), { pcrs: createPcrPolicy([[4, [pcr(4)]]]) })).toBe(
      "debug_mode",
    );
    expect(reasonOf(withFields({ pcrs: pcrsOf(index + 5) }))).toBe("ok");
  });

  it("of a document that nobody signed is not what it is refused for", () => {
    expect(reasonOf(cbor(signParts(cbor(soundFields(chain).set("pcrs", new Map([[0, zeros]]))), makeKey())))).toBe(
      "bad_signature",
    );
  });
});

describe("a document of QEMU's emulated NSM", () => {
  const at = (document: Uint8Array) => reasonOf(document, { development: new DevelopmentTrust() });

  it("is refused, by development, too", () => {
    expect(at(emulatorDocument)).toBe("wrong_algorithm");
  });

  it("is refused when somebody signs what it says", () => {
    const payload = (decodeCbor(emulatorDocument) as Uint8Array[])[2] as Uint8Array;
    const signed = cbor(signParts(payload, makeKey()));
    expect(at(signed)).toBe("untrusted_root");
    expect(reasonOf(signed, { roots: [new Uint8Array(64)] })).toBe("malformed_certificate");
  });
});

describe("reading without trust", () => {
  it("gives what a document says, whoever signed it, and refuses what is none", () => {
    const forged = cbor(signParts(soundPayload, makeKey()));
    expect(readAttestation(forged)).toMatchObject({ ok: true, document: { timestampMs: NOW_MS } });
    expect(readAttestation(cbor([ES384, new Map(), soundPayload]))).toMatchObject({
      ok: false,
      reason: "not_cose_sign1",
    });
  });
});
