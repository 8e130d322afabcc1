/** Which signer an enclave gets, what the log says of it, and that a signer that signs wrongly stops the enclave. */

import { describe, expect, test } from "vitest";
import { openSigner } from "#enclave/engine/backend.ts";
import type { LoadedSigner, NativeSigner } from "#enclave/native/signer.ts";
import { createLogger } from "#protocol/log.ts";
import type { SignerChoice } from "#protocol/messages/signer.ts";
import { openNative } from "../native/native.ts";

const native = await openNative();

const open = (choice: SignerChoice, load: () => LoadedSigner) => {
  const lines: string[] = [];
  const logger = createLogger({ process: "test", level: "info", write: (line) => lines.push(line) });
  try {
    return { kind: openSigner(choice, { logger, load }).kind, lines };
  } catch (error) {
    const { code, detail } = error as { code: string; detail: string };
    return { code, detail, lines };
  }
};
const missing = (): LoadedSigner => ({ kind: "missing", reason: "no addon here" });
const loaded = (signer: NativeSigner) => (): LoadedSigner => ({ kind: "loaded", signer });

describe("without the addon", () => {
  test("the portable signer is used, and one line says so and why", () => {
    const { kind, lines } = open("auto", missing);
    expect(kind).toBe("portable");
    expect(lines.length).toBe(1);
    expect(lines[0]).toMatch(/@chainsafe\/blst.*no addon here/);
  });

  test("--require-native is an error that says why and what to do", () => {
    expect(open("native", missing)).toEqual({
      code: "unavailable",
      detail: expect.stringMatching(/no addon here.*npm run build:native/),
      lines: [],
    });
  });
});

test("--no-native does not even look for the addon", () => {
  const load = (): LoadedSigner => {
    throw new Error("looked for");
  };
  expect(open("portable", load).kind).toBe("portable");
});

describe.skipIf(native === undefined)("with the addon", () => {
  const signer = native as NativeSigner;

  test.each(["auto", "native"] as const)("%s takes it, and one line says so", (choice) => {
    const { kind, lines } = open(choice, loaded(signer));
    expect(kind).toBe("native");
    expect(lines.length).toBe(1);
    expect(lines[0]).toContain("native signer");
  });

  test.each(["auto", "native"] as const)("%s stops when it signs wrongly: there is no second choice", (choice) => {
    const wrong: NativeSigner = {
      ...signer,
      signGroup: (root, handles, signatures, expected) => {
        const path = signer.signGroup(root, handles, signatures, expected);
        signatures[95] = (signatures[95] as number) ^ 1;
        return path;
      },
    };
    expect(open(choice, loaded(wrong))).toEqual({
      code: "internal",
      detail: expect.stringContaining("known-answer test"),
      lines: [],
    });
    expect(signer.stats().keys).toBe(0);
  });
});
