/** EIP-2335 keystores through the real thread. Vectors: https://eips.ethereum.org/EIPS/eip-2335#test-cases */

import { create } from "@chainsafe/bls-keystore";
import { afterAll, describe, expect, it } from "vitest";
import { createKeystoreOpener } from "#enclave/keys/keystore.ts";

const PASSWORD = "𝔱𝔢𝔰𝔱𝔭𝔞𝔰𝔰𝔴𝔬𝔯𝔡🔑";
const SECRET = Buffer.from("000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f", "hex");
const PUBKEY = "9612d7a727c9d0a22e185a1c768478dfe919cada9266988cb32359c11f2b7b27f4ae4040902382ae2910c15e2b420d07";
const OTHER_PUBKEY = "b89bebc699769726a318c8e9971bd3171297c61aea4a6578a7a4f94b547dcba5bac16a89108b6b6a1fe3695d1a874a0b";
const SALT = "d4e56740f876aef8c010b86a40d5f56745a118d0906a34e69aec8c0db1cb8fa3";
const IV = "264daa3f303d7259501c93d997d84fe6";

const SCRYPT_VECTOR = {
  crypto: {
    kdf: { function: "scrypt", params: { dklen: 32, n: 262144, p: 1, r: 8, salt: SALT }, message: "" },
    checksum: {
      function: "sha256",
      params: {},
      message: "d2217fe5f3e9a1e34581ef8a78f7c9928e436d36dacc5e846690a5581e8ea484",
    },
    cipher: {
      function: "aes-128-ctr",
      params: { iv: IV },
      message: "06ae90d55fe0a6e9c5c3bc5b170827b2e5cce3929ed3f116c2811e6366dfe20f",
    },
  },
  description: "This is a test keystore that uses scrypt to secure the secret.",
  pubkey: PUBKEY,
  path: "m/12381/60/3141592653/589793238",
  uuid: "1d85ae20-35c5-4611-98e8-aa14a633906f",
  version: 4,
};
const PBKDF2_VECTOR = {
  crypto: {
    kdf: { function: "pbkdf2", params: { dklen: 32, c: 262144, prf: "hmac-sha256", salt: SALT }, message: "" },
    checksum: {
      function: "sha256",
      params: {},
      message: "8a9f5d9912ed7e75ea794bc5a89bca5f193721d30868ade6f73043c6ea6febf1",
    },
    cipher: {
      function: "aes-128-ctr",
      params: { iv: IV },
      message: "cee03fde2af33149775b7223e7845e4fb2c8ae1792e5f99fe9ecf474cc8c16ad",
    },
  },
  description: "This is a test keystore that uses PBKDF2 to secure the secret.",
  pubkey: PUBKEY,
  path: "m/12381/60/0/0",
  uuid: "64625def-3331-4eea-ab6f-782f3ed16a83",
  version: 4,
};

const opener = createKeystoreOpener({ threads: 1 });
afterAll(() => opener.close());

const bytes = (value: unknown): Uint8Array => Buffer.from(typeof value === "string" ? value : JSON.stringify(value));
const open = async (keystore: unknown, password = PASSWORD): Promise<string> => {
  try {
    const opened = await opener.open(bytes(keystore), bytes(password));
    return `${Buffer.from(opened.pubkey).toString("hex")} ${Buffer.from(opened.secret).toString("hex")}`;
  } catch (error) {
    return String(error);
  }
};
const OPENED = `${PUBKEY} ${SECRET.toString("hex")}`;
/** A keystore of the same secret whose derivation costs nothing. */
const cheap = (params: object = {}, password = PASSWORD, secret: Uint8Array = SECRET) =>
  create(password, secret, Buffer.from(PUBKEY, "hex"), "m/12381/3600/0/0/0", null, {
    function: "pbkdf2",
    params: { dklen: 32, c: 2, prf: "hmac-sha256", salt: SALT, ...params },
  });
// biome-ignore lint/suspicious/noExplicitAny: keystores are mutated at every depth
const changed = async (change: (keystore: any) => void, params: object = {}) => {
  const keystore = structuredClone(await cheap(params));
  change(keystore);
  return keystore;
};

describe("the vectors of EIP-2335", () => {
  it.each([
    ["scrypt", SCRYPT_VECTOR],
    ["pbkdf2", PBKDF2_VECTOR],
  ])("open: %s", async (_name, vector) => {
    expect(await open(vector)).toBe(OPENED);
  });

  it.each([
    ["the password in plain letters, which NFKD makes equal", "testpassword🔑", true],
    ["control characters in it, which are stripped", "test\u0000pass\u007fword🔑\r\n", true],
    ["another password", "testpassword", false],
    ["no password", "", false],
    ["a space behind it", "testpassword🔑 ", false],
  ])("take %s", async (_name, password, opens) => {
    const outcome = await open(PBKDF2_VECTOR, password);
    expect(outcome).toBe(opens ? OPENED : "SignerError: bad_request: keystore: the password does not open it");
  });
});

describe("a keystore", () => {
  it("opens without a public key in it", async () => {
    expect(
      await open(
        await changed((keystore) => {
          delete keystore.pubkey;
        }),
      ),
    ).toBe(OPENED);
  });

  it("leaves the caller's bytes alone", async () => {
    const password = bytes(PASSWORD);
    await opener.open(bytes(await cheap()), password);
    expect(Buffer.from(password).toString()).toBe(PASSWORD);
  });

  it("opens among many at once, each to its own secret", async () => {
    const passwords = Array.from({ length: 8 }, (_, index) => `password ${index}`);
    const keystores = await Promise.all(passwords.map((password) => cheap({}, password)));
    expect(await Promise.all(keystores.map((keystore, index) => open(keystore, passwords[index])))).toEqual(
      passwords.map(() => OPENED),
    );
    expect(await open(keystores[0], passwords[1])).toContain("the password does not open it");
  });

  const MALFORMED: [name: string, keystore: unknown, reason: RegExp][] = [
    ["nothing", "", /expected JSON/],
    ["half of a file", JSON.stringify(PBKDF2_VECTOR).slice(0, 200), /expected JSON/],
    ["null", "null", /version 4 keystore/],
    ["an array", "[]", /version 4 keystore/],
    ["a deposit file", [{ pubkey: PUBKEY, amount: 32e9 }], /version 4 keystore/],
    ["version 3", { ...PBKDF2_VECTOR, version: 3 }, /version 4 keystore/],
    ["no crypto", { ...PBKDF2_VECTOR, crypto: undefined }, /version 4 keystore/],
    ["a public key that is no text", { ...PBKDF2_VECTOR, pubkey: 5 }, /version 4 keystore/],
  ];
  it.each(MALFORMED)("is refused when it is %s", async (_name, keystore, reason) => {
    expect(await open(keystore)).toMatch(reason);
  });

  it("is refused when it names another public key, or none that is one", async () => {
    const other = await changed((keystore) => {
      keystore.pubkey = OTHER_PUBKEY;
    });
    expect(await open(other)).toContain(`names ${OTHER_PUBKEY} but holds 0x${PUBKEY}`);
    const short = await changed((keystore) => {
      keystore.pubkey = PUBKEY.slice(2);
    });
    expect(await open(short)).toContain("expected an EIP-2335 version 4 keystore");
  });

  it("is refused when its checksum, ciphertext or salt was altered", async () => {
    for (const part of ["checksum", "cipher"]) {
      const altered = await changed((keystore) => {
        keystore.crypto[part].message = keystore.crypto[part].message.replace(/^../, (first: string) =>
          first === "00" ? "01" : "00",
        );
      });
      expect(await open(altered)).toContain("the password does not open it");
    }
  });

  it.each([
    ["16 bytes", Buffer.alloc(16, 1), /version 4 keystore/],
    ["33 bytes", Buffer.alloc(33, 1), /version 4 keystore/],
    ["zero", Buffer.alloc(32), /expected 32 bytes in 1\.\.r-1/],
    ["a number above the group order", Buffer.alloc(32, 0xff), /expected 32 bytes in 1\.\.r-1/],
  ])("is refused when its secret is %s", async (_name, secret, reason) => {
    expect(await open(await cheap({}, PASSWORD, secret))).toMatch(reason);
  });
});

describe("a derivation", () => {
  const scrypt = (params: object) => ({
    ...SCRYPT_VECTOR,
    crypto: {
      ...SCRYPT_VECTOR.crypto,
      kdf: { function: "scrypt", params: { dklen: 32, n: 1024, p: 1, r: 8, salt: SALT, ...params }, message: "" },
    },
  });
  const pbkdf2 = (params: object) => ({
    ...PBKDF2_VECTOR,
    crypto: {
      ...PBKDF2_VECTOR.crypto,
      kdf: { function: "pbkdf2", params: { dklen: 32, c: 2, prf: "hmac-sha256", salt: SALT, ...params }, message: "" },
    },
  });
  // Cheap ones are carried out: they fail by the password alone.
  const ROWS: [name: string, keystore: object, reason: RegExp][] = [
    ["scrypt of 1 MiB", scrypt({}), /password does not open/],
    ["scrypt of 1 GiB", scrypt({ n: 2 ** 20 }), /costs too much/],
    ["scrypt of 1 GiB by r", scrypt({ n: 2 ** 10, r: 2 ** 13 }), /costs too much/],
    ["scrypt four times", scrypt({ p: 4 }), /password does not open/],
    ["scrypt five times", scrypt({ p: 5 }), /costs too much/],
    ["scrypt of N beyond all numbers", scrypt({ n: 1e300 }), /costs too much/],
    ["pbkdf2 of 10,000,001 rounds", pbkdf2({ c: 10_000_001 }), /costs too much/],
    ["pbkdf2 of 10,000 rounds", pbkdf2({ c: 10_000 }), /password does not open/],
    ["pbkdf2 of no rounds", pbkdf2({ c: 0 }), /password does not open/],
    ["64 derived bytes", pbkdf2({ dklen: 64 }), /password does not open/],
    ["65 derived bytes", pbkdf2({ dklen: 65 }), /dklen: expected 32\.\.64, got 65/],
    ["31 derived bytes", pbkdf2({ dklen: 31 }), /dklen: expected 32\.\.64, got 31/],
    ["no derived bytes from scrypt", scrypt({ dklen: 0 }), /dklen: expected 32\.\.64, got 0/],
  ];
  it.each(ROWS)("is bounded: %s", async (_name, keystore, reason) => {
    const startedMs = performance.now();
    expect(await open(keystore)).toMatch(reason);
    expect(performance.now() - startedMs).toBeLessThan(2_000);
  });

  it("too short to check a password is refused, for any password would open it to a wrong secret", async () => {
    const keystore = await changed(
      (each) => {
        delete each.pubkey;
      },
      { dklen: 16 },
    );
    for (const password of [PASSWORD, "anything"]) expect(await open(keystore, password)).toContain("dklen");
  });
});
