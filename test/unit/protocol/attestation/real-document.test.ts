/** A production document of AWS: taken at its time, and refused at any other, with any bit flipped, with any certificate changed. */

import { createHash, X509Certificate } from "node:crypto";
import { describe, expect, it } from "vitest";
import { checkChain, verifyChainSignatures } from "../../../../protocol/attestation/chain.ts";
import { parseCoseSign1 } from "../../../../protocol/attestation/cose.ts";
import { encodeAttestationDocument } from "../../../../protocol/attestation/document.ts";
import { createPcrPolicy } from "../../../../protocol/attestation/policy.ts";
import { type AttestationRejection, asVerdict } from "../../../../protocol/attestation/rejection.ts";
import { AWS_NITRO_ROOT_FINGERPRINT, AWS_NITRO_ROOT_PEM, awsNitroRoot } from "../../../../protocol/attestation/root.ts";
import {
  authenticateAttestation,
  readAttestation,
  verifyAttestation,
} from "../../../../protocol/attestation/verify.ts";
import { mintChain } from "./minting.ts";
import { REAL_DOCUMENT_MS, REAL_PCR0, realDocument, realDocumentText, withRealDocument } from "./real-document.ts";

const reasonAt = (atMs: number, bytes = realDocument): AttestationRejection | "ok" => {
  const verdict = authenticateAttestation(bytes, { atMs });
  return verdict.ok ? "ok" : verdict.reason;
};

/** 36,000 verifications of half a millisecond, on a machine that may be busy. */
const EVERY_BIT_MS = 240_000;

it("the pinned root has the published fingerprint, and its PEM and DER are one certificate", () => {
  expect(new X509Certificate(AWS_NITRO_ROOT_PEM).fingerprint256).toBe(AWS_NITRO_ROOT_FINGERPRINT);
  const digest = createHash("sha256").update(awsNitroRoot()).digest("hex").toUpperCase();
  expect(digest).toBe(AWS_NITRO_ROOT_FINGERPRINT.replaceAll(":", ""));
});

describe.skipIf(realDocumentText === undefined)(withRealDocument("a production document"), () => {
  const read = readAttestation(realDocument);
  if (realDocumentText !== undefined && !read.ok) throw new Error(read.detail);
  // Only read when the document is there.
  const document = (read as Extract<typeof read, { ok: true }>).document;

  it("is genuine, and of the enclave whose PCR0 is known", () => {
    const pcrs = createPcrPolicy([[0, [Buffer.from(REAL_PCR0, "hex")]]]);
    const verdict = verifyAttestation(realDocument, { atMs: REAL_DOCUMENT_MS, pcrs });
    expect(verdict).toMatchObject({ ok: true, document: { moduleId: "i-0368fa67e156d6d23-enc019b8596b1a9dad6" } });
    const other = createPcrPolicy([[0, [new Uint8Array(48)]]]);
    expect(verifyAttestation(realDocument, { atMs: REAL_DOCUMENT_MS, pcrs: other })).toMatchObject({
      reason: "wrong_pcr",
    });
  });

  it("begins with the pinned root, and was written as ours are", () => {
    expect(document.caBundle[0]).toEqual(awsNitroRoot());
    expect(encodeAttestationDocument(document)).toEqual(parsePayload());
  });

  const parsePayload = (): Uint8Array => {
    const verdict = asVerdict(() => ({ ok: true, payload: parseCoseSign1(realDocument).payload }));
    if (!verdict.ok) throw new Error(verdict.detail);
    return Buffer.from(verdict.payload);
  };

  it.each<[time: string, expected: AttestationRejection | "ok"]>([
    ["1970-01-01T00:00:00Z", "certificate_not_yet_valid"],
    ["2026-01-03T20:40:24.999Z", "certificate_not_yet_valid"],
    ["2026-01-03T20:40:25Z", "ok"],
    ["2026-01-03T22:00:00Z", "ok"],
    ["2026-01-03T23:40:28Z", "ok"],
    ["2026-01-03T23:40:28.001Z", "certificate_expired"],
    ["2026-11-20T00:00:00Z", "certificate_expired"],
    ["2060-01-01T00:00:00Z", "certificate_expired"],
  ])("at %s: %s", (time, expected) => {
    expect(reasonAt(Date.parse(time))).toBe(expected);
  });

  it("with any one bit flipped is refused", { timeout: EVERY_BIT_MS }, () => {
    const taken: number[] = [];
    const reasons = new Set<string>();
    const changed = realDocument.slice();
    for (let bit = 0; bit < realDocument.length * 8; bit += 1) {
      const at = bit >> 3;
      changed[at] = (realDocument[at] as number) ^ (1 << (bit & 7));
      const reason = reasonAt(REAL_DOCUMENT_MS, changed);
      reasons.add(reason);
      if (reason === "ok") taken.push(bit);
      changed[at] = realDocument[at] as number;
    }
    // No bit is outside what is signed or what has one form only.
    expect(taken).toEqual([]);
    // Not one guard that refuses everything.
    expect([...reasons]).toEqual(
      expect.arrayContaining(["bad_signature", "malformed_cbor", "untrusted_root", "broken_chain"]),
    );
  });

  it("cut short anywhere, or with bytes behind it, is refused", () => {
    for (let length = 0; length < realDocument.length; length += 1) {
      expect(reasonAt(REAL_DOCUMENT_MS, realDocument.subarray(0, length))).toBe("malformed_cbor");
    }
    expect(reasonAt(REAL_DOCUMENT_MS, Buffer.concat([realDocument, Uint8Array.of(0)]))).toBe("malformed_cbor");
  });

  describe("'s chain", () => {
    const expectation = { roots: [awsNitroRoot()], atMs: REAL_DOCUMENT_MS };
    const check = (caBundle: readonly Uint8Array[], certificate = document.certificate) => {
      const verdict = asVerdict(() => {
        verifyChainSignatures(checkChain({ caBundle, certificate }, expectation));
        return { ok: true };
      });
      return verdict.ok ? "ok" : verdict.reason;
    };
    const bundle = (): readonly Uint8Array[] => document.caBundle;

    it("is sound by itself", () => {
      expect(check(bundle())).toBe("ok");
    });

    it("with any certificate removed is refused", () => {
      for (const index of bundle().keys()) {
        expect(check(bundle().toSpliced(index, 1))).toBe(index === 0 ? "untrusted_root" : "broken_chain");
      }
      expect(check([])).toBe("untrusted_root");
      expect(check(bundle().slice(0, -1), bundle().at(-1))).toBe("leaf_is_a_ca");
    });

    it("with any certificate twice is refused", () => {
      for (const [index, entry] of bundle().entries()) {
        for (let at = 0; at <= bundle().length; at += 1) {
          expect(check(bundle().toSpliced(at, 0, entry)), `${index} again at ${at}`).not.toBe("ok");
        }
      }
      expect(check([...bundle(), document.certificate])).toBe("path_too_long");
    });

    it("in any other order is refused", () => {
      for (const order of permutations([0, 1, 2, 3])) {
        const isOwn = order.every((value, index) => value === index);
        expect(check(order.map((index) => bundle()[index] as Uint8Array)) === "ok", String(order)).toBe(isOwn);
      }
    });

    it("under another root is refused, as is another chain under AWS's", () => {
      const other = mintChain();
      expect(check([other.bundle[0] as Uint8Array, ...bundle().slice(1)])).toBe("untrusted_root");
      expect(check([awsNitroRoot(), ...other.bundle.slice(1)], other.leaf)).toBe("broken_chain");
      expect(authenticateAttestation(realDocument, { atMs: REAL_DOCUMENT_MS, roots: other.bundle })).toMatchObject({
        reason: "untrusted_root",
      });
    });
  });
});

const permutations = (items: readonly number[]): number[][] =>
  items.length === 0
    ? [[]]
    : items.flatMap((item) => permutations(items.filter((other) => other !== item)).map((rest) => [item, ...rest]));
