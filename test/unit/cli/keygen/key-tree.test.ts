/** Keys from seeds: the published vectors of EIP-2333, and keys that the official deposit tool made. */

import { SecretKey } from "@chainsafe/blst";
import { describe, expect, it } from "vitest";
import { createKeyTree, deriveSecret, signingPath } from "../../../../cli/keygen/key-tree.ts";
import { seedOf } from "../../../../cli/keygen/mnemonic.ts";
import { DEPOSIT_TOOL_KEYS, DEPOSIT_TOOL_MNEMONIC } from "./deposit-tool-vectors.ts";

const decimal = (key: SecretKey): string => BigInt(`0x${Buffer.from(key.toBytes()).toString("hex")}`).toString();

describe("EIP-2333", () => {
  // EIP-2333, "Test Cases" 0 to 3.
  it.each([
    [
      "c55257c360c07c72029aebc1b53c05ed0362ada38ead3e3e9efa3708e53495531f09a6987599d18264c1e1c92f2cf141630c7a3c4ab7c81b2f001698e7463b04",
      "6083874454709270928345386274498605044986640685124978867557563392430687146096",
      0,
      "20397789859736650942317412262472558107875392172444076792671091975210932703118",
    ],
    [
      "3141592653589793238462643383279502884197169399375105820974944592",
      "29757020647961307431480504535336562678282505419141012933316116377660817309383",
      3141592653,
      "25457201688850691947727629385191704516744796114925897962676248250929345014287",
    ],
    [
      "0099FF991111002299DD7744EE3355BBDD8844115566CC55663355668888CC00",
      "27580842291869792442942448775674722299803720648445448686099262467207037398656",
      4294967295,
      "29358610794459428860402234341874281240803786294062035874021252734817515685787",
    ],
    [
      "d4e56740f876aef8c010b86a40d5f56745a118d0906a34e69aec8c0db1cb8fa3",
      "19022158461524446591288038168518313374041767046816487870552872741050760015818",
      42,
      "31372231650479070279774297061823572166496564838472787488249775572789064611981",
    ],
  ])("seed %s", (seedHex, master, childIndex, child) => {
    const seed = new Uint8Array(Buffer.from(seedHex, "hex"));
    expect(decimal(deriveSecret(seed, []))).toBe(master);
    expect(decimal(deriveSecret(seed, [childIndex]))).toBe(child);
  });
});

describe("EIP-2334", () => {
  it("names the path of a signing key", () => {
    expect([0, 7, 2 ** 32 - 1].map(signingPath)).toEqual([
      "m/12381/3600/0/0/0",
      "m/12381/3600/7/0/0",
      "m/12381/3600/4294967295/0/0",
    ]);
  });

  it("puts the signing key below the withdrawal key, both along their paths", async () => {
    const seed = await seedOf(DEPOSIT_TOOL_MNEMONIC);
    const key = createKeyTree(seed).at(5);
    const secret = deriveSecret(seed, [12_381, 3600, 5, 0, 0]);
    expect(key.path).toBe("m/12381/3600/5/0/0");
    expect(key.secretBytes()).toEqual(secret.toBytes());
    expect(key.pubkey).toEqual(secret.toPublicKey().toBytes(true));
    expect(key.withdrawalPubkey).toEqual(deriveSecret(seed, [12_381, 3600, 5, 0]).toPublicKey().toBytes(true));
    expect(key.sign(new Uint8Array(32))).toEqual(secret.sign(new Uint8Array(32)).toBytes(true));
  });

  it("gives the keys that the official deposit tool gives", async () => {
    const tree = createKeyTree(await seedOf(DEPOSIT_TOOL_MNEMONIC));
    const made = DEPOSIT_TOOL_KEYS.map((_, index) => {
      const key = tree.at(index);
      return {
        pubkey: Buffer.from(key.pubkey).toString("hex"),
        secret: Buffer.from(key.secretBytes()).toString("hex"),
      };
    });
    expect(made).toEqual(DEPOSIT_TOOL_KEYS.map(({ pubkey, secret }) => ({ pubkey, secret })));
  });

  it("needs the seed no more once the tree stands, and gives copies of secrets", async () => {
    const seed = await seedOf(DEPOSIT_TOOL_MNEMONIC);
    const tree = createKeyTree(seed);
    seed.fill(0);
    const key = tree.at(0);
    key.secretBytes().fill(0);
    expect(Buffer.from(key.secretBytes()).toString("hex")).toBe(DEPOSIT_TOOL_KEYS[0].secret);
    expect(SecretKey.fromBytes(key.secretBytes()).toPublicKey().toBytes(true)).toEqual(key.pubkey);
  });
});
