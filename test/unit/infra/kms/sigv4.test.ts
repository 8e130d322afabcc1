/** Signatures of requests: those of the SDK hold, and nothing under them can be changed. */

import { DecryptCommand, KMSClient } from "@aws-sdk/client-kms";
import { beforeAll, describe, expect, test } from "vitest";
import type { KmsFault } from "#infra/local/kms/errors.ts";
import { type SignedRequest, verifySignature } from "#infra/local/kms/sigv4.ts";
import { CREDENTIALS } from "../../../helpers/kms.ts";

let signed: SignedRequest;

/** A request as the unmodified SDK signs it. */
beforeAll(async () => {
  const { principal: _principal, ...credentials } = CREDENTIALS;
  const handle = async (request: {
    method: string;
    path: string;
    headers: Record<string, string>;
    body: Uint8Array;
  }) => {
    const { method, path: url, headers, body } = request;
    const lower = Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]));
    signed = { method, url, headers: { ...lower, host: "kms.test" }, body: Buffer.concat([body]) };
    throw new Error("seen");
  };
  const requestHandler = { handle } as never;
  const client = new KMSClient({
    region: "eu-central-1",
    endpoint: "https://kms.test",
    credentials: credentials as never,
    requestHandler,
    maxAttempts: 1,
  });
  await expect(client.send(new DecryptCommand({ CiphertextBlob: new Uint8Array(9) }))).rejects.toThrow("seen");
});

const verify = (
  change: Partial<SignedRequest> = {},
  options: Partial<Parameters<typeof verifySignature>[1]> = {},
): string => {
  const settings = { credentials: [CREDENTIALS], region: "eu-central-1", nowMs: Date.now(), ...options };
  try {
    return verifySignature({ ...signed, ...change }, settings).accessKeyId;
  } catch (error) {
    return (error as KmsFault).type;
  }
};
const header = (name: string, value: string | undefined): Partial<SignedRequest> => ({
  headers: { ...signed.headers, [name]: value },
});
const authorization = (from: string | RegExp, to: string): Partial<SignedRequest> =>
  header("authorization", String(signed.headers.authorization).replace(from, to));

describe("a signature", () => {
  test("of the SDK holds", () => {
    expect(verify()).toBe(CREDENTIALS.accessKeyId);
    expect(verify({}, { credentials: [{ ...CREDENTIALS, accessKeyId: "AKIAOTHER" }, CREDENTIALS] })).toBe(
      CREDENTIALS.accessKeyId,
    );
  });

  test.each<[string, () => Partial<SignedRequest>, string]>([
    ["another body", () => ({ body: Buffer.from("{}") }), "InvalidSignatureException"],
    ["another path", () => ({ url: "/other" }), "InvalidSignatureException"],
    ["a query", () => ({ url: "/?a=b" }), "InvalidSignatureException"],
    ["another method", () => ({ method: "PUT" }), "InvalidSignatureException"],
    ["another operation", () => header("x-amz-target", "TrentService.Encrypt"), "InvalidSignatureException"],
    ["another host", () => header("host", "kms.evil"), "InvalidSignatureException"],
    ["a header that AWS reads and nobody signed", () => header("x-amz-more", "1"), "InvalidSignatureException"],
    ["another signature", () => authorization(/Signature=.{4}/, "Signature=0000"), "InvalidSignatureException"],
    ["a shorter list of headers", () => authorization(/;x-amz-target/, ""), "InvalidSignatureException"],
    ["another region", () => authorization("eu-central-1", "us-east-1"), "InvalidSignatureException"],
    ["another service", () => authorization("/kms/", "/s3/"), "InvalidSignatureException"],
    ["another day", () => authorization(/\/\d{8}\//, "/20200101/"), "IncompleteSignatureException"],
    ["another date", () => header("x-amz-date", "20200101T000000Z"), "IncompleteSignatureException"],
    ["no date", () => header("x-amz-date", undefined), "IncompleteSignatureException"],
    ["no authorization", () => header("authorization", undefined), "MissingAuthenticationTokenException"],
    ["another scheme", () => header("authorization", "Bearer x"), "IncompleteSignatureException"],
    ["another access key", () => authorization(CREDENTIALS.accessKeyId, "AKIANOBODY"), "UnrecognizedClientException"],
    ["another token", () => header("x-amz-security-token", "x"), "UnrecognizedClientException"],
    ["no token", () => header("x-amz-security-token", undefined), "UnrecognizedClientException"],
  ])("does not hold with %s", (_name, change, type) => {
    expect(verify(change())).toBe(type);
  });

  test("does not hold under another secret", () => {
    expect(verify({}, { credentials: [{ ...CREDENTIALS, secretAccessKey: "other" }] })).toBe(
      "InvalidSignatureException",
    );
  });

  test("holds five minutes, either way", () => {
    const minutes = (count: number): string => verify({}, { nowMs: Date.now() + count * 60_000 });
    expect([-4.9, 4.9].map(minutes)).toEqual([CREDENTIALS.accessKeyId, CREDENTIALS.accessKeyId]);
    expect([-5.1, 5.1].map(minutes)).toEqual(["InvalidSignatureException", "InvalidSignatureException"]);
  });

  test("of a token that is over is told apart from a wrong one", () => {
    const nowMs = Date.now();
    const until = (expiresAtMs: number): string =>
      verify({}, { nowMs, credentials: [{ ...CREDENTIALS, expiresAtMs }] });
    expect([until(nowMs + 1), until(nowMs)]).toEqual([CREDENTIALS.accessKeyId, "ExpiredTokenException"]);
  });
});
