/** What an enclave says about itself to clients. */

import { createHash } from "node:crypto";
import { describe, expect, it } from "vitest";
import { createWitness } from "#enclave/attested/witness.ts";
import type { Nsm } from "#enclave/kms/nsm.ts";
import { heldKeysDigest } from "#protocol/attestation/held-keys.ts";
import { decodeAttestOutcome, encodeAttestOutcome } from "#protocol/messages/attest.ts";

const NONCE = new Uint8Array(32).fill(7);
const keyOf = (byte: string): string => `0x${byte.repeat(48)}`;

/** Gives the request back, as text. */
const echo: Nsm = {
  attest: async ({ publicKey, userData, nonce }) => {
    const hex = (bytes: Uint8Array | undefined) => (bytes === undefined ? null : Buffer.from(bytes).toString("hex"));
    return Buffer.from(JSON.stringify([hex(publicKey), hex(userData), hex(nonce)]));
  },
};
const said = (bytes: Uint8Array): unknown => JSON.parse(Buffer.from(bytes).toString());

describe("the digest of held keys", () => {
  it("is SHA-256 over the domain and the sorted keys", () => {
    const keys = Buffer.concat([Buffer.alloc(48, 0x0a), Buffer.alloc(48, 0xb0)]);
    const expected = createHash("sha256").update("testudo keys held v1\n").update(keys).digest();
    expect(Buffer.from(heldKeysDigest([keyOf("b0"), keyOf("0a")]))).toEqual(expected);
    expect(heldKeysDigest([keyOf("0a")])).not.toEqual(heldKeysDigest([keyOf("b0")]));
    expect(heldKeysDigest([])).not.toEqual(heldKeysDigest([keyOf("00")]));
  });
});

describe("a witness", () => {
  it("binds nonce and keys, no public key, and follows the keys", async () => {
    const held = new Set([keyOf("01")]);
    const witness = createWitness(held);
    const expected = () => [null, Buffer.from(heldKeysDigest(held)).toString("hex"), "07".repeat(32)];
    const ask = async () => {
      const outcome = await witness.attest(NONCE, echo);
      return outcome.kind === "attested" ? said(outcome.document) : outcome.kind;
    };
    expect(await ask()).toEqual(expected());
    held.add(keyOf("02"));
    witness.keysChanged();
    expect(await ask()).toEqual(expected());
  });

  it("has nothing to say in development mode", async () => {
    expect(await createWitness([]).attest(NONCE, undefined)).toEqual({ kind: "development" });
  });

  it.each([15, 65])("refuses a nonce of %d bytes", async (length) => {
    await expect(createWitness([]).attest(new Uint8Array(length), echo)).rejects.toThrow(
      `nonce: expected 16..64 bytes, got ${length}`,
    );
  });

  it("makes four documents at a time, and more afterwards, also when the module fails", async () => {
    const { promise, reject } = Promise.withResolvers<Uint8Array>();
    const witness = createWitness([]);
    const hanging = Array.from({ length: 4 }, () => witness.attest(NONCE, { attest: () => promise }));
    await expect(witness.attest(NONCE, echo)).rejects.toMatchObject({ code: "overloaded" });
    reject(new Error("module"));
    for (const each of await Promise.allSettled(hanging)) expect(each.status).toBe("rejected");
    expect(await witness.attest(NONCE, echo)).toMatchObject({ kind: "attested" });
  });
});

describe("its wire form", () => {
  it.each([{ kind: "development" }, { kind: "attested", document: new Uint8Array(0x3000).fill(1) }] as const)(
    "comes back: %#",
    (outcome) => expect(decodeAttestOutcome(encodeAttestOutcome(outcome))).toEqual(outcome),
  );
  it.each([
    ["nothing", []],
    ["another kind", [2, 1]],
    ["no document", [1]],
    ["a tail", [0, 1]],
    ["a long document", new Array(0x3002).fill(1)],
  ])("is refused with %s", (_, bytes) => {
    expect(() => decodeAttestOutcome(Uint8Array.from(bytes as number[]))).toThrow(
      expect.objectContaining({ code: "protocol_violation" }),
    );
  });
});
