/** Building the native signer: only from the expected blst, only when needed, and never leaving a stale addon behind. */

import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { BuildError } from "#enclave/native/builder/build-error.ts";
import { type BuildOptions, build } from "#enclave/native/builder/builder.ts";
import { compilerVersion } from "#enclave/native/builder/compiler.ts";
import { type BlstList, readBlst } from "#enclave/native/builder/inputs.ts";
import { loadNativeSigner } from "#enclave/native/signer.ts";
import { runProgram } from "./c-program.ts";
import { buildOptions } from "./native.ts";

const hasCompiler = (await compilerVersion()) !== undefined;
const hasNm = (await runProgram("nm", ["--version"]).catch(() => undefined))?.code === 0;

let folder: string;
let options: BuildOptions;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "testudo-build-test-"));
  options = { ...buildOptions(), addon: join(folder, "build", "signer.node") };
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(folder, { recursive: true, force: true });
});

/** A PATH with nothing on it but a compiler that does as told. */
const stubCompiler = (script: string | undefined): void => {
  const bin = join(folder, "bin");
  mkdirSync(bin, { recursive: true });
  if (script !== undefined) {
    writeFileSync(join(bin, "cc"), `#!/bin/sh\n${script}\n`);
    chmodSync(join(bin, "cc"), 0o755);
  }
  vi.stubEnv("PATH", bin);
};
const BROKEN = 'if [ "$1" = --version ]; then echo broken 1.0; exit 0; fi\necho no luck today >&2\nexit 1';

/** An addon that something else left there. */
const putStaleAddon = (): void => {
  mkdirSync(join(folder, "build"));
  writeFileSync(options.addon, "stale");
};

describe("blst's sources", () => {
  const list = JSON.parse(readFileSync(buildOptions().blstList, "utf8")) as BlstList;
  const copyBlst = (): string => {
    const copy = join(folder, "blst");
    for (const part of ["src", "build", "bindings"]) {
      cpSync(join(options.blst, part), join(copy, part), { recursive: true });
    }
    return copy;
  };

  test("are taken when each is as listed", () => {
    expect(readBlst(copyBlst(), list).size).toBe(Object.keys(list).length);
    expect(Object.keys(list).length).toBeGreaterThan(80);
  });

  test.each([
    [
      "changed",
      "src/e2.c",
      (path: string) => writeFileSync(path, `${readFileSync(path, "utf8")}\n`),
      /src\/e2\.c: expected sha256/,
    ],
    [
      "changed in the assembly",
      "build/elf/mulx_mont_384-x86_64.s",
      (path: string) => writeFileSync(path, ""),
      /mulx_mont_384/,
    ],
    ["missing", "src/recip.c", (path: string) => rmSync(path), /src\/recip\.c: ENOENT/],
    [
      "additional",
      "src/string.h",
      (path: string) => writeFileSync(path, ""),
      /src\/string\.h: not a file of the expected blst/,
    ],
    ["additional beside the assembly", "build/elf/x.S", (path: string) => writeFileSync(path, ""), /x\.S: not a file/],
  ])("are refused when one is %s, and no addon stays", async (_, name, alter, complaint) => {
    const blst = copyBlst();
    alter(join(blst, name));
    putStaleAddon();
    expect(() => readBlst(blst, list)).toThrow(complaint);
    for (const ifNeeded of [true, false])
      await expect(build({ ...options, blst, ifNeeded })).rejects.toThrow(complaint);
    expect(existsSync(options.addon)).toBe(false);
  });
});

describe("without a compiler", () => {
  test("signatures are made without the addon if it is not needed, else that is an error; a stale one goes", async () => {
    stubCompiler(undefined);
    for (const ifNeeded of [true, false]) {
      if (ifNeeded) putStaleAddon();
      const result = build({ ...options, ifNeeded });
      if (ifNeeded) expect(await result).toEqual({ outcome: "fallback", reason: "no C compiler (cc)" });
      else await expect(result).rejects.toThrow("no C compiler (cc)");
      expect(existsSync(options.addon)).toBe(false);
    }
  });

  test("so when the sources are not installed", async () => {
    const result = await build({ ...options, blst: join(folder, "nothing") });
    expect(result).toEqual({ outcome: "fallback", reason: expect.stringContaining("is not installed") });
  });
});

describe("with a compiler that fails", () => {
  test("its words are told, and no stale addon stays", async () => {
    stubCompiler(BROKEN);
    putStaleAddon();
    const result = await build(options);
    expect(result).toEqual({ outcome: "fallback", reason: expect.stringContaining("no luck today") });
    expect(existsSync(options.addon)).toBe(false);
    await expect(build({ ...options, ifNeeded: false })).rejects.toThrow("no luck today");
  });
});

describe("where nothing can be written", () => {
  /** A compiler that says when it was asked to compile. */
  const stubNoisyCompiler = (): string => {
    const mark = join(folder, "compiled");
    stubCompiler(`if [ "$1" = --version ]; then echo fine 1.0; exit 0; fi\n: > ${mark}\nexit 1`);
    return mark;
  };

  test("signatures are made without the addon, and nothing is compiled", async () => {
    const mark = stubNoisyCompiler();
    writeFileSync(join(folder, "build"), "a file where the folder should be");
    const result = await build(options);
    expect(result).toEqual({ outcome: "fallback", reason: expect.stringMatching(/^E(EXIST|NOTDIR|ROFS|ACCES): /) });
    await expect(build({ ...options, ifNeeded: false })).rejects.toThrow(BuildError);
    expect(existsSync(mark)).toBe(false);
  });

  test.each([true, false])(
    "an addon of other sources that stays is an error (only if needed: %s)",
    async (ifNeeded) => {
      stubCompiler(BROKEN);
      // In place of a read-only file system, which a test cannot make: a folder is not removed as a file is.
      mkdirSync(options.addon, { recursive: true });
      const result = build({ ...options, ifNeeded });
      await expect(result).rejects.toThrow(/signer\.node is not made of these sources and cannot be removed/);
      await expect(result).rejects.toThrow(BuildError);
    },
  );
});

/** Each compiles for seconds, on a machine that may be busy. */
const TIMEOUT_MS = 120_000;

describe.skipIf(!hasCompiler)("the command", { timeout: TIMEOUT_MS }, () => {
  const command = join(buildOptions().sources, "..", "build.ts");

  test("says nothing when the addon is current, and knows one flag", async () => {
    await build(buildOptions());
    expect(await runProgram(process.execPath, [command, "--if-needed"])).toEqual({ code: 0, output: "" });
    expect((await runProgram(process.execPath, [command, "--is-needed"])).code).toBe(1);
  });

  test("says one line when there is no compiler and no addon", async () => {
    // A copy of the command with its neighbours, so that the real addon stays where it is.
    for (const part of [
      "enclave-worker/native",
      "node_modules/c-kzg/deps/blst",
      "node_modules/node-api-headers/include",
    ]) {
      const from = join(command, "../../..", part);
      cpSync(from, join(folder, part), { recursive: true });
    }
    rmSync(join(folder, "enclave-worker/native/build"), { recursive: true, force: true });
    stubCompiler(undefined);
    const copy = join(folder, "enclave-worker/native/build.ts");
    const line = "no C compiler (cc): signatures will be made with @chainsafe/blst\n";
    expect(await runProgram(process.execPath, [copy, "--if-needed"])).toEqual({ code: 0, output: line });
    const { code, output } = await runProgram(process.execPath, [copy]);
    expect(code).toBe(1);
    expect(output).toMatch(/no C compiler.*\n.*install gcc or clang/);
  });
});

describe.skipIf(!hasCompiler)("with a compiler", { timeout: TIMEOUT_MS }, () => {
  test("builds what loads, once, and again when something changed", async () => {
    expect(await build(options)).toEqual({ outcome: "built" });
    expect(loadNativeSigner(options.addon).kind).toBe("loaded");
    expect(await build(options)).toEqual({ outcome: "current" });
    expect(readdirSync(join(folder, "build")).sort()).toEqual(["signer.node", "signer.node.json"]);

    stubCompiler(undefined);
    expect(await build(options), "what a compiler made that is gone still serves").toEqual({ outcome: "current" });
    stubCompiler(BROKEN);
    expect(await build(options), "also where another one fails").toEqual({ outcome: "current" });
    stubCompiler(undefined);
    rmSync(join(folder, "bin"), { recursive: true });
    rmSync(options.addon); // not overwritten: this process runs its code
    writeFileSync(options.addon, "something else");
    expect(await build(options), "an addon that is not the stamped one").toMatchObject({ outcome: "fallback" });
    expect(existsSync(options.addon)).toBe(false);
    vi.unstubAllEnvs();

    const sources = join(folder, "sources");
    cpSync(options.sources, sources, { recursive: true });
    writeFileSync(join(sources, "wipe.h"), `${readFileSync(join(sources, "wipe.h"), "utf8")}/* changed */\n`);
    expect(await build({ ...options, sources })).toEqual({ outcome: "built" });
    writeFileSync(join(sources, "wipe.h"), "#error mistake");
    expect(await build({ ...options, sources })).toEqual({
      outcome: "fallback",
      reason: expect.stringContaining("mistake"),
    });
    expect(existsSync(options.addon)).toBe(false);
  });

  test("two builds at once leave a whole addon", async () => {
    const results = await Promise.all([build(options), build(options)]);
    expect(results).toEqual([{ outcome: "built" }, { outcome: "built" }]);
    expect(loadNativeSigner(options.addon).kind).toBe("loaded");
    expect(await build(options)).toEqual({ outcome: "current" });
    expect(readdirSync(join(folder, "build")).sort()).toEqual(["signer.node", "signer.node.json"]);
    await build(buildOptions());
    expect(readFileSync(options.addon).equals(readFileSync(buildOptions().addon)), "the same bytes").toBe(true);
  });

  test.skipIf(!hasNm || process.platform !== "linux")("nothing is visible but the doors for Node", async () => {
    await build(buildOptions());
    const { output } = await runProgram("nm", ["-D", "--defined-only", buildOptions().addon]);
    const symbols = output
      .trim()
      .split("\n")
      .map((line) => line.split(" ").at(-1));
    expect(symbols.sort()).toEqual(["napi_register_module_v1", "node_api_module_get_api_version_v1"]);
  });
});
