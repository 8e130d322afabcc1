/** Keys, ciphertexts and certificates of the simulator, and the file that keeps them. */

import { X509Certificate } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { createAuthority, issueServer } from "#infra/local/kms/certificates.ts";
import { decryptUnder, encryptUnder, LocalKeys } from "#infra/local/kms/keys.ts";
import { loadState, saveState } from "#infra/local/kms/state.ts";
import { OPEN_POLICY } from "../../../helpers/kms.ts";

const OWNER = { region: "eu-central-1", account: "111122223333" };
const NOW_MS = Date.UTC(2026, 0, 1);

describe("a ciphertext", () => {
  const keys = new LocalKeys(OWNER);
  const key = keys.create(OPEN_POLICY, NOW_MS);
  const other = keys.create(OPEN_POLICY, NOW_MS);
  const plaintext = Buffer.from("a data key");

  test("names its key and opens under it with its context, in any order", () => {
    const blob = encryptUnder(key, { a: "1", b: "2" }, plaintext);
    expect(keys.ofCiphertext(blob)).toBe(key);
    expect(decryptUnder(key, { b: "2", a: "1" }, blob)).toEqual(plaintext);
  });

  test.each<[string, Record<string, string>]>([
    ["no context", {}],
    ["less of it", { a: "1" }],
    ["more of it", { a: "1", b: "2", c: "3" }],
    ["values exchanged", { a: "2", b: "1" }],
    ["the same text, split elsewhere", { a: "1b2" }],
  ])("does not open with %s", (_name, context) => {
    const blob = encryptUnder(key, { a: "1", b: "2" }, plaintext);
    expect(() => decryptUnder(key, context, blob)).toThrow(
      expect.objectContaining({ type: "InvalidCiphertextException" }),
    );
  });

  test("does not open under another key, or with any byte changed, or cut short", () => {
    const blob = encryptUnder(key, {}, plaintext);
    const refused = expect.objectContaining({ type: "InvalidCiphertextException" });
    expect(() => decryptUnder(other, {}, blob)).toThrow(refused);
    for (let at = 0; at < blob.length; at += 1) {
      const changed = Buffer.from(blob);
      changed[at] = (changed[at] ?? 0) ^ 1;
      expect(() => decryptUnder(keys.ofCiphertext(changed), {}, changed)).toThrow(refused);
    }
    for (let length = 0; length < blob.length; length += 1) {
      const cut = blob.subarray(0, length);
      expect(() => decryptUnder(keys.ofCiphertext(cut), {}, cut)).toThrow(refused);
    }
  });

  test("finds keys by id and by ARN, and no others", () => {
    expect(keys.find(key.id)).toBe(key);
    expect(keys.find(key.arn)).toBe(key);
    for (const name of ["", "x", key.arn.replace(OWNER.account, "0".repeat(12)), `${key.arn}0`, key.id.toUpperCase()]) {
      expect(() => keys.find(name)).toThrow(expect.objectContaining({ type: "NotFoundException" }));
    }
  });
});

describe("certificates", () => {
  const authority = createAuthority(NOW_MS);
  const ca = new X509Certificate(authority.certPem);

  test("an authority signs itself and is one", () => {
    expect(ca).toMatchObject({ ca: true, subject: "CN=Testudo local KMS CA", issuer: "CN=Testudo local KMS CA" });
    expect(ca.verify(ca.publicKey)).toBe(true);
  });

  test("a server's is for its names, under its authority, for its time", () => {
    const server = new X509Certificate(
      issueServer(authority, { names: ["localhost", "127.0.0.1"], nowMs: NOW_MS }).certPem,
    );
    expect(server.ca).toBe(false);
    expect(server.checkIssued(ca)).toBe(true);
    expect(server.verify(ca.publicKey)).toBe(true);
    expect(server.verify(new X509Certificate(createAuthority(NOW_MS).certPem).publicKey)).toBe(false);
    expect(server.subjectAltName).toBe("DNS:localhost, IP Address:127.0.0.1");
    expect(server.checkHost("localhost")).toBe("localhost");
    expect(server.checkIP("127.0.0.1")).toBe("127.0.0.1");
    expect(server.checkHost("other")).toBeUndefined();
    expect([server.validFromDate, server.validToDate]).toEqual([
      new Date(NOW_MS - 86_400_000),
      new Date(NOW_MS + 30 * 86_400_000),
    ]);
  });

  test("a time from 2050 on is written as such", () => {
    const late = new X509Certificate(createAuthority(Date.UTC(2049, 11, 31)).certPem);
    expect(late.validToDate.getUTCFullYear()).toBe(2059);
    expect(late.validFromDate.getUTCFullYear()).toBe(2049);
  });
});

describe("the file", () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "testudo-kms-"));
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));
  const load = (owner = OWNER) => loadState(folder, { ...owner, nowMs: NOW_MS });

  test("gives back what was written", () => {
    const { authority } = load();
    const keys = new LocalKeys(OWNER);
    keys.create(OPEN_POLICY, NOW_MS).enabled = false;
    saveState(folder, OWNER, { authority, keys: keys.all() });
    expect(load()).toEqual({ authority, keys: keys.all() });
  });

  test.each([
    ["cut short", (text: string) => text.slice(0, 50), /not JSON; remove it/],
    ["of another version", (text: string) => text.replace('"version": 1', '"version": 2'), /expected version 1/],
    ["null", () => "null", /expected version 1/],
    ["with a short key", (text: string) => text.replace(/("materialBase64": ")..../, "$1"), /a key is damaged/],
    ["with a policy that is none", (text: string) => text.replace('"Allow"', '"Maybe"'), /Effect/],
  ])("that is %s is refused", (_name, change, problem) => {
    const keys = new LocalKeys(OWNER);
    keys.create(OPEN_POLICY, NOW_MS);
    saveState(folder, OWNER, { authority: load().authority, keys: keys.all() });
    const path = join(folder, "kms.json");
    writeFileSync(path, change(readFileSync(path, "utf8")));
    expect(() => load()).toThrow(problem);
  });

  test("of another region is refused", () => {
    saveState(folder, OWNER, load());
    expect(() => load({ ...OWNER, region: "us-east-1" })).toThrow(/made for account 111122223333 in eu-central-1, not/);
  });
});
