/** The known-answer test: its vectors are @chainsafe/blst's, it passes on the addon, and notices every kind of fault. */

import { createHash } from "node:crypto";
import { SecretKey } from "@chainsafe/blst";
import { describe, expect, test } from "vitest";
import { KNOWN_ANSWERS, KNOWN_SECRETS } from "#enclave/native/known-answers.ts";
import { knownAnswerTest, type NativeSigner, SIGN_PATH } from "#enclave/native/signer.ts";
import { SignerError } from "#protocol/errors.ts";
import { hex, openNative } from "./native.ts";

const native = await openNative();
const signer = native as NativeSigner;

test("the vectors are what @chainsafe/blst makes of their keys", () => {
  for (const { rootByte, first, digest } of KNOWN_ANSWERS) {
    const root = new Uint8Array(32).fill(rootByte);
    const signatures = KNOWN_SECRETS.map((secret) => SecretKey.fromHex(secret).sign(root).toBytes(true));
    expect(signatures.slice(0, first.length).map((signature) => `0x${hex(signature)}`)).toEqual(first);
    expect(`0x${createHash("sha256").update(Buffer.concat(signatures)).digest("hex")}`).toBe(digest);
  }
  expect(KNOWN_SECRETS.length).toBeGreaterThan(16);
});

type SignGroup = NativeSigner["signGroup"];
/** A signer that does one thing differently. */
const altered = (change: Partial<NativeSigner>): NativeSigner => ({ ...signer, ...change });
const alteredSign = (alter: (path: number, args: Parameters<SignGroup>) => number): NativeSigner =>
  altered({ signGroup: (...args) => alter(signer.signGroup(...args), args) });
const flip = (signatures: Uint8Array, position: number): void => {
  signatures[position] = (signatures[position] ?? 0) ^ 1;
};

describe.skipIf(native === undefined)("the known-answer test", () => {
  test("passes on the addon, again and again, quickly, and leaves no key behind", () => {
    const kept = signer.importKey(new Uint8Array(32).fill(3));
    knownAnswerTest(signer);
    const times = Array.from({ length: 5 }, () => {
      const before = signer.threadCpuNanos();
      knownAnswerTest(signer);
      return (signer.threadCpuNanos() - before) / 1e6;
    });
    expect(signer.stats().keys).toBe(1);
    expect(signer.removeKey(kept)).toBe(true);
    // 10 ms on an idle machine.
    expect(Math.min(...times)).toBeLessThan(40);
  });

  const faults: readonly (readonly [string, () => NativeSigner])[] = [
    [
      "a wrong bit in a signature made with a table",
      () =>
        alteredSign((path, [, , signatures]) => {
          if (path & SIGN_PATH.tableUsed && signatures.length > 96 * 4) flip(signatures, 96 * 19 + 95);
          return path;
        }),
    ],
    [
      "a wrong bit in a signature made without a table",
      () =>
        alteredSign((path, [, , signatures]) => {
          if (path === 0) flip(signatures, 95);
          return path;
        }),
    ],
    ["a table that is never used", () => alteredSign((path) => path & ~SIGN_PATH.tableUsed)],
    ["a table that is always used", () => alteredSign((path) => path | SIGN_PATH.tableUsed)],
    ["a removal that does nothing", () => altered({ removeKey: () => true })],
    ["a removal that finds nothing", () => altered({ removeKey: () => false })],
    [
      "a secret that is not zero-filled",
      () => altered({ importKey: (secret) => signer.importKey(Uint8Array.from(secret)) }),
    ],
    [
      "a signer that throws",
      () =>
        altered({
          signGroup: () => {
            throw new Error("broken");
          },
        }),
    ],
  ];
  test.each(faults)("throws internal at %s", (_, make) => {
    expect(() => knownAnswerTest(make())).toThrow(SignerError);
    expect(() => knownAnswerTest(make())).toThrow(expect.objectContaining({ code: "internal" }));
    signer.removeAllKeys();
  });
});
