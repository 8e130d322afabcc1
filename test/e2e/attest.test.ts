/** `testudo attest` as an operator meets it: documents of AWS and of a development machine, shown and verified. */

import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, it } from "vitest";
import { openDevelopmentAuthority } from "../../infra/local/nsm/authority.ts";
import { measureWorker, pcrsOfWorker } from "../../infra/local/nsm/measure.ts";
import { createSoftwareNsm } from "../../infra/local/nsm/software-nsm.ts";
import { decodeAttestationResponse, encodeAttestationRequest } from "../../protocol/attestation/nsm-messages.ts";
import { toHex } from "../../protocol/bytes.ts";
import { createTestbed } from "../helpers/testudo.ts";
import {
  REAL_PCR0,
  realDocument,
  realDocumentText,
  withRealDocument,
} from "../unit/protocol/attestation/real-document.ts";

const bed = createTestbed();
const folder = mkdtempSync(join(tmpdir(), "testudo-attest-"));
afterAll(async () => {
  await bed.close();
  rmSync(folder, { recursive: true, force: true });
});

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const AT = ["--at", "2026-01-03T21:00:00Z"];

/** Runs the command with bytes on its standard input. */
const runWithInput = (
  args: readonly string[],
  input: Uint8Array,
): Promise<{ code: number | null; stdout: string; stderr: string }> =>
  new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [join(ROOT, "cli/main.ts"), ...args], { timeout: 30_000 });
    let stdout = "";
    let stderr = "";
    child.stdout.on("data", (chunk) => (stdout += chunk));
    child.stderr.on("data", (chunk) => (stderr += chunk));
    child.once("error", reject);
    child.once("close", (code) => resolve({ code, stdout, stderr }));
    child.stdin.on("error", () => undefined); // it may refuse before it has read all
    child.stdin.end(input);
  });

describe.skipIf(realDocumentText === undefined)(withRealDocument("a production document"), () => {
  const file = join(folder, "production.b64");
  writeFileSync(file, realDocumentText ?? "");

  it("is shown in full, and not called genuine", async () => {
    const { code, stdout, stderr } = await bed.run("attest", "show", file);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    for (const part of [
      "module      i-0368fa67e156d6d23-enc019b8596b1a9dad6",
      "made at     2026-01-03T20:41:07.402Z",
      `PCR0        ${REAL_PCR0}`,
      "zeros       PCR3, PCR5, ",
      "nonce       none",
      "user data   69553adc61d6e9fcdecbe1ea49bb2b52a60238e0  20 bytes",
      "public key  none",
      "0  aws.nitro-enclaves  (the bytes of AWS's root G1)",
      "2026-01-03T20:40:25.000Z to 2026-01-03T23:40:28.000Z",
      "Not verified",
    ]) {
      expect(stdout).toContain(part);
    }
    expect(stdout).not.toContain("genuine");
  });

  it("is verified at its time", async () => {
    const { code, stdout, stderr } = await bed.run("attest", "verify", file, "--pcr0", REAL_PCR0, ...AT);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout).toMatch(/^genuine: i-0368fa67e156d6d23-enc019b8596b1a9dad6, made at 2026-01-03T20:41:07\.402Z/);
    expect(stdout).toContain("signed by   AWS (Nitro root G1)");
    expect(stdout).toContain("no nonce was expected");
  });

  it("is read from standard input, as bytes and as base64", async () => {
    const args = ["attest", "verify", "-", "--pcr0", `0x${REAL_PCR0.toUpperCase()}`, ...AT];
    expect(await runWithInput(args, realDocument)).toMatchObject({ code: 0, stderr: "" });
    expect(await runWithInput(args, Buffer.from(realDocumentText ?? ""))).toMatchObject({ code: 0, stderr: "" });
  });

  it.each<[name: string, args: readonly string[], text: RegExp]>([
    ["now", ["--pcr0", REAL_PCR0], /^refused: certificate_expired\n.*valid until 2026-.*\n.*--at/],
    ["before its time", ["--pcr0", REAL_PCR0, "--at", "2026-01-03T20:00:00Z"], /^refused: certificate_not_yet_valid\n/],
    [
      "of another image",
      ["--pcr0", REAL_PCR0.replace("4b", "4c"), ...AT],
      /^refused: wrong_pcr\n {2}PCR0: expected 0x4c8d.*got 0x4b8d/,
    ],
    ["with another PCR8", ["--pcr0", REAL_PCR0, "--pcr8", REAL_PCR0, ...AT], /^refused: wrong_pcr\n {2}PCR8/],
    [
      "with a nonce that it lacks",
      ["--pcr0", REAL_PCR0, "--nonce", "0x01", ...AT],
      /^refused: wrong_nonce\n {2}expected 0x01, got none/,
    ],
    ["with other user data", ["--pcr0", REAL_PCR0, "--user-data", "01", ...AT], /^refused: wrong_user_data\n/],
  ])("is refused %s, with the reason and what to do", async (_name, args, text) => {
    const { code, stdout, stderr } = await bed.run("attest", "verify", file, ...args);
    expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
    expect(stderr).toMatch(text);
    expect(stderr.trim().split("\n")).toHaveLength(3);
  });

  it("takes one of several values, and user data that are there", async () => {
    const pcr0 = `${REAL_PCR0.replace("4b", "4c")},${REAL_PCR0}`;
    const userData = ["--user-data", "69553adc61d6e9fcdecbe1ea49bb2b52a60238e0"];
    expect(await bed.run("attest", "verify", file, "--pcr0", pcr0, ...userData, ...AT)).toMatchObject({ code: 0 });
  });

  it("with a bit flipped, and cut short, is refused", async () => {
    const changed = realDocument.slice();
    changed[4400] = (changed[4400] as number) ^ 1;
    const args = ["attest", "verify", "-", "--pcr0", REAL_PCR0, ...AT];
    expect(await runWithInput(args, changed)).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/^refused: bad_signature/),
    });
    expect(await runWithInput(args, realDocument.subarray(0, 4000))).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/^refused: malformed_cbor/),
    });
  });
});

describe("a document of a development machine", () => {
  const now = Date.now();
  const authority = openDevelopmentAuthority(join(folder, "nsm"), now);
  const root = join(folder, "nsm", "nsm-root.pem");
  const measurement = measureWorker(ROOT);
  const pcr0 = toHex(measurement.pcr0);
  const nonce = Uint8Array.of(0xab, 0xcd);
  const pcrs = pcrsOfWorker(measurement, { instanceId: "i-development" });

  const mint = (name: string, of = pcrs): string => {
    const nsm = createSoftwareNsm({ authority, moduleId: "i-development-enc16", pcrs: of, now: () => now });
    const path = join(folder, name);
    writeFileSync(path, decodeAttestationResponse(nsm.answer(encodeAttestationRequest({ nonce }))));
    return path;
  };

  it("is verified with its root, and the answer says whose that is", async () => {
    const file = mint("local.bin");
    const verified = await bed.run("attest", "verify", file, "--pcr0", pcr0, "--nonce", "abcd", "--root", root);
    expect(verified).toMatchObject({ code: 0, stderr: "" });
    expect(verified.stdout).toContain(`the root of ${root}, NOT by AWS`);
    expect(verified.stdout).toContain("as expected PCR0, nonce");
    expect(verified.stdout).not.toContain("replay");
  });

  it("is refused without its root, and with another nonce", async () => {
    const file = mint("local2.bin");
    const withoutRoot = await bed.run("attest", "verify", file, "--pcr0", pcr0);
    expect(withoutRoot).toMatchObject({
      code: 1,
      stdout: "",
      stderr: expect.stringMatching(/^refused: untrusted_root.*--root/s),
    });
    const otherNonce = await bed.run("attest", "verify", file, "--pcr0", pcr0, "--nonce", "abce", "--root", root);
    expect(otherNonce).toMatchObject({ code: 1, stderr: expect.stringMatching(/^refused: wrong_nonce/) });
  });

  it("in debug mode is refused, whatever is expected", async () => {
    const zeros = new Uint8Array(48);
    const file = mint("debug.bin", new Map([0, 1, 2].map((index) => [index, zeros])));
    const verified = await bed.run("attest", "verify", file, "--pcr0", "00".repeat(48), "--root", root);
    expect(verified).toMatchObject({
      code: 1,
      stdout: "",
      stderr: expect.stringMatching(/^refused: debug_mode.*--debug-mode/s),
    });
  });
});

describe("wrong usage", () => {
  const file = join(folder, "any");
  writeFileSync(file, "anything");
  const large = join(folder, "large");
  writeFileSync(large, Buffer.alloc(64 * 1024 + 1));

  it.each<[args: string, code: number, text: RegExp]>([
    [`verify --pcr0 ${REAL_PCR0}`, 2, /expected either a file with a document or --url/],
    [`verify ${file}`, 2, /required option '--pcr0/],
    [`verify ${file} --pcr0 00`, 2, /--pcr0.*48 bytes of hex/s],
    [`verify ${file} --pcr0 ${REAL_PCR0},`, 2, /--pcr0.*48 bytes of hex/s],
    [`verify ${file} --pcr0 ${REAL_PCR0} --pcr5 ${REAL_PCR0}`, 2, /unknown option '--pcr5'/],
    [`verify ${file} --pcr0 ${REAL_PCR0} --at today`, 2, /--at.*with its zone/s],
    [`verify ${file} --pcr0 ${REAL_PCR0} --at 2026-01-03T21:00:00`, 2, /--at.*with its zone/s],
    [`verify ${file} --pcr0 ${REAL_PCR0} --at 2026-13-03T21:00:00Z`, 2, /--at.*with its zone/s],
    [`verify ${file} --pcr0 ${REAL_PCR0} --nonce xy`, 2, /--nonce.*hex/s],
    [`verify ${file} --pcr0 ${REAL_PCR0} --nonce 0x`, 2, /--nonce.*1\.\.512 bytes/s],
    [`verify ${file} --pcr0 ${REAL_PCR0} --root ${file}`, 2, /--root .*expected a certificate in PEM/],
    [`verify ${file} --pcr0 ${REAL_PCR0}`, 1, /refused: malformed_cbor/],
    ["show /no/such/file", 2, /\/no\/such\/file: cannot be read/],
    [`show ${folder}`, 2, /cannot be read/],
    [`show ${large}`, 2, /expected at most 65536 bytes/],
    [`show ${file}`, 1, /refused: malformed_cbor/],
  ])("testudo attest %s", async (args, code, text) => {
    const ended = await bed.run("attest", ...args.split(" "));
    expect(ended).toMatchObject({ code, stdout: "" });
    expect(ended.stderr).toMatch(text);
    expect(ended.stderr).not.toMatch(/^ {4}at /m);
  });

  it("more on standard input than a document has is refused", async () => {
    expect(await runWithInput(["attest", "show", "-"], readFileSync(large))).toMatchObject({ code: 2, stdout: "" });
  });

  it.each([
    ["attest", ["show", "verify"]],
    ["attest show", ["<file>", "base64", "Nothing of it is checked"]],
    ["attest verify", ["--pcr0", "--pcr8", "--at", "--nonce", "--user-data", "--root", "Exit codes", "Examples:"]],
  ])("--help of testudo %s teaches", async (command, parts) => {
    const { code, stdout } = await bed.run(...command.split(" "), "--help");
    expect(code).toBe(0);
    for (const part of parts) expect(stdout).toContain(part);
  });
});
