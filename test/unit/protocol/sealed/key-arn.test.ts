/** Key ARNs, and the endpoints that follow from them. */

import { describe, expect, test } from "vitest";
import { createKmsClient } from "#enclave/kms/kms-client.ts";
import { createRecipient } from "#enclave/kms/recipient.ts";
import { parseKeyArn } from "#protocol/sealed/key-arn.ts";

const ID = "1234abcd-12ab-34cd-56ef-1234567890ab";

describe("a key ARN", () => {
  test.each([
    [`arn:aws:kms:eu-central-1:111122223333:key/${ID}`, "eu-central-1", "kms.eu-central-1.amazonaws.com"],
    [
      "arn:aws:kms:us-east-1:111122223333:key/mrk-1234abcd12ab34cd56ef1234567890ab",
      "us-east-1",
      "kms.us-east-1.amazonaws.com",
    ],
    [`arn:aws-us-gov:kms:us-gov-west-1:111122223333:key/${ID}`, "us-gov-west-1", "kms.us-gov-west-1.amazonaws.com"],
    [`arn:aws-cn:kms:cn-north-1:111122223333:key/${ID}`, "cn-north-1", "kms.cn-north-1.amazonaws.com.cn"],
    [`arn:aws-iso-b:kms:us-isob-east-1:111122223333:key/${ID}`, "us-isob-east-1", undefined],
  ])("%s names its region and host", (arn, region, host) => {
    expect(parseKeyArn(arn)).toEqual({ arn, region, host });
  });

  test.each([
    "",
    ID,
    "alias/testudo",
    "arn:aws:kms:eu-central-1:111122223333:alias/testudo",
    `arn:aws:kms:eu-central-1:11112222333:key/${ID}`,
    `arn:aws:kms:eu-central-1:111122223333:key/${ID}\n`,
    `arn:aws:kms:eu-central-1.evil.example:111122223333:key/${ID}`,
    `arn:aws:kms::111122223333:key/${ID}`,
    `arn:evil:kms:eu-central-1:111122223333:key/${ID}`,
    `arn:aws:s3:eu-central-1:111122223333:key/${ID}`,
    `arn:aws:kms:eu-central-1:111122223333:key/${"a".repeat(65)}`,
    `arn:aws:kms:eu-central-1:111122223333:key/${"a".repeat(100_000)}`,
  ])("is not %s", (text) => {
    expect(() => parseKeyArn(text)).toThrow(/^bad_request: KMS key: expected arn:aws:kms:/);
  });
});

describe("the endpoint of a client", async () => {
  const recipient = await createRecipient({ attest: async () => new Uint8Array(1) });
  const modules = { recipient, connect: () => Promise.reject(new Error("unused")), now: () => 0, random: () => 0 };
  const keyArn = `arn:aws:kms:eu-central-1:111122223333:key/${ID}`;

  test.each([
    [undefined, "kms.eu-central-1.amazonaws.com", 443],
    ["https://localhost:8443", "localhost", 8443],
    ["https://localhost:8443/", "localhost", 8443],
    ["https://vpce-1.kms.eu-central-1.vpce.amazonaws.com", "vpce-1.kms.eu-central-1.vpce.amazonaws.com", 443],
    ["https://127.0.0.1:1", "127.0.0.1", 1],
    ["https://[::1]:1", "::1", 1],
  ])("%s leads to %s, port %i", (endpoint, host, port) => {
    const client = createKmsClient({ keyArn, endpoint }, modules);
    expect({ host: client.host, port: client.port }).toEqual({ host, port });
  });

  test.each([
    "http://localhost",
    "localhost:1",
    "",
    "https://user@localhost",
    "https://localhost/path",
    "https://localhost?a",
    "https://localhost#a",
  ])("is not %s", (endpoint) => {
    expect(() => createKmsClient({ keyArn, endpoint }, modules)).toThrow(/^bad_request: KMS endpoint: expected https:/);
  });

  test("has to be named where the partition is not known", () => {
    const isolated = `arn:aws-iso:kms:us-iso-east-1:111122223333:key/${ID}`;
    expect(() => createKmsClient({ keyArn: isolated }, modules)).toThrow(/^bad_request: .*name the endpoint/);
    expect(createKmsClient({ keyArn: isolated, endpoint: "https://kms.test" }, modules).host).toBe("kms.test");
  });

  test.each([0, 6145])("takes no wrapped key of %i bytes", async (length) => {
    const session = createKmsClient({ keyArn }, modules).session({ accessKeyId: "A", secretAccessKey: "B" });
    await expect(session.decryptDataKey(new Uint8Array(length), {})).rejects.toThrow(
      /^bad_request: wrapped data key: expected 1\.\.6144/,
    );
    session.close();
  });
});
