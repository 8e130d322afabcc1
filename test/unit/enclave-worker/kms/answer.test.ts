/** Which answers an attested caller accepts. */

import { createPublicKey } from "node:crypto";
import { beforeAll, describe, expect, test } from "vitest";
import { type Answer, openAnswer } from "#enclave/kms/answer.ts";
import { createRecipient, type Recipient } from "#enclave/kms/recipient.ts";
import { encryptForRecipient } from "#infra/local/kms/recipient-blob.ts";

const KEY_ARN = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
const DATA_KEY = new Uint8Array(32).fill(7);

let recipient: Recipient;
let blob: Uint8Array;

beforeAll(async () => {
  recipient = await createRecipient({ attest: async () => new Uint8Array(1) });
  const publicKey = createPublicKey({ key: Buffer.from(recipient.publicKey), format: "der", type: "spki" });
  blob = encryptForRecipient(DATA_KEY, publicKey);
});

const open = (change: { [K in keyof Answer]: unknown }): Uint8Array =>
  openAnswer({ KeyId: KEY_ARN, CiphertextForRecipient: blob, ...change } as Answer, { keyArn: KEY_ARN, recipient });

describe("an answer", () => {
  test("with the blob, under the configured key, opens; an empty plaintext is none", () => {
    expect(open({})).toEqual(DATA_KEY);
    for (const Plaintext of [new Uint8Array(0), null, undefined]) expect(open({ Plaintext })).toEqual(DATA_KEY);
  });

  test("with a plaintext is refused, beside a blob or not, and the plaintext is wiped", () => {
    for (const CiphertextForRecipient of [blob, undefined]) {
      const Plaintext = new Uint8Array(32).fill(7);
      expect(() => open({ Plaintext, CiphertextForRecipient })).toThrow(/has the plaintext/);
      expect(Plaintext).toEqual(new Uint8Array(32));
    }
  });

  test.each<[string, { [K in keyof Answer]: unknown }, RegExp]>([
    ["a plaintext that is no bytes", { Plaintext: { length: 3 } }, /has the plaintext/],
    ["no key", { KeyId: undefined }, /expected an answer under arn:.*got undefined/],
    ["another key", { KeyId: `${KEY_ARN}0` }, /expected an answer under/],
    ["the key's id alone", { KeyId: KEY_ARN.split("/")[1] }, /expected an answer under/],
    ["no blob", { CiphertextForRecipient: undefined }, /no CiphertextForRecipient/],
    ["a blob that is text", { CiphertextForRecipient: "MIAG" }, /no CiphertextForRecipient/],
    ["an empty blob", { CiphertextForRecipient: new Uint8Array(0) }, /expected 1\.\.6144 bytes, got 0/],
  ])("with %s is refused", (_name, change, problem) => {
    expect(() => open(change)).toThrow(problem);
    expect(() => open(change)).toThrow(expect.objectContaining({ code: "protocol_violation" }));
  });
});
