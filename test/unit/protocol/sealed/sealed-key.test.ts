/** Sealed keys open for one public key in one bundle, and in no other way. */

import { createCipheriv, createDecipheriv, randomBytes } from "node:crypto";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { derivePubkey } from "#enclave/keys/seal.ts";
import { toHex } from "#protocol/bytes.ts";
import { type BundleHeader, boundHeaderBytes } from "#protocol/sealed/header.ts";
import { createKeyOpener, createKeySealer, SEALED_KEY_BYTES } from "#protocol/sealed/sealed-key.ts";
import { makeKey } from "../../../helpers/key-files.ts";
import { flipBit, KEYS_HEADER, OTHER_VALUES, refusal, SECRETS_HEADER } from "./bundles.ts";

const fromHex = (text: string): Uint8Array => new Uint8Array(Buffer.from(text.slice(2), "hex"));
const key = () => {
  const { pubkey, secret } = makeKey();
  return { pubkey: fromHex(pubkey), secret: fromHex(secret) };
};

const DATA_KEY = new Uint8Array(randomBytes(32));
const [FIRST, SECOND] = [key(), key()];
const bundle = (change: Partial<BundleHeader> = {}, dataKey: Uint8Array = DATA_KEY) => ({
  header: { ...KEYS_HEADER, ...change },
  dataKey,
  derivePubkey,
});
const sealer = createKeySealer(bundle());
const opener = createKeyOpener(bundle());
const SEALED = sealer.seal(FIRST.pubkey, FIRST.secret);
const CANNOT_OPEN = /^sealed key: cannot be opened/;

describe("a sealed key", () => {
  it("comes back as it was, whatever the bundle", () => {
    const scalar = fc.uint8Array({ minLength: 32, maxLength: 32 }).map((raw) => {
      raw[0] = (raw[0] as number) & 0x3f; // below the group order
      raw[31] = (raw[31] as number) | 1;
      return raw;
    });
    fc.assert(
      fc.property(scalar, fc.uint8Array({ minLength: 32, maxLength: 32 }), (secret, dataKey) => {
        const pubkey = derivePubkey(secret);
        const sealed = createKeySealer(bundle({}, dataKey)).seal(pubkey, secret);
        expect(sealed.length).toBe(SEALED_KEY_BYTES);
        expect(createKeyOpener(bundle({}, dataKey)).open(pubkey, sealed)).toEqual(secret);
      }),
      { numRuns: 50 },
    );
  });

  it("is AES-256-GCM with a 96-bit nonce over domain, bound header and public key", () => {
    const raw = createDecipheriv("aes-256-gcm", DATA_KEY, SEALED.subarray(0, 12));
    raw.setAAD(Buffer.concat([Buffer.from("testudo-sealed-key-v1"), boundHeaderBytes(KEYS_HEADER), FIRST.pubkey]));
    raw.setAuthTag(SEALED.subarray(44));
    expect(Buffer.concat([raw.update(SEALED.subarray(12, 44)), raw.final()])).toEqual(Buffer.from(FIRST.secret));
  });

  it("never has the same nonce twice", () => {
    const again = createKeySealer(bundle());
    const nonces = Array.from({ length: 100 }, () => toHex(again.seal(FIRST.pubkey, FIRST.secret).subarray(0, 12)));
    expect(new Set(nonces).size).toBe(nonces.length);
  });

  it("does not open for another key of the same bundle, so swapped ciphertexts are refused", () => {
    const other = sealer.seal(SECOND.pubkey, SECOND.secret);
    expect(opener.open(SECOND.pubkey, other)).toEqual(SECOND.secret);
    expect(refusal(() => opener.open(FIRST.pubkey, other))).toMatch(CANNOT_OPEN);
    expect(refusal(() => opener.open(SECOND.pubkey, SEALED))).toMatch(CANNOT_OPEN);
  });

  it("is refused at every other length", () => {
    for (let length = 0; length < SEALED.length; length += 1) {
      expect(refusal(() => opener.open(FIRST.pubkey, SEALED.subarray(0, length)))).toBe(
        `sealed key: expected 60 bytes, got ${length}`,
      );
    }
    expect(refusal(() => opener.open(FIRST.pubkey, Buffer.concat([SEALED, Buffer.of(0)])))).toMatch(/got 61$/);
  });

  it("is refused with any bit turned, in it or in the public key", () => {
    for (let bit = 0; bit < SEALED.length * 8; bit += 1) {
      expect(refusal(() => opener.open(FIRST.pubkey, flipBit(SEALED, bit)))).toMatch(CANNOT_OPEN);
    }
    for (let bit = 0; bit < FIRST.pubkey.length * 8; bit += 1) {
      expect(refusal(() => opener.open(flipBit(FIRST.pubkey, bit), SEALED))).toMatch(CANNOT_OPEN);
    }
  });

  const { kind: _kind, ...others } = OTHER_VALUES;
  it.each(Object.entries(others))("does not open when it is replayed under another %s", (name, value) => {
    const elsewhere = createKeyOpener(bundle({ [name]: value }));
    expect(refusal(() => elsewhere.open(FIRST.pubkey, SEALED))).toMatch(CANNOT_OPEN);
  });

  it("opens when KMS wrapped its data key anew, and not under another data key", () => {
    const rewrapped = createKeyOpener(bundle({ wrappedDataKey: randomBytes(200) }));
    expect(rewrapped.open(FIRST.pubkey, SEALED)).toEqual(FIRST.secret);
    for (let bit = 0; bit < 256; bit += 1) {
      const other = createKeyOpener(bundle({}, flipBit(DATA_KEY, bit)));
      expect(refusal(() => other.open(FIRST.pubkey, SEALED))).toMatch(CANNOT_OPEN);
    }
  });

  it("that holds the secret of another key is refused though it is authentic", () => {
    const nonce = randomBytes(12);
    const cipher = createCipheriv("aes-256-gcm", DATA_KEY, nonce);
    cipher.setAAD(Buffer.concat([Buffer.from("testudo-sealed-key-v1"), boundHeaderBytes(KEYS_HEADER), FIRST.pubkey]));
    const wrong = Buffer.concat([nonce, cipher.update(SECOND.secret), cipher.final(), cipher.getAuthTag()]);
    expect(refusal(() => opener.open(FIRST.pubkey, wrong))).toBe(
      `sealed key: expected the secret of ${toHex(FIRST.pubkey)}, got that of ${toHex(SECOND.pubkey)}`,
    );
    expect(refusal(() => sealer.seal(FIRST.pubkey, SECOND.secret))).toMatch(/^key to seal: expected the secret of/);
    expect(refusal(() => sealer.seal(FIRST.pubkey, new Uint8Array(32)))).toMatch(/secret key: expected/);
  });

  it("wipes a secret that it refuses", () => {
    let seen: Uint8Array | undefined;
    const watching = createKeyOpener({
      ...bundle(),
      derivePubkey: (secret) => {
        seen = secret;
        return SECOND.pubkey;
      },
    });
    expect(refusal(() => watching.open(FIRST.pubkey, SEALED))).toMatch(/expected the secret of/);
    expect(seen).toEqual(new Uint8Array(32));
  });

  it("is made for bundles of keys alone, with a whole data key and public key", () => {
    expect(refusal(() => createKeySealer({ ...bundle(), header: SECRETS_HEADER }))).toBe(
      "bundle: expected one of keys, got one of configuration-secrets",
    );
    expect(refusal(() => createKeyOpener({ ...bundle(), header: SECRETS_HEADER }))).toMatch(/expected one of keys/);
    expect(refusal(() => createKeyOpener(bundle({}, new Uint8Array(16))))).toBe("data key: expected 32 bytes, got 16");
    expect(refusal(() => opener.open(FIRST.pubkey.subarray(1), SEALED))).toBe("public key: expected 48 bytes, got 47");
  });

  it("is the last of 1,000 under one data key, also over several runs", () => {
    const secondRun = createKeySealer(bundle(), { sealedBefore: 998 });
    secondRun.seal(FIRST.pubkey, FIRST.secret);
    secondRun.seal(SECOND.pubkey, SECOND.secret);
    expect(refusal(() => secondRun.seal(FIRST.pubkey, FIRST.secret))).toMatch(/at most 1000 keys, begin another/);
  });
});

describe("a closed bundle", () => {
  it("seals and opens nothing more, above all not under a key of zeros, and leaves the caller's key alone", () => {
    const dataKey = new Uint8Array(DATA_KEY);
    const [closedSealer, closedOpener] = [createKeySealer(bundle({}, dataKey)), createKeyOpener(bundle({}, dataKey))];
    closedSealer.close();
    closedOpener.close();
    expect(() => closedSealer.seal(FIRST.pubkey, FIRST.secret)).toThrow(/used after it was closed/);
    expect(() => closedOpener.open(FIRST.pubkey, SEALED)).toThrow(/used after it was closed/);
    expect(dataKey).toEqual(DATA_KEY);
    // The other way round: wiping the caller's copy does not reach the bundle.
    const independent = createKeyOpener(bundle({}, dataKey));
    dataKey.fill(0);
    expect(independent.open(FIRST.pubkey, SEALED)).toEqual(FIRST.secret);
  });
});
