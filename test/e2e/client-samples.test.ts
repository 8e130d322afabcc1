/**
 * Requests that Lodestar sent to its own signer, recorded byte for byte: replayed with their raw headers, the very
 * signatures must come back. The keys are the interop keys (github.com/ethereum/eth2.0-pm, interop/mocked_start).
 */

import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { SecretKey } from "@chainsafe/blst";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createTestbed, type Testudo } from "../helpers/testudo.ts";
import { sendTo } from "../unit/gateway/running-gateway.ts";

/** A recorded request with its answer. */
interface Recorded {
  readonly fork: string;
  readonly preset: string;
  readonly method: string;
  readonly path: string;
  readonly type: string;
  readonly rawHeaders: readonly string[];
  readonly body: unknown;
  readonly response: { readonly status: number; readonly body: unknown };
}

const FOLDERS = ["../vectors/client-samples", "../../../shared/vectors/client-samples"].map((path) =>
  fileURLToPath(new URL(path, import.meta.url)),
);
const FOLDER = FOLDERS.find(existsSync);

const readFolder = (folder: string): Recorded[] =>
  readdirSync(folder)
    .filter((name) => name.endsWith(".json"))
    .map((name) => JSON.parse(readFileSync(join(folder, name), "utf8")) as Recorded);

/** Curve order of BLS12-381 (draft-irtf-cfrg-pairing-friendly-curves, 4.2.1). */
const ORDER = 0x73eda753299d7d483339d80809a1d80553bda402fffe5bfeffffffff00000001n;

/** The interop secret key of a validator index, 0x-hex: sha256 of the index as 32 bytes, little-endian both ways, mod r. */
const interopSecret = (index: number): string => {
  const text = Buffer.alloc(32);
  text.writeUInt32LE(index);
  const digest = createHash("sha256").update(text).digest().reverse();
  return `0x${(BigInt(`0x${digest.toString("hex")}`) % ORDER).toString(16).padStart(64, "0")}`;
};
const secrets = new Map(
  Array.from({ length: 256 }, (_, index) => {
    const secret = interopSecret(index);
    return [SecretKey.fromHex(secret).toPublicKey().toHex(), secret] as const;
  }),
);

const headersOf = ({ rawHeaders }: Recorded): Record<string, string> =>
  Object.fromEntries(
    rawHeaders
      .map((line) => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 1).trim()] as const)
      // These belong to the recorded connection, not to the request.
      .filter(([name]) => !["host", "connection", "content-length"].includes(name.toLowerCase())),
  );

// Chains that were recorded apart: the forks of the minimal preset reuse the same keys at the same target.
const CHAINS = [
  { name: "mainnet, Capella", preset: "mainnet", fork: "capella", network: ["--network", "mainnet"] },
  { name: "mainnet, Electra", preset: "mainnet", fork: "electra", network: ["--network", "mainnet"] },
  { name: "minimal, Capella", preset: "minimal", fork: "capella", network: ["--network", "minimal"] },
  { name: "minimal, Electra", preset: "minimal", fork: "electra", network: ["--preset", "minimal"] },
] as const;

const allRecorded = FOLDER === undefined ? [] : [...readFolder(FOLDER), ...readFolder(join(FOLDER, "minimal-preset"))];

describe.skipIf(FOLDER === undefined).each(CHAINS)(
  "Lodestar's recorded requests: $name (skipped where vectors/client-samples is not there)",
  ({ preset, fork, network }) => {
    const bed = createTestbed();
    const recorded = allRecorded.filter((it) => it.preset === preset && it.fork === fork);
    const rootIn = ({ body }: Recorded): string | undefined =>
      (body as { fork_info?: { genesis_validators_root: string } }).fork_info?.genesis_validators_root;
    let testudo: Testudo;

    beforeAll(async () => {
      const listed = recorded.find(({ type }) => type === "GET /api/v1/eth2/publicKeys")?.response.body as string[];
      const keys = bed.file("keys.txt", listed.map((pubkey) => `${secrets.get(pubkey)}\n`).join(""));
      const root = recorded.map(rootIn).find((it) => it !== undefined) ?? "";
      testudo = await bed.up(["--enclaves", "1", "--keys", keys, "--genesis-validators-root", root, ...network]);
    });
    afterAll(() => bed.close(testudo));

    it.each(recorded.map((it) => [it.type, it] as const))("%s", async (_type, request) => {
      const { method, path, body, response } = request;
      const answer = await sendTo(testudo.url + path, {
        method,
        headers: headersOf(request),
        ...(method === "POST" && { body: JSON.stringify(body) }),
      });
      expect({ status: answer.status, body: JSON.parse(answer.body) }).toEqual({
        status: response.status,
        body: response.body,
      });
      expect(answer.headers["content-type"]).toMatch(/^application\/json/);
    });
  },
);
