/** Sealed secrets of a configuration: one kind of bundle, one data key, one digest. */

import { randomBytes } from "node:crypto";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ByteWriter, toHex } from "#protocol/bytes.ts";
import { sealBytes } from "#protocol/sealed/aead.ts";
import { boundHeaderBytes } from "#protocol/sealed/header.ts";
import {
  type ConfigurationSecrets,
  openSecrets,
  SEALED_SECRETS_BYTES_MAX,
  sealSecrets,
  secretsDigestOf,
  wipeSecrets,
} from "#protocol/sealed/sealed-secrets.ts";
import { bytes, flipBit, KEYS_HEADER, OTHER_VALUES, refusal, SECRETS_HEADER } from "./bundles.ts";

const DATA_KEY = new Uint8Array(randomBytes(32));
const BUNDLE = { header: SECRETS_HEADER, dataKey: DATA_KEY };
const SECRETS: ConfigurationSecrets = {
  macKeys: {
    macKeys: new Map([
      [1, bytes(0xa1, 32)],
      [7, bytes(0xa7, 32)],
    ]),
    writingKeyId: 7,
  },
  storePassword: new Uint8Array(Buffer.from("correct horse — bättery")),
};
const SEALED = sealSecrets(BUNDLE, SECRETS);
const CANNOT_OPEN = /^sealed secrets: cannot be opened/;

/** Sealed by somebody who holds the data key and does not keep to the format. */
const sealRaw = (plaintext: Uint8Array): Uint8Array =>
  sealBytes(DATA_KEY, {
    plaintext,
    associatedData: Buffer.concat([Buffer.from("testudo-sealed-secrets-v1"), boundHeaderBytes(SECRETS_HEADER)]),
  });
const macKeys = (ids: readonly number[], writing: number): Uint8Array => {
  const writer = new ByteWriter().u16(ids.length);
  for (const id of ids) writer.u16(id).bytes(bytes(id, 32));
  return writer.u16(writing).finish();
};

describe("sealed secrets", () => {
  it("come back as they were", () => {
    const anySecrets = fc
      .record({
        keys: fc.uniqueArray(fc.tuple(fc.nat(0xffff), fc.uint8Array({ minLength: 32, maxLength: 32 })), {
          minLength: 1,
          maxLength: 16,
          selector: ([id]) => id,
        }),
        storePassword: fc.uint8Array({ maxLength: 1024 }),
      })
      .map(({ keys, storePassword }): ConfigurationSecrets => {
        return { macKeys: { macKeys: new Map(keys), writingKeyId: keys.at(-1)?.[0] ?? 0 }, storePassword };
      });
    fc.assert(
      fc.property(anySecrets, (secrets) => {
        const sealed = sealSecrets(BUNDLE, secrets);
        expect(sealed.length).toBeLessThanOrEqual(SEALED_SECRETS_BYTES_MAX);
        expect(openSecrets(BUNDLE, sealed)).toEqual(secrets);
      }),
    );
  });

  it("show neither keys nor password, not even twice the same", () => {
    expect(Buffer.from(SEALED).includes("correct horse")).toBe(false);
    expect(toHex(sealSecrets(BUNDLE, SECRETS))).not.toBe(toHex(SEALED));
  });

  it("are refused at every length and with any bit turned", () => {
    for (let length = 0; length < SEALED.length; length += 1) {
      expect(refusal(() => openSecrets(BUNDLE, SEALED.subarray(0, length)))).toMatch(CANNOT_OPEN);
    }
    for (let bit = 0; bit < SEALED.length * 8; bit += 1) {
      expect(refusal(() => openSecrets(BUNDLE, flipBit(SEALED, bit)))).toMatch(CANNOT_OPEN);
    }
    const long = new Uint8Array(SEALED_SECRETS_BYTES_MAX + 1);
    expect(refusal(() => openSecrets(BUNDLE, long))).toMatch(/expected at most \d+ bytes/);
  });

  const { kind: _kind, ...others } = OTHER_VALUES;
  it.each(Object.entries(others))("do not open when they are replayed under another %s", (name, value) => {
    const header = { ...SECRETS_HEADER, [name]: value };
    expect(refusal(() => openSecrets({ header, dataKey: DATA_KEY }, SEALED))).toMatch(CANNOT_OPEN);
  });

  it("do not open under another data key, nor as another kind of bundle", () => {
    expect(refusal(() => openSecrets({ ...BUNDLE, dataKey: bytes(1, 32) }, SEALED))).toMatch(CANNOT_OPEN);
    expect(refusal(() => openSecrets({ ...BUNDLE, dataKey: bytes(1, 31) }, SEALED))).toMatch(/data key: expected 32/);
    expect(refusal(() => openSecrets({ header: KEYS_HEADER, dataKey: DATA_KEY }, SEALED))).toBe(
      "bundle: expected one of configuration-secrets, got one of keys",
    );
    expect(refusal(() => sealSecrets({ header: KEYS_HEADER, dataKey: DATA_KEY }, SECRETS))).toMatch(/got one of keys/);
  });

  it.each([
    ["nothing", new Uint8Array(), /MAC keys length: expected 4 bytes/],
    [
      "no MAC key",
      new ByteWriter().sizedBytes(macKeys([], 1)).sizedBytes(bytes(0, 0)).finish(),
      /MAC keys: expected 1\.\.16, got 0/,
    ],
    [
      "a MAC key twice",
      new ByteWriter()
        .sizedBytes(macKeys([1, 1], 1))
        .sizedBytes(bytes(0, 0))
        .finish(),
      /a MAC key id twice/,
    ],
    [
      "too many MAC keys",
      new ByteWriter()
        .sizedBytes(
          macKeys(
            Array.from({ length: 17 }, (_, id) => id),
            1,
          ),
        )
        .sizedBytes(bytes(0, 0))
        .finish(),
      /got 17/,
    ],
    [
      "no writing key",
      new ByteWriter()
        .sizedBytes(macKeys([1], 2))
        .sizedBytes(bytes(0, 0))
        .finish(),
      /writing MAC key: expected an accepted one, got id 2/,
    ],
    [
      "a long password",
      new ByteWriter()
        .sizedBytes(macKeys([1], 1))
        .sizedBytes(bytes(65, 1025))
        .finish(),
      /store password: expected at most 1024|expected at most/,
    ],
    [
      "trailing bytes",
      new ByteWriter()
        .sizedBytes(macKeys([1], 1))
        .sizedBytes(bytes(0, 0))
        .u8(0)
        .finish(),
      /1 trailing bytes/,
    ],
  ])("authentic ones with %s are refused", (_what, plaintext, text) => {
    expect(refusal(() => openSecrets(BUNDLE, sealRaw(plaintext)))).toMatch(text);
  });

  it("of any authentic content open or are refused by name", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (plaintext) => {
        expect(refusal(() => openSecrets(BUNDLE, sealRaw(plaintext)))).toMatch(/sealed secrets|MAC keys/);
      }),
    );
  });

  it.each<[string, Partial<ConfigurationSecrets>, RegExp]>([
    ["no MAC key", { macKeys: { macKeys: new Map(), writingKeyId: 1 } }, /MAC keys: expected 1\.\.16, got 0/],
    [
      "a short MAC key",
      { macKeys: { macKeys: new Map([[1, bytes(1, 31)]]), writingKeyId: 1 } },
      /MAC key 1: expected 32/,
    ],
    [
      "a MAC key id of 17 bits",
      { macKeys: { macKeys: new Map([[65_536, bytes(1, 32)]]), writingKeyId: 65_536 } },
      /MAC key id/,
    ],
    [
      "a foreign writing key",
      { macKeys: { macKeys: new Map([[1, bytes(1, 32)]]), writingKeyId: 2 } },
      /writing MAC key/,
    ],
    ["a long password", { storePassword: bytes(65, 1025) }, /store password: expected at most 1024/],
  ])("with %s are not made", (_what, change, text) => {
    expect(refusal(() => sealSecrets(BUNDLE, { ...SECRETS, ...change }))).toMatch(text);
  });

  it("are wiped on request, and sealing leaves the caller's alone", () => {
    const opened = openSecrets(BUNDLE, SEALED);
    wipeSecrets(opened);
    expect(
      [...opened.macKeys.macKeys.values(), opened.storePassword].every((each) => each.every((byte) => byte === 0)),
    ).toBe(true);
    expect(openSecrets(BUNDLE, SEALED)).toEqual(SECRETS);
  });

  it("have a digest that covers header and ciphertext, and not the wrapped data key", () => {
    const digest = toHex(secretsDigestOf(SECRETS_HEADER, SEALED));
    expect(digest).toMatch(/^0x[0-9a-f]{64}$/);
    expect(toHex(secretsDigestOf({ ...SECRETS_HEADER, wrappedDataKey: bytes(1, 9) }, SEALED))).toBe(digest);
    expect(toHex(secretsDigestOf(SECRETS_HEADER, flipBit(SEALED, 0)))).not.toBe(digest);
    for (const [name, value] of Object.entries(others)) {
      expect(toHex(secretsDigestOf({ ...SECRETS_HEADER, [name]: value }, SEALED)), name).not.toBe(digest);
    }
  });
});
