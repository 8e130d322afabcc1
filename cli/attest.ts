/** `testudo attest`: look at attestation documents, and find out whether to believe them. */

import { X509Certificate } from "node:crypto";
import { closeSync, openSync, readFileSync, readSync } from "node:fs";
import { styleText } from "node:util";
import { Command, InvalidArgumentError, Option } from "commander";
import { NONCE_BYTES_MAX, PCR_BYTES, USER_DATA_BYTES_MAX } from "#protocol/attestation/document.ts";
import { createPcrPolicy, type PcrPolicy } from "#protocol/attestation/policy.ts";
import type { RejectedAttestation } from "#protocol/attestation/rejection.ts";
import { AWS_NITRO_ROOT_FINGERPRINT, awsNitroRoot } from "#protocol/attestation/root.ts";
import { readAttestation, verifyAttestation } from "#protocol/attestation/verify.ts";
import { SignerError } from "#protocol/errors.ts";
import { verifyLive } from "./attest-live.ts";
import { ADVICE, describeDocument, PCR_MEANINGS, timeText } from "./attestation-text.ts";

/** Longest file that is read: the largest document in base64, with room for lines and a word around it. */
const FILE_BYTES_MAX = 64 * 1024;
const BASE64 = /^[A-Za-z0-9+/\s]+={0,2}\s*$/;
const FILE_ARGUMENT = "file with the document, as raw bytes or base64; - reads standard input";
const PCR_INDICES = Object.keys(PCR_MEANINGS).map(Number);

/** Values of `attest verify`. */
interface VerifyValues {
  readonly [name: `pcr${number}`]: readonly Uint8Array[] | undefined;
  readonly at?: number;
  readonly nonce?: Uint8Array;
  readonly userData?: Uint8Array;
  readonly root?: string;
  readonly url?: string;
}

/** The command. */
export const attestCommand = (): Command =>
  new Command("attest")
    .description(
      "Attestation documents: an enclave's proof, signed by AWS, of which image it runs. `show` prints what a document " +
        "says, `verify` says whether to believe it.",
    )
    .addCommand(showCommand())
    .addCommand(verifyCommand());

const showCommand = (): Command =>
  new Command("show")
    .description("Print what a document says. Nothing of it is checked: anybody can have made it.")
    .argument("<file>", FILE_ARGUMENT)
    .action(show);

const verifyCommand = (): Command => {
  const command = new Command("verify")
    .description("Verify a document: AWS signed it, it holds now, and the enclave runs the image that you expect.")
    .argument("[file]", FILE_ARGUMENT)
    .option("--url <url>", "instead of a file: ask all enclaves of this running gateway, with nonces of its own");
  for (const index of PCR_INDICES) command.addOption(pcrOption(index));
  return command
    .option("--at <time>", "time at which it must hold, e.g. 2026-01-03T21:00:00Z (default: now)", parseTime)
    .option(
      "--nonce <hex>",
      "the nonce that you asked with: proves that the document is no replay",
      bytesUpTo(NONCE_BYTES_MAX),
    )
    .option("--user-data <hex>", "user data that must stand in it", bytesUpTo(USER_DATA_BYTES_MAX))
    .option("--root <file>", "root certificate in PEM to trust in the place of AWS's (development machines only)")
    .addHelpText("after", HELP)
    .action(verify);
};

const HELP = `
A document is believed when all of this holds: its form is what AWS documents, its certificates lead
from the root of AWS that is built in to the key that signed it, all of them hold at the time, the
enclave does not run in debug mode, and the PCRs are those that you say. Where several values are
fine, list them: --pcr0 <old>,<new>. Get them from who built the image, never from the enclave itself.

With --url every ready enclave must prove, besides, that it holds exactly the keys that the gateway
lists. An enclave that the gateway does not list cannot be checked.

Exit codes: 0 believed, 1 refused (the first line names the reason), 2 wrong options.

Examples:
  $ testudo attest show attestation.bin
  $ testudo attest verify attestation.bin --pcr0 4b8d…cfab --nonce 6c1f…02
  $ testudo attest verify --url http://127.0.0.1:9000 --pcr0 4b8d…cfab
  $ testudo attest verify old.b64 --pcr0 4b8d…cfab --at 2026-01-03T21:00:00Z
  $ testudo attest verify local.bin --pcr0 5a32…41e4 --root data/nsm/nsm-root.pem
`;

const pcrOption = (index: number): Option => {
  const meaning = (PCR_MEANINGS as Record<number, string>)[index];
  const option = new Option(`--pcr${index} <hex,…>`, `allowed values: ${meaning} (SHA-384)`).argParser(parsePcrs);
  return index === 0 ? option.makeOptionMandatory() : option;
};

const show = async (file: string): Promise<void> => {
  const verdict = readAttestation(await readDocument(file));
  if (!verdict.ok) {
    refuse(verdict);
    return;
  }
  const warning = styleText("yellow", "Not verified: anybody can have made this document (testudo attest verify).");
  process.stdout.write(`${[...describeDocument(verdict.document), warning].join("\n")}\n`);
};

const verify = async (file: string | undefined, values: VerifyValues): Promise<void> => {
  if ((file === undefined) === (values.url === undefined)) {
    throw new SignerError("bad_request", "attest verify: expected either a file with a document or --url");
  }
  if (values.url !== undefined) return verifyRunning(values.url, values);
  return verifyFile(file as string, values);
};

/** Its own nonce, the keys and the time of now are what it is about. */
const verifyRunning = async (url: string, values: VerifyValues): Promise<void> => {
  const { at, nonce, userData } = values;
  if (at !== undefined || nonce !== undefined || userData !== undefined) {
    throw new SignerError("bad_request", "--at, --nonce and --user-data: belong to a file, not to --url");
  }
  const root = values.root === undefined ? awsNitroRoot() : readRoot(values.root);
  const { lines, ok } = await verifyLive(url, { pcrs: policyOf(values), root });
  process.stdout.write(`${lines.join("\n")}\n`);
  if (!ok) process.exitCode = 1;
};

const verifyFile = async (file: string, values: VerifyValues): Promise<void> => {
  const { at = Date.now(), nonce, userData } = values;
  const root = values.root === undefined ? awsNitroRoot() : readRoot(values.root);
  const pcrs = policyOf(values);
  const verdict = verifyAttestation(await readDocument(file), {
    atMs: at,
    roots: [root],
    pcrs,
    ...(nonce !== undefined && { nonce }),
    ...(userData !== undefined && { userData }),
  });
  if (!verdict.ok) {
    refuse(verdict);
    return;
  }
  const { moduleId, timestampMs } = verdict.document;
  const { fingerprint256 } = new X509Certificate(root);
  const isAws = fingerprint256 === AWS_NITRO_ROOT_FINGERPRINT;
  const names = [...pcrs.keys()].map((index) => `PCR${index}`);
  const lines = [
    `${styleText("green", "genuine")}: ${moduleId}, made at ${timeText(timestampMs)}, checked at ${timeText(at)}`,
    `  signed by   ${isAws ? "AWS (Nitro root G1)" : `the root of ${values.root}, NOT by AWS: ${fingerprint256}`}`,
    `  as expected ${[...names, ...(nonce ? ["nonce"] : []), ...(userData ? ["user data"] : [])].join(", ")}`,
    ...(nonce === undefined ? ["  no nonce was expected: it may be a replay of up to three hours ago"] : []),
  ];
  process.stdout.write(`${lines.join("\n")}\n`);
};

const refuse = ({ reason, detail }: RejectedAttestation): void => {
  process.stderr.write(`${styleText("red", "refused")}: ${reason}\n  ${detail}\n  ${ADVICE[reason]}\n`);
  process.exitCode = 1;
};

const policyOf = (values: VerifyValues): PcrPolicy =>
  createPcrPolicy(
    PCR_INDICES.flatMap((index) => {
      const allowed = values[`pcr${index}`];
      return allowed === undefined ? [] : [[index, allowed] as const];
    }),
  );

const parsePcrs = (text: string): readonly Uint8Array[] => text.split(",").map((part) => parseHex(part, PCR_BYTES));

const parseHex = (text: string, length?: number): Uint8Array => {
  const digits = text.replace(/^0x/i, "");
  if (/^(?:[0-9a-f]{2})*$/i.test(digits) && (length === undefined || digits.length === 2 * length)) {
    return new Uint8Array(Buffer.from(digits, "hex"));
  }
  throw new InvalidArgumentError(length === undefined ? "expected hex" : `expected ${length} bytes of hex each`);
};

const bytesUpTo =
  (bytesMax: number) =>
  (text: string): Uint8Array => {
    const bytes = parseHex(text);
    if (bytes.length > 0 && bytes.length <= bytesMax) return bytes;
    throw new InvalidArgumentError(`expected 1..${bytesMax} bytes of hex`);
  };

/** With a zone, because documents speak UTC and a time without one would be taken for this machine's. */
const parseTime = (text: string): number => {
  const isComplete = /^\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d(?:\.\d{1,3})?)?(?:Z|[+-]\d\d:\d\d)$/.test(text);
  const ms = isComplete ? Date.parse(text) : Number.NaN;
  if (!Number.isNaN(ms)) return ms;
  throw new InvalidArgumentError("expected a time with its zone, e.g. 2026-01-03T21:00:00Z");
};

const readRoot = (file: string): Uint8Array => {
  try {
    return new Uint8Array(new X509Certificate(readFileSync(file)).raw);
  } catch (cause) {
    throw new SignerError("bad_request", `--root ${file}: expected a certificate in PEM`, { cause });
  }
};

/** The document's bytes; base64 is recognised by its alphabet, which no document consists of. */
const readDocument = async (file: string): Promise<Uint8Array> => {
  const bytes = file === "-" ? await readInput() : readFile(file);
  const text = Buffer.from(bytes).toString("latin1");
  return new Uint8Array(BASE64.test(text) ? Buffer.from(text, "base64") : bytes);
};

const readFile = (file: string): Uint8Array => {
  let descriptor: number | undefined;
  try {
    descriptor = openSync(file, "r");
    const bytes = Buffer.alloc(FILE_BYTES_MAX + 1);
    let length = 0;
    for (;;) {
      const read = readSync(descriptor, bytes, length, bytes.length - length, null);
      length += read;
      if (length > FILE_BYTES_MAX) throw tooLong(file);
      if (read === 0) return bytes.subarray(0, length);
    }
  } catch (cause) {
    if (cause instanceof SignerError) throw cause;
    throw new SignerError("bad_request", `${file}: cannot be read`, { cause });
  } finally {
    if (descriptor !== undefined) closeSync(descriptor);
  }
};

const readInput = async (): Promise<Uint8Array> => {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of process.stdin as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > FILE_BYTES_MAX) throw tooLong("standard input");
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
};

const tooLong = (name: string): SignerError =>
  new SignerError("bad_request", `${name}: expected at most ${FILE_BYTES_MAX} bytes, which no document has`);
