import { writeFileSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { findNsm } from "#enclave/attested/nsm-here.ts";
import { createUnsealer } from "#enclave/attested/unsealer.ts";
import { PORT_NSM } from "#protocol/limits.ts";
import { makeSocketFolder } from "../../../helpers/socket-folder.ts";

let folder: ReturnType<typeof makeSocketFolder>;
let asked: number[];
beforeEach(() => {
  folder = makeSocketFolder();
  asked = [];
});
afterEach(() => folder.remove());

const connectParent = async (port: number): Promise<never> => {
  asked.push(port);
  throw new Error("nobody there");
};

describe("the security module of this enclave", () => {
  it("is the parent's where there is no device", async () => {
    const { nsm, isDevelopment } = findNsm({ connectParent }, { devicePath: folder.path("nsm") });
    expect(isDevelopment).toBe(true);
    await expect(nsm.attest({})).rejects.toThrow();
    expect(asked).toEqual([PORT_NSM]);
  });

  it("is never the parent's where there is a device, even one that does not work", async () => {
    writeFileSync(folder.path("nsm"), "");
    const attest = async () => findNsm({ connectParent }, { devicePath: folder.path("nsm") }).nsm.attest({});
    await expect(attest()).rejects.toThrow(/nsm/i);
    expect(asked).toEqual([]);
  });

  it.each([[{ kmsEndpoint: "https://localhost:1" }], [{ kmsCa: "-----BEGIN CERTIFICATE-----" }]])(
    "with a device refuses a KMS of the parent's choice: %j",
    async (choices) => {
      const attest = async () => new Uint8Array(10);
      const world = { connectParent, now: () => 0, random: () => 0 };
      const unsealer = await createUnsealer({ nsm: { attest }, isDevelopment: false, ...world });
      const configuration = {
        document: new Uint8Array(),
        signature: new Uint8Array(),
        secretsHeader: new Uint8Array(),
        sealedSecrets: new Uint8Array(),
      };
      const credentials = { accessKeyId: "a", secretAccessKey: "b" };
      await expect(unsealer.unseal({ configuration, credentials }, choices)).rejects.toMatchObject({
        code: "bad_request",
        detail: expect.stringContaining("--kms-endpoint"),
      });
    },
  );
});
