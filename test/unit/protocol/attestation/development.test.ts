/** Who can permit debug mode: development code alone. */

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";

const ROOT = fileURLToPath(new URL("../../../../", import.meta.url));
const FOLDERS = ["protocol", "enclave-worker", "pool-manager", "gateway", "infra", "cli"];

const sources = FOLDERS.flatMap((folder) =>
  readdirSync(join(ROOT, folder), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".ts"))
    .map((name) => `${folder}/${name}`),
);

it("the permission is imported by the verifier, which only recognises it, and by infra/local/, which never runs in production", () => {
  const importers = sources.filter((file) => /attestation\/development\.ts"|"\.\/development\.ts"/.test(read(file)));
  const makers = sources.filter((file) => /\bnew DevelopmentTrust\b/.test(read(file)));
  const inProduction = (files: readonly string[]) => files.filter((file) => !file.startsWith("infra/local/"));
  expect(inProduction(importers)).toEqual(["protocol/attestation/verify.ts"]);
  expect(inProduction(makers)).toEqual([]);
});

it("the enclave itself loads no software NSM", () => {
  for (const file of sources.filter((name) => name.startsWith("enclave-worker/"))) {
    expect(read(file), file).not.toMatch(/#infra|infra\/local/);
  }
});

const read = (file: string): string => readFileSync(join(ROOT, file), "utf8");
