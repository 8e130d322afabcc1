/** CiphertextForRecipient: a real one of AWS opens, and nothing that differs from one does. */

import {
  constants,
  createCipheriv,
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  publicEncrypt,
} from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { openRecipientCiphertext, RECIPIENT_CIPHERTEXT_BYTES_MAX, type RecipientKey } from "#enclave/kms/cms.ts";
import {
  contextTag,
  definite,
  indefinite,
  nothing,
  octets,
  oid,
  sequence,
  smallInteger,
  TAG,
} from "#infra/local/der.ts";
import { encryptForRecipient } from "#infra/local/kms/recipient-blob.ts";
import { SignerError } from "#protocol/errors.ts";

const VECTOR = new URL("../../../../../shared/vectors/nitro/kms-ciphertext-for-recipient.json", import.meta.url);

const recipientKeyOf = (privateKey: KeyObject): RecipientKey => {
  const spki = createPublicKey(privateKey).export({ type: "spki", format: "der" });
  return { privateKey, keyIdentifier: createHash("sha256").update(spki).digest() };
};

const { privateKey, publicKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
const recipientKey = recipientKeyOf(privateKey);
const PLAINTEXT = Uint8Array.from({ length: 32 }, (_, index) => index);

const open = (blob: Uint8Array, plaintextBytes = 32, key = recipientKey): Uint8Array =>
  openRecipientCiphertext(blob, { recipientKey: key, plaintextBytes });

const failureOf = (work: () => unknown): SignerError => {
  try {
    work();
  } catch (error) {
    expect(error).toBeInstanceOf(SignerError);
    expect((error as SignerError).code).toBe("protocol_violation");
    return error as SignerError;
  }
  return expect.fail("expected a failure");
};

describe.skipIf(!existsSync(VECTOR))("a real blob of AWS (needs the official vectors beside the project)", () => {
  const vector = existsSync(VECTOR) ? (JSON.parse(readFileSync(VECTOR, "utf8")) as Record<string, string>) : {};
  const blob = Buffer.from(vector.ciphertextForRecipientBase64 ?? "", "base64");
  const key = (): RecipientKey => recipientKeyOf(createPrivateKey(vector.recipientPrivateKeyPkcs1Pem ?? ""));

  test("opens to its plaintext", () => {
    expect(Buffer.from(open(blob, 32, key())).toString("hex")).toBe(vector.plaintextHex);
  });

  test("opens for no other key", () => {
    expect(failureOf(() => open(blob)).detail).toMatch(/for another recipient key/);
    const claimed = { ...recipientKey, keyIdentifier: key().keyIdentifier };
    expect(failureOf(() => open(blob, 32, claimed)).detail).toMatch(/cannot be opened/);
  });

  test("does not open cut short at any byte, or with one more", () => {
    for (let length = 0; length < blob.length; length += 1) failureOf(() => open(blob.subarray(0, length), 32, key()));
    failureOf(() => open(Buffer.concat([blob, Buffer.from([0])]), 32, key()));
  });

  test("does not open with any bit of its structure flipped, nor with any byte changed where no CBC is", () => {
    const genuine = key();
    const content = blob.length - 10 - 48; // 48 bytes of three blocks, then five ends of contents
    const iv = content - 2 - 2 - 16;
    const encryptedKey = 131; // 256 bytes
    // Blocks 1 and 2 of the plaintext take their changes from the IV and from block 1 of the ciphertext.
    const isMalleable = (at: number): boolean => (at >= iv && at < iv + 16) || (at >= content && at < content + 16);
    const isSlow = (at: number): boolean => (at >= encryptedKey && at < encryptedKey + 256) || at >= iv;
    for (let at = 0; at < blob.length; at += 1) {
      for (const bit of isSlow(at) ? [at % 8] : [0, 1, 2, 3, 4, 5, 6, 7]) {
        const changed = Buffer.from(blob);
        changed[at] = (changed[at] ?? 0) ^ (1 << bit);
        if (isMalleable(at))
          expect(Buffer.from(open(changed, 32, genuine)).toString("hex")).not.toBe(vector.plaintextHex);
        else failureOf(() => open(changed, 32, genuine));
      }
    }
  });
});

describe("encodings", () => {
  test.each([
    ["AWS's", {}],
    ["AWS's in pieces of 16 bytes", { pieceBytes: 16 }],
    ["AWS's in pieces of 7 bytes", { pieceBytes: 7 }],
    ["DER", { form: "der" }],
  ] as const)("%s opens", (_name, encoding) => {
    expect(open(encryptForRecipient(PLAINTEXT, publicKey, encoding))).toEqual(PLAINTEXT);
  });

  test("plaintexts of every length around a block open as themselves and as nothing else", () => {
    for (const length of [0, 1, 15, 16, 17, 31, 32, 33]) {
      const plaintext = new Uint8Array(length).fill(9);
      const blob = encryptForRecipient(plaintext, publicKey);
      expect(open(blob, length)).toEqual(plaintext);
      if (length !== 32) expect(failureOf(() => open(blob)).detail).toMatch(/cannot be opened/);
    }
  });

  test("a blob above the bound is not looked at", () => {
    const blob = Buffer.alloc(RECIPIENT_CIPHERTEXT_BYTES_MAX + 1);
    expect(failureOf(() => open(blob)).detail).toBe("CiphertextForRecipient: expected 1..6144 bytes, got 6145");
  });
});

interface Parts {
  envelopedData: string;
  envelopeVersion: number;
  originator: Buffer[];
  recipients: (recipient: Buffer) => Buffer[];
  recipientVersion: number;
  rid: Buffer;
  keyAlgorithm: Buffer;
  oaepHash: string;
  cek: Uint8Array;
  dataType: string;
  contentAlgorithm: Buffer;
  iv: Uint8Array;
  content: (content: Buffer) => Buffer[];
  unprotected: Buffer[];
}

const IV = Buffer.alloc(16, 3);
const sha = (id: string, parameter: Buffer[] = [nothing()]): Buffer => sequence(oid(id), ...parameter);
const SHA_256 = "2.16.840.1.101.3.4.2.1";
const SHA_512 = "2.16.840.1.101.3.4.2.3";
const OAEP = "1.2.840.113549.1.1.7";
const explicit = (number: number, value: Buffer): Buffer => definite(contextTag(number, "constructed"), value);
const oaep = (hash: Buffer, mgf: Buffer, ...label: Buffer[]): Buffer =>
  sequence(oid(OAEP), sequence(explicit(0, hash), explicit(1, sequence(oid("1.2.840.113549.1.1.8"), mgf)), ...label));

/** A blob of which each part can be another. */
const build = (change: Partial<Parts> = {}): Buffer => {
  const parts: Parts = {
    envelopedData: "1.2.840.113549.1.7.3",
    envelopeVersion: 2,
    originator: [],
    recipients: (recipient) => [recipient],
    recipientVersion: 2,
    rid: definite(contextTag(0, "primitive"), recipientKey.keyIdentifier),
    keyAlgorithm: oaep(sha(SHA_256), sha(SHA_256)),
    oaepHash: "sha256",
    cek: new Uint8Array(32).fill(5),
    dataType: "1.2.840.113549.1.7.1",
    contentAlgorithm: sequence(oid("2.16.840.1.101.3.4.1.42"), octets(IV)),
    iv: IV,
    content: (content) => [indefinite(contextTag(0, "constructed"), octets(content))],
    unprotected: [],
    ...change,
  };
  const padding = constants.RSA_PKCS1_OAEP_PADDING;
  const encryptedKey = publicEncrypt({ key: publicKey, padding, oaepHash: parts.oaepHash }, parts.cek);
  const cipher = createCipheriv("aes-256-cbc", new Uint8Array(32).fill(5), parts.iv);
  const content = Buffer.concat([cipher.update(PLAINTEXT), cipher.final()]);
  const recipient = sequence(smallInteger(parts.recipientVersion), parts.rid, parts.keyAlgorithm, octets(encryptedKey));
  const info = indefinite(TAG.sequence, oid(parts.dataType), parts.contentAlgorithm, ...parts.content(content));
  const set = definite(TAG.set, ...parts.recipients(recipient));
  const enveloped = [smallInteger(parts.envelopeVersion), ...parts.originator, set, info, ...parts.unprotected];
  const explicitContent = indefinite(contextTag(0, "constructed"), indefinite(TAG.sequence, ...enveloped));
  return indefinite(TAG.sequence, oid(parts.envelopedData), explicitContent);
};

describe("each part", () => {
  test("as it should be, with and without the NULLs of SHA-256", () => {
    expect(open(build())).toEqual(PLAINTEXT);
    expect(open(build({ keyAlgorithm: oaep(sha(SHA_256, []), sha(SHA_256, [])) }))).toEqual(PLAINTEXT);
  });

  const issuer = sequence(sequence(), smallInteger(1));
  const attribute = sequence(oid("1.2.3.4"), definite(TAG.set, nothing()));
  test.each<[string, Partial<Parts>, RegExp]>([
    [
      "signed instead of enveloped data",
      { envelopedData: "1.2.840.113549.1.7.2" },
      /enveloped data\), got 1\.2\.840\.113549\.1\.7\.2/,
    ],
    ["another version of the envelope", { envelopeVersion: 0 }, /EnvelopedData: expected version 2, got 0/],
    ["an originator", { originator: [definite(contextTag(0, "constructed"))] }, /EnvelopedData|originatorInfo/],
    [
      "unprotected attributes",
      { unprotected: [definite(contextTag(1, "constructed"), attribute)] },
      /unprotectedAttrs/,
    ],
    ["no recipient", { recipients: () => [] }, /expected one recipient, got 0|EnvelopedData/],
    ["two recipients", { recipients: (recipient) => [recipient, recipient] }, /expected one recipient, got 2/],
    [
      "a recipient of another kind",
      { recipients: () => [definite(contextTag(4, "constructed"), oid("1.2.3"), nothing())] },
      /KeyTransRecipientInfo|EnvelopedData|class of tag/,
    ],
    ["another version of the recipient", { recipientVersion: 0 }, /recipient: expected version 2, got 0/],
    ["a recipient by issuer and serial", { rid: issuer }, /subject key identifier|EnvelopedData/],
    [
      "another recipient's identifier",
      { rid: definite(contextTag(0, "primitive"), Buffer.alloc(32)) },
      /another recipient key/,
    ],
    [
      "a shorter identifier",
      { rid: definite(contextTag(0, "primitive"), recipientKey.keyIdentifier.subarray(0, 20)) },
      /another recipient key/,
    ],
    [
      "RSA with PKCS #1 v1.5",
      { keyAlgorithm: sequence(oid("1.2.840.113549.1.1.1"), nothing()) },
      /RSAES-OAEP\), got 1\.2\.840\.113549\.1\.1\.1/,
    ],
    ["OAEP without parameters, which means SHA-1", { keyAlgorithm: sequence(oid(OAEP)) }, /expected SHA-256, MGF1/],
    ["OAEP with empty parameters", { keyAlgorithm: sequence(oid(OAEP), sequence()) }, /expected SHA-256, MGF1/],
    [
      "OAEP with SHA-512",
      { keyAlgorithm: oaep(sha(SHA_512), sha(SHA_512)), oaepHash: "sha512" },
      /expected SHA-256, MGF1/,
    ],
    ["MGF1 with another hash", { keyAlgorithm: oaep(sha(SHA_256), sha(SHA_512)) }, /expected SHA-256, MGF1/],
    [
      "a label",
      {
        keyAlgorithm: oaep(
          sha(SHA_256),
          sha(SHA_256),
          explicit(2, sequence(oid("1.2.840.113549.1.1.9"), octets(Buffer.from("x")))),
        ),
      },
      /no label/,
    ],
    [
      "other content than data",
      { dataType: "1.2.840.113549.1.7.2" },
      /content type: expected 1\.2\.840\.113549\.1\.7\.1/,
    ],
    ["AES-128", { contentAlgorithm: sequence(oid("2.16.840.1.101.3.4.1.2"), octets(IV)) }, /AES-256-CBC\), got/],
    [
      "an IV of 15 bytes",
      { contentAlgorithm: sequence(oid("2.16.840.1.101.3.4.1.42"), octets(IV.subarray(1))) },
      /initialisation vector of 16/,
    ],
    ["no IV", { contentAlgorithm: sequence(oid("2.16.840.1.101.3.4.1.42")) }, /initialisation vector of 16/],
    [
      "an IV of another type",
      { contentAlgorithm: sequence(oid("2.16.840.1.101.3.4.1.42"), definite(TAG.utf8String, IV)) },
      /initialisation vector of 16/,
    ],
    ["no content", { content: () => [] }, /blocks of 16 bytes, got 0/],
    [
      "empty content",
      { content: () => [indefinite(contextTag(0, "constructed"))] },
      /blocks of 16 bytes, got 0|EnvelopedData/,
    ],
    [
      "a broken block",
      { content: (content) => [definite(contextTag(0, "primitive"), content.subarray(1))] },
      /got 47 bytes/,
    ],
    [
      "a piece that is no octet string",
      { content: (content) => [indefinite(contextTag(0, "constructed"), octets(content), nothing())] },
      /EnvelopedData/,
    ],
    [
      "more pieces than anyone makes",
      {
        content: (content) => [
          indefinite(
            contextTag(0, "constructed"),
            ...[...content, ...content].map((byte) => octets(Buffer.from([byte]))),
          ),
        ],
      },
      /more than 64 values/,
    ],
  ])("%s", (_name, change, problem) => {
    expect(failureOf(() => open(build(change))).detail).toMatch(problem);
  });

  test("what opens wrongly is one error, whatever was wrong", () => {
    const other = generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey;
    const changed = (at: number): Buffer => {
      const blob = build();
      blob[blob.length + at] = (blob.at(at) ?? 0) ^ 0xff;
      return blob;
    };
    const cases = [
      () => open(build({ cek: new Uint8Array(16).fill(5) })),
      () => open(build({ cek: new Uint8Array(33).fill(5) })),
      () => open(build({ cek: new Uint8Array(32).fill(6) })),
      () => open(build({ oaepHash: "sha1" })),
      () => open(changed(-10 - 17)), // padding
      () => open(build(), 31),
      () => open(build(), 48),
      () => open(build({ content: (content) => [definite(contextTag(0, "primitive"), content.subarray(16))] })),
      () => open(build(), 32, { ...recipientKey, privateKey: other }),
    ];
    const texts = new Set(cases.map((work) => failureOf(work).message));
    const causes = new Set(cases.map((work) => failureOf(work).cause));
    expect([...texts]).toEqual([
      "protocol_violation: CiphertextForRecipient: cannot be opened (altered or forged on the way, or of another length)",
    ]);
    expect([...causes]).toEqual([undefined]);
  });
});

describe("anything", () => {
  test("random bytes are refused with one kind of error", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 600 }), (bytes) => void failureOf(() => open(bytes))),
      { numRuns: 1_000 },
    );
  });

  test("a blob with several changes, cuts and repetitions opens to something or is refused with one kind of error", () => {
    const blob = build();
    const edit = fc.record({
      at: fc.nat(blob.length - 1),
      kind: fc.constantFrom("set", "cut", "repeat"),
      byte: fc.nat(255),
    });
    fc.assert(
      fc.property(fc.array(edit, { minLength: 1, maxLength: 4 }), (edits) => {
        let changed = Buffer.from(blob);
        for (const { at, kind, byte } of edits) {
          const index = Math.min(at, changed.length - 1);
          if (kind === "set") changed[index] = byte;
          else if (kind === "cut") changed = Buffer.concat([changed.subarray(0, index), changed.subarray(index + 1)]);
          else changed = Buffer.concat([changed.subarray(0, index + 1), changed.subarray(index)]);
        }
        try {
          expect(open(changed)).toHaveLength(32);
        } catch (error) {
          expect(error).toBeInstanceOf(SignerError);
        }
      }),
      { numRuns: 1_500 },
    );
  });
});
