/** Bundle headers: one form, total, every field checked; the encryption context follows from them. */

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { toHex } from "#protocol/bytes.ts";
import {
  type BundleHeader,
  boundHeaderBytes,
  decodeBundleHeader,
  encodeBundleHeader,
  encryptionContextOf,
} from "#protocol/sealed/header.ts";
import {
  anyHeader,
  bytes,
  flipBit,
  KEYS_HEADER,
  KMS_KEY_ARN,
  OTHER_VALUES,
  refusal,
  SECRETS_HEADER,
} from "./bundles.ts";

describe("a bundle header", () => {
  it("comes back as it was", () => {
    fc.assert(
      fc.property(anyHeader, (header) => {
        const encoded = encodeBundleHeader(header);
        expect(decodeBundleHeader(encoded)).toEqual(header);
        expect(encodeBundleHeader(decodeBundleHeader(encoded))).toEqual(encoded);
      }),
    );
  });

  it("has the layout that its file says", () => {
    const encoded = Buffer.from(encodeBundleHeader(KEYS_HEADER));
    expect(encoded.readUInt8(0)).toBe(1);
    expect(encoded.readUInt8(1)).toBe(0);
    expect(toHex(encoded.subarray(2, 34))).toBe(toHex(KEYS_HEADER.authority));
    expect(toHex(encoded.subarray(34, 50))).toBe(toHex(KEYS_HEADER.storeId));
    expect(encoded.readUInt32BE(50)).toBe(3);
    expect(toHex(encoded.subarray(54, 70))).toBe(toHex(KEYS_HEADER.bundleId));
    expect(encoded.readUInt8(70)).toBe(9);
    expect(encoded.subarray(71, 80).toString()).toBe("mainnet-a");
    expect(encoded.readUInt16BE(80)).toBe(KMS_KEY_ARN.length);
    const wrappedAt = 82 + KMS_KEY_ARN.length + 2;
    expect(encoded.readUInt16BE(wrappedAt - 2)).toBe(184);
    expect(toHex(encoded.subarray(wrappedAt))).toBe(toHex(KEYS_HEADER.wrappedDataKey));
    expect(toHex(boundHeaderBytes(KEYS_HEADER))).toBe(toHex(encoded.subarray(0, wrappedAt - 2)));
    expect(boundHeaderBytes({ ...KEYS_HEADER, wrappedDataKey: bytes(1, 1) })).toEqual(boundHeaderBytes(KEYS_HEADER));
  });

  it("binds every other field", () => {
    const bound = Object.entries(OTHER_VALUES).map(([name, value]) =>
      toHex(boundHeaderBytes({ ...KEYS_HEADER, [name]: value })),
    );
    expect(new Set([...bound, toHex(boundHeaderBytes(KEYS_HEADER))]).size).toBe(bound.length + 1);
  });

  it("is refused at every length but its own, by the field that is cut", () => {
    const encoded = encodeBundleHeader(KEYS_HEADER);
    const problems = new Set<string>();
    for (let length = 0; length < encoded.length; length += 1) {
      problems.add(
        /^bundle header: ([a-zA-Z ]+): expected/.exec(
          refusal(() => decodeBundleHeader(encoded.subarray(0, length))),
        )?.[1] ?? "",
      );
    }
    expect([...problems]).toEqual([
      "version",
      "kind",
      "authority",
      "store id",
      "generation",
      "bundle id",
      "group length",
      "group",
      "KMS key ARN length",
      "KMS key ARN",
      "wrapped data key length",
      "wrapped data key",
    ]);
    expect(refusal(() => decodeBundleHeader(Buffer.concat([encoded, Buffer.of(0)])))).toMatch(/1 trailing bytes/);
  });

  it("with any bit turned is refused or another header", () => {
    const encoded = encodeBundleHeader(KEYS_HEADER);
    for (let bit = 0; bit < encoded.length * 8; bit += 1) {
      const flipped = flipBit(encoded, bit);
      let decoded: BundleHeader | undefined;
      try {
        decoded = decodeBundleHeader(flipped);
      } catch {
        refusal(() => decodeBundleHeader(flipped));
        continue;
      }
      expect(decoded, `bit ${bit}`).not.toEqual(KEYS_HEADER);
      expect(encodeBundleHeader(decoded)).toEqual(flipped);
    }
  });

  it("is never made of noise without an error that names it", () => {
    const noise = fc.oneof(
      fc.uint8Array({ maxLength: 400 }),
      fc.uint8Array({ maxLength: 400 }).map((rest) => Uint8Array.of(1, 0, ...rest)),
    );
    fc.assert(
      fc.property(noise, (candidate) => {
        expect(refusal(() => decodeBundleHeader(candidate))).toMatch(/^bundle header: /);
      }),
    );
  });

  it.each([
    ["version 2", (raw: Buffer) => raw.writeUInt8(2, 0), /version: expected 1, got 2/],
    ["an unknown kind", (raw: Buffer) => raw.writeUInt8(2, 1), /kind: expected 0\.\.1, got 2/],
    ["generation 0", (raw: Buffer) => raw.writeUInt32BE(0, 50), /generation: expected 1\.\.4294967295, got 0/],
    ["a group in capitals", (raw: Buffer) => raw.write("M", 71), /group: expected 1\.\.64 of a-z/],
    ["a group beyond ASCII", (raw: Buffer) => raw.writeUInt8(0xe1, 71), /group: expected 1\.\.64 of a-z/],
    ["an alias for an ARN", (raw: Buffer) => raw.write("alias", 82 + 37), /KMS key ARN: expected arn:aws:kms/],
    ["an S3 ARN", (raw: Buffer) => raw.write("s3s", 82 + 8), /KMS key ARN: expected/],
  ])("with %s is refused", (_what, change, text) => {
    const raw = Buffer.from(encodeBundleHeader(KEYS_HEADER));
    change(raw);
    expect(refusal(() => decodeBundleHeader(raw))).toMatch(text);
  });

  it.each<[string, Partial<BundleHeader>, RegExp]>([
    ["kind", { kind: "other" as "keys" }, /kind: expected keys or configuration-secrets/],
    ["authority", { authority: bytes(1, 31) }, /authority: expected 32 bytes, got 31/],
    ["storeId", { storeId: bytes(1, 17) }, /store id: expected 16 bytes, got 17/],
    ["bundleId", { bundleId: bytes(1, 0) }, /bundle id: expected 16 bytes, got 0/],
    ["group", { group: "" }, /group: expected 1\.\.64/],
    ["group", { group: "a".repeat(65) }, /group: expected 1\.\.64/],
    ["group", { group: "a\n" }, /group: expected 1\.\.64/],
    ["generation", { generation: 0 }, /generation: expected 1\.\./],
    ["generation", { generation: 2 ** 32 }, /generation: expected 1\.\./],
    ["generation", { generation: 1.5 }, /generation: expected 1\.\./],
    ["kmsKeyArn", { kmsKeyArn: "arn:aws:kms:eu-central-1:111122223333:alias/testudo" }, /KMS key ARN: expected/],
    ["wrappedDataKey", { wrappedDataKey: bytes(1, 0) }, /wrapped data key: expected 1\.\.6144 bytes, got 0/],
    ["wrappedDataKey", { wrappedDataKey: bytes(1, 6145) }, /wrapped data key: expected 1\.\.6144 bytes, got 6145/],
  ])("with a wrong %s is not made", (_name, change, text) => {
    expect(refusal(() => encodeBundleHeader({ ...KEYS_HEADER, ...change }))).toMatch(text);
  });

  it.each([
    "arn:aws-us-gov:kms:us-gov-west-1:111122223333:key/mrk-1234abcd",
    "arn:aws-cn:kms:cn-north-1:111122223333:key/a",
  ])("knows the partition of %s", (kmsKeyArn) => {
    expect(decodeBundleHeader(encodeBundleHeader({ ...KEYS_HEADER, kmsKeyArn })).kmsKeyArn).toBe(kmsKeyArn);
  });
});

describe("the encryption context", () => {
  it("says kind, authority, group, store and generation, and nothing that changes from bundle to bundle", () => {
    expect(encryptionContextOf(SECRETS_HEADER)).toEqual({
      "testudo:kind": "configuration-secrets",
      "testudo:authority": toHex(SECRETS_HEADER.authority),
      "testudo:group": "mainnet-a",
      "testudo:store-id": "0x51515151515151515151515151515151",
      "testudo:generation": "3",
    });
    expect(encryptionContextOf({ ...KEYS_HEADER, bundleId: OTHER_VALUES.bundleId })).toEqual(
      encryptionContextOf(KEYS_HEADER),
    );
  });

  it.each(["kind", "authority", "group", "storeId", "generation"] as const)("is another for another %s", (name) => {
    expect(encryptionContextOf({ ...KEYS_HEADER, [name]: OTHER_VALUES[name] })).not.toEqual(
      encryptionContextOf(KEYS_HEADER),
    );
  });
});
