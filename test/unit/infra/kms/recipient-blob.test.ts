/** The simulator's CiphertextForRecipient is laid out as AWS's, byte for byte. */

import { createPrivateKey, createPublicKey, generateKeyPairSync } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { encryptForRecipient } from "#infra/local/kms/recipient-blob.ts";

const VECTOR = new URL("../../../../../shared/vectors/nitro/kms-ciphertext-for-recipient.json", import.meta.url);

/** Where a blob of 32 bytes has the encrypted key, the IV and the encrypted content: random, each time. */
const RANDOM = [
  [131, 256],
  [415, 16],
  [435, 48],
] as const;

const withoutRandom = (blob: Buffer): string => {
  const copy = Buffer.from(blob);
  for (const [at, length] of RANDOM) copy.fill(0, at, at + length);
  return copy.toString("hex");
};

describe.skipIf(!existsSync(VECTOR))("beside a real blob (needs the official vectors beside the project)", () => {
  test("all but the random bytes is equal", () => {
    const vector = JSON.parse(readFileSync(VECTOR, "utf8")) as Record<string, string>;
    const real = Buffer.from(vector.ciphertextForRecipientBase64 ?? "", "base64");
    const publicKey = createPublicKey(createPrivateKey(vector.recipientPrivateKeyPkcs1Pem ?? ""));
    const ours = encryptForRecipient(new Uint8Array(32), publicKey);
    expect(withoutRandom(ours)).toBe(withoutRandom(real));
    expect(ours.equals(real)).toBe(false);
  });
});

describe("pieces", () => {
  const { publicKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });

  test("a longer content comes in several, and all of it", () => {
    const one = encryptForRecipient(new Uint8Array(32), publicKey);
    const three = encryptForRecipient(new Uint8Array(32), publicKey, { pieceBytes: 20 });
    expect(three.length - one.length).toBe(4); // two more tags and lengths
    expect(encryptForRecipient(new Uint8Array(2_400), publicKey).length).toBeGreaterThan(2_400 + 461);
  });

  test("the same plaintext is never encrypted to the same bytes", () => {
    const blobs = [1, 2, 3].map(() => encryptForRecipient(new Uint8Array(32), publicKey).toString("hex"));
    expect(new Set(blobs).size).toBe(3);
  });
});
