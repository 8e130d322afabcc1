import { SecretKey } from "@chainsafe/blst";
import { describe, expect, it } from "vitest";
import { derivePubkey, seal, unseal } from "#enclave/keys/seal.ts";

const SEALING_KEY = new Uint8Array(32).fill(0x51);
const keyOf = (byte: number) => {
  const secret = SecretKey.fromKeygen(new Uint8Array(32).fill(byte)).toBytes();
  return { secret: new Uint8Array(secret), pubkey: derivePubkey(secret) };
};
const ONE = keyOf(1);
const TWO = keyOf(2);
/** The order r of BLS12-381's groups. */
const ORDER = Buffer.from("73eda753299d7d483339d80809a1d80553bda402fffe5bfeffffffff00000001", "hex");
const refusal = (open: () => unknown): string => {
  try {
    open();
    return "opened";
  } catch (error) {
    return String(error);
  }
};

describe("a sealed key", () => {
  it("opens to the secret that was sealed", () => {
    const sealed = seal(SEALING_KEY, ONE.pubkey, ONE.secret);
    expect(sealed.length).toBe(60);
    expect(new Uint8Array(unseal(SEALING_KEY, ONE.pubkey, sealed))).toEqual(ONE.secret);
  });

  it("is sealed differently each time, and shows nothing of the secret", () => {
    const [first, second] = [seal(SEALING_KEY, ONE.pubkey, ONE.secret), seal(SEALING_KEY, ONE.pubkey, ONE.secret)];
    expect(Buffer.from(first.subarray(0, 12)).equals(second.subarray(0, 12))).toBe(false);
    expect(Buffer.from(first).includes(Buffer.from(ONE.secret.subarray(0, 8)))).toBe(false);
  });

  it("is refused after any bit flip", () => {
    const sealed = seal(SEALING_KEY, ONE.pubkey, ONE.secret);
    for (let bit = 0; bit < sealed.length * 8; bit += 1) {
      const altered = new Uint8Array(sealed);
      altered[bit >> 3] = (altered[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      expect(refusal(() => unseal(SEALING_KEY, ONE.pubkey, altered))).toContain("cannot be opened");
    }
  });

  it("is refused under another key's name: swapped ciphertexts", () => {
    const [one, two] = [ONE, TWO].map(({ pubkey, secret }) => seal(SEALING_KEY, pubkey, secret));
    expect(refusal(() => unseal(SEALING_KEY, TWO.pubkey, one as Uint8Array))).toContain("cannot be opened");
    expect(refusal(() => unseal(SEALING_KEY, ONE.pubkey, two as Uint8Array))).toContain("cannot be opened");
  });

  it("is refused when it was sealed for a name that is not its own", () => {
    const lying = seal(SEALING_KEY, TWO.pubkey, ONE.secret);
    expect(refusal(() => unseal(SEALING_KEY, TWO.pubkey, lying))).toContain("holds the secret of another public key");
  });

  it("is refused by another folder's key", () => {
    const sealed = seal(SEALING_KEY, ONE.pubkey, ONE.secret);
    expect(refusal(() => unseal(new Uint8Array(32).fill(0x52), ONE.pubkey, sealed))).toContain("another data folder");
  });

  it.each([0, 12, 28, 59, 61, 120])("is refused when it has %i bytes", (length) => {
    const padded = Buffer.concat([seal(SEALING_KEY, ONE.pubkey, ONE.secret), new Uint8Array(60)]);
    expect(refusal(() => unseal(SEALING_KEY, ONE.pubkey, padded.subarray(0, length)))).toContain("expected 60 bytes");
  });

  it("is refused when it holds no secret key", () => {
    const sealed = seal(SEALING_KEY, ONE.pubkey, new Uint8Array(32));
    expect(refusal(() => unseal(SEALING_KEY, ONE.pubkey, sealed))).toContain("expected 32 bytes in 1..r-1");
  });
});

describe("derivePubkey", () => {
  it("gives the key of EIP-2335's test secret", () => {
    const secret = Buffer.from("000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f", "hex");
    expect(Buffer.from(derivePubkey(secret)).toString("hex")).toBe(
      "9612d7a727c9d0a22e185a1c768478dfe919cada9266988cb32359c11f2b7b27f4ae4040902382ae2910c15e2b420d07",
    );
  });

  const belowOrder = Buffer.from(ORDER);
  belowOrder[31] = 0;
  it.each<[string, Uint8Array, boolean]>([
    ["zero", new Uint8Array(32), false],
    ["one", Uint8Array.from({ length: 32 }, (_, index) => Number(index === 31)), true],
    ["r - 1", belowOrder, true],
    ["r", ORDER, false],
    ["2^256 - 1", new Uint8Array(32).fill(0xff), false],
    ["31 bytes", new Uint8Array(31).fill(1), false],
    ["33 bytes", new Uint8Array(33).fill(1), false],
  ])("of %s", (_name, secret, isValid) => {
    expect(refusal(() => derivePubkey(secret))).toBe(
      isValid ? "opened" : "SignerError: bad_request: secret key: expected 32 bytes in 1..r-1 (BLS12-381 group order)",
    );
  });
});
