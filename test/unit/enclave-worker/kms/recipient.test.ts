/** The key pair of a boot: new each time, attested with each document, and for its own blobs only. */

import { createHash, createPublicKey } from "node:crypto";
import { describe, expect, test } from "vitest";
import { createRecipient } from "#enclave/kms/recipient.ts";
import { encryptForRecipient } from "#infra/local/kms/recipient-blob.ts";
import { SignerError } from "#protocol/errors.ts";

const PLAINTEXT = new Uint8Array(32).fill(9);
const keyOf = (spki: Uint8Array) => createPublicKey({ key: Buffer.from(spki), format: "der", type: "spki" });

describe("a recipient", () => {
  test("has an RSA-2048 key of its own and gives it to be attested, each time anew", async () => {
    const asked: Uint8Array[] = [];
    const nsm = {
      attest: async ({ publicKey }: { publicKey?: Uint8Array | undefined }) => {
        asked.push(publicKey as Uint8Array);
        return createHash("sha256").update(String(asked.length)).digest();
      },
    };
    const recipient = await createRecipient(nsm);
    const other = await createRecipient(nsm);
    expect(keyOf(recipient.publicKey).asymmetricKeyDetails).toMatchObject({
      modulusLength: 2048,
      publicExponent: 65537n,
    });
    expect(recipient.publicKey).not.toEqual(other.publicKey);
    expect(await recipient.attestation()).not.toEqual(await recipient.attestation());
    expect(asked).toEqual([recipient.publicKey, recipient.publicKey]);

    const blob = encryptForRecipient(PLAINTEXT, keyOf(recipient.publicKey));
    expect(recipient.open(blob, 32)).toEqual(PLAINTEXT);
    expect(() => other.open(blob, 32)).toThrow(/for another recipient key/);
  });

  test.each([0, 0x3001, 1_000_000])("takes no document of %i bytes", async (length) => {
    const recipient = await createRecipient({ attest: async () => new Uint8Array(length) });
    await expect(recipient.attestation()).rejects.toThrow(
      `internal: attestation document: expected 1..12288 bytes, got ${length}`,
    );
  });

  test("passes on what the module says, and hides what a defect says", async () => {
    const unavailable = new SignerError("unavailable", "NSM: there is none");
    const recipient = await createRecipient({ attest: () => Promise.reject(unavailable) });
    await expect(recipient.attestation()).rejects.toBe(unavailable);
    const broken = await createRecipient({ attest: () => Promise.reject(new Error("inner")) });
    await expect(broken.attestation()).rejects.toMatchObject({
      code: "internal",
      detail: expect.not.stringContaining("inner"),
    });
  });
});
