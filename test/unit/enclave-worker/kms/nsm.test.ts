/** The enclave's door to its NSM: what it asks, and what it makes of every answer. */

import { writeFileSync } from "node:fs";
import { afterAll, describe, expect, it } from "vitest";
import { createDeviceNsm } from "../../../../enclave-worker/kms/device-nsm.ts";
import { createNsm } from "../../../../enclave-worker/kms/nsm.ts";
import { decodeNsmRequest, encodeNsmResponse } from "../../../../protocol/attestation/nsm-messages.ts";
import { makeSocketFolder } from "../../../helpers/socket-folder.ts";
import { openNative } from "../native/native.ts";

describe("the port", () => {
  it("sends what it was given, and gives the document", async () => {
    const requests: unknown[] = [];
    const nsm = createNsm(async (request) => {
      requests.push(decodeNsmRequest(request));
      return encodeNsmResponse({ kind: "attestation", document: Uint8Array.of(1, 2, 3) });
    });
    const attestation = { publicKey: Uint8Array.of(4), userData: Uint8Array.of(), nonce: Uint8Array.of(5) };
    expect(await nsm.attest(attestation)).toEqual(Uint8Array.of(1, 2, 3));
    expect(requests).toEqual([{ kind: "attestation", attestation }]);
  });

  it("names a refusal, and an answer that is none", async () => {
    const refusing = createNsm(async () => encodeNsmResponse({ kind: "error", code: "InternalError" }));
    await expect(refusing.attest({})).rejects.toMatchObject({
      code: "unavailable",
      detail: expect.stringContaining("InternalError"),
    });
    const strange = createNsm(async () => Uint8Array.of(0));
    await expect(strange.attest({})).rejects.toMatchObject({ code: "protocol_violation" });
  });
});

describe("the device without the addon", () => {
  it("says how to get it", () => {
    expect(() => createDeviceNsm({ addonPath: "/no/such/addon.node" })).toThrow(/npm run build:native/);
  });
});

const native = await openNative();

describe.skipIf(native === undefined)("the device", () => {
  const folder = makeSocketFolder();
  const plainFile = folder.path("file");
  writeFileSync(plainFile, "");
  afterAll(() => folder.remove());

  it.each<[name: string, path: string, text: RegExp]>([
    ["that is not there", "/no/such/nsm", /\/no\/such\/nsm is not there \(ENOENT\): this is no Nitro Enclave/],
    ["that is another", "/dev/null", /\/dev\/null is no Nitro Security Module \(ENOTTY\)/],
    ["that is a file", plainFile, /is no Nitro Security Module \(ENOTTY\)/],
    ["that is a folder", "/tmp", /\/tmp: the Nitro Security Module could not be asked \(EISDIR\)/],
  ])("%s is a named failure", async (_name, path, text) => {
    const failure = createDeviceNsm({ path }).attest({});
    await expect(failure).rejects.toMatchObject({ code: "unavailable", detail: expect.stringMatching(text) });
  });

  it("is not asked for more than it takes", async () => {
    const failure = createDeviceNsm({ path: "/dev/null" }).attest({ publicKey: new Uint8Array(0x1001) });
    await expect(failure).rejects.toMatchObject({ code: "bad_request", detail: expect.stringContaining("4096") });
  });

  it.each<[name: string, args: unknown[]]>([
    ["no arguments", []],
    ["one argument", ["/dev/null"]],
    ["an empty path", ["", Uint8Array.of(1)]],
    ["too long a path", ["/".repeat(256), Uint8Array.of(1)]],
    ["a path with a zero in it", ["/dev/null\0x", Uint8Array.of(1)]],
    ["a path that is none", [1, Uint8Array.of(1)]],
    ["an empty request", ["/dev/null", new Uint8Array()]],
    ["too long a request", ["/dev/null", new Uint8Array(4097)]],
    ["a request of text", ["/dev/null", "DescribeNSM"]],
    ["a request of numbers", ["/dev/null", new Uint32Array(1)]],
    ["a shared request", ["/dev/null", new Uint8Array(new SharedArrayBuffer(8))]],
  ])("with %s is refused by the addon", (_name, args) => {
    const { nsmRequest } = native as unknown as { nsmRequest: (...all: unknown[]) => unknown };
    expect(() => nsmRequest(...args)).toThrow(expect.objectContaining({ code: "bad_argument" }));
  });

  it("answers many askers at once", async () => {
    const nsm = createDeviceNsm({ path: "/dev/null" });
    const answers = await Promise.allSettled(Array.from({ length: 50 }, () => nsm.attest({})));
    expect(answers.every(({ status }) => status === "rejected")).toBe(true);
  });
});
