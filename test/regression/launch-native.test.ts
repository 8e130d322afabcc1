/**
 * The launcher started Testudo although the build of the native signer had failed: an addon of other sources, which the
 * build could not remove, was then loaded into the enclaves.
 */

import { createHash } from "node:crypto";
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { runProgram } from "../unit/enclave-worker/native/c-program.ts";

const REPOSITORY = fileURLToPath(new URL("../..", import.meta.url));
const STARTED = "testudo started";

let folder: string;

/** An installation with the real launcher and build, no C compiler, and a Testudo that says that it was started. */
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "testudo-launch-test-"));
  for (const part of [
    "cli/launch.mjs",
    "enclave-worker/native/build.ts",
    "enclave-worker/native/builder",
    "enclave-worker/native/src",
    "enclave-worker/native/blst-sources.json",
    "node_modules/c-kzg/deps/blst",
    "node_modules/node-api-headers/include",
  ]) {
    cpSync(join(REPOSITORY, part), join(folder, part), { recursive: true });
  }
  writeFileSync(join(folder, "package-lock.json"), "{}");
  writeFileSync(join(folder, "node_modules/.testudo-installed"), createHash("sha256").update("{}").digest("hex"));
  writeFileSync(join(folder, "cli/main.ts"), `process.stdout.write(${JSON.stringify(STARTED)});\n`);
  vi.stubEnv("PATH", join(folder, "nothing"));
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(folder, { recursive: true, force: true });
});

const launch = () => runProgram(process.execPath, [join(folder, "cli/launch.mjs")]);
const addon = () => join(folder, "enclave-worker/native/build/testudo-signer.node");

describe("the launcher, where the native signer cannot be built", () => {
  test("starts Testudo without it, and says so", async () => {
    const { code, output } = await launch();
    expect({ code, started: output.includes(STARTED) }).toEqual({ code: 0, started: true });
    expect(output).toContain("no C compiler (cc): signatures will be made with @chainsafe/blst");
  });

  test("starts nothing when an addon of other sources stays in place", async () => {
    mkdirSync(addon(), { recursive: true }); // not removed as a file is: what a read-only file system does
    const { code, output } = await launch();
    expect({ code, started: output.includes(STARTED) }).toEqual({ code: 1, started: false });
    expect(output).toMatch(/cannot be removed[\s\S]*build ended with 1/);
  });

  test("starts nothing when blst's sources are not the expected ones", async () => {
    writeFileSync(join(folder, "node_modules/c-kzg/deps/blst/src/e2.c"), "");
    const { code, output } = await launch();
    expect({ code, started: output.includes(STARTED) }).toEqual({ code: 1, started: false });
    expect(output).toContain("src/e2.c: expected sha256");
  });
});
