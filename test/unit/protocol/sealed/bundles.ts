/** Bundles for tests: real keys, real cryptography, one thing changed at a time. */

import { createPrivateKey, createPublicKey, type KeyObject, randomBytes } from "node:crypto";
import fc from "fast-check";
import { expect } from "vitest";
import { SignerError } from "#protocol/errors.ts";
import type { Configuration } from "#protocol/sealed/configuration.ts";
import { BUNDLE_KINDS, type BundleHeader } from "#protocol/sealed/header.ts";
import { NAMED_NETWORKS } from "#protocol/signing/named-networks.ts";
import { networkFromJson } from "#protocol/signing/network.ts";
import { SIGNING_TYPES } from "#protocol/signing/types.ts";

/** `length` bytes of one value. */
export const bytes = (value: number, length: number): Uint8Array => new Uint8Array(length).fill(value);

/** An Ed25519 key pair made of a seed (PKCS #8 of RFC 8410: a fixed prefix and the 32 bytes). */
export const authorityOf = (seed: number): { privateKey: KeyObject; publicKey: Uint8Array } => {
  const prefix = Buffer.from("302e020100300506032b657004220420", "hex");
  const der = Buffer.concat([prefix, bytes(seed, 32)]);
  const privateKey = createPrivateKey({ key: der, format: "der", type: "pkcs8" });
  const x = createPublicKey(privateKey).export({ format: "jwk" }).x as string;
  return { privateKey, publicKey: new Uint8Array(Buffer.from(x, "base64url")) };
};

export const AUTHORITY = authorityOf(1);
export const OTHER_AUTHORITY = authorityOf(2);
export const KMS_KEY_ARN = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";

export const KEYS_HEADER: BundleHeader = {
  kind: "keys",
  authority: AUTHORITY.publicKey,
  group: "mainnet-a",
  storeId: bytes(0x51, 16),
  generation: 3,
  bundleId: bytes(0xb1, 16),
  kmsKeyArn: KMS_KEY_ARN,
  wrappedDataKey: randomBytes(184),
};
export const SECRETS_HEADER: BundleHeader = {
  ...KEYS_HEADER,
  kind: "configuration-secrets",
  bundleId: bytes(0xb2, 16),
};

/** Every member of a header but the wrapped key, with another valid value. */
export const OTHER_VALUES = {
  kind: "configuration-secrets",
  authority: OTHER_AUTHORITY.publicKey,
  group: "mainnet-b",
  storeId: bytes(0x52, 16),
  generation: 4,
  bundleId: bytes(0xb3, 16),
  kmsKeyArn: KMS_KEY_ARN.replace("eu-central-1", "eu-west-1"),
} as const satisfies Omit<BundleHeader, "wrappedDataKey">;

export const CONFIGURATION: Configuration = {
  authority: AUTHORITY.publicKey,
  version: 7,
  group: KEYS_HEADER.group,
  storeId: KEYS_HEADER.storeId,
  generation: 3,
  oldestGeneration: 2,
  network: networkFromJson({ name: "mainnet", ...NAMED_NETWORKS.mainnet }) as Configuration["network"],
  store: {
    kind: "redis",
    username: "testudo",
    database: 0,
    keyPrefix: "testudo",
    route: {
      topology: "sentinel",
      addresses: [
        { host: "sentinel.example", port: 26_379 },
        { host: "10.0.0.1", port: 6379 },
        { host: "10.0.0.2", port: 6379 },
      ],
      seeds: 1,
      masterName: "testudo",
    },
    durability: "replicated:1",
    tls: { ca: "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n" },
  },
  kmsKeyArn: KMS_KEY_ARN,
  signingTypes: [...SIGNING_TYPES],
  clockBoundEpochs: 1,
  secretsDigest: bytes(0xd1, 32),
};

/** The text of a `bad_request`; fails when nothing or anything else is thrown. */
export const refusal = (run: () => unknown): string => {
  try {
    run();
  } catch (error) {
    expect(error).toBeInstanceOf(SignerError);
    expect((error as SignerError).code).toBe("bad_request");
    return (error as SignerError).detail;
  }
  throw new Error("expected a refusal");
};

/** A copy with one bit turned. */
export const flipBit = (of: Uint8Array, bit: number): Uint8Array => {
  const copy = new Uint8Array(of);
  copy[bit >> 3] = (copy[bit >> 3] as number) ^ (1 << (bit & 7));
  return copy;
};

const exactly = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });
const letters = (alphabet: string, max: number) =>
  fc.array(fc.constantFrom(...alphabet), { minLength: 1, maxLength: max }).map((chars) => chars.join(""));

/** Any valid header. */
export const anyHeader: fc.Arbitrary<BundleHeader> = fc.record({
  kind: fc.constantFrom(...BUNDLE_KINDS),
  authority: exactly(32),
  group: letters("abcxyz0189-", 64),
  storeId: exactly(16),
  generation: fc.integer({ min: 1, max: 0xffff_ffff }),
  bundleId: exactly(16),
  kmsKeyArn: letters("abcdefXYZ0123456789-", 128).map((id) => `arn:aws:kms:us-east-1:000000000000:key/${id}`),
  wrappedDataKey: fc.uint8Array({ minLength: 1, maxLength: 6144, size: "medium" }),
});
