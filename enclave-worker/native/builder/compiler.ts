/**
 * Compiles the addon with the system's C compiler: blst as its authors do (`build.sh`), our files with every warning as
 * an error, and links them so that only the N-API entry points are visible from outside.
 */

import { execFile } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { BuildError } from "./build-error.ts";
import type { Files } from "./inputs.ts";

const run = promisify(execFile);

const COMPILER = "cc";
/** A compilation takes two seconds here; a slow machine gets a minute. */
const COMPILER_TIMEOUT_MS = 60_000;
/** Longest output of the compiler that is kept. */
const OUTPUT_BYTES_MAX = 1024 * 1024;

/** __BLST_PORTABLE__: choose by the processor at run time, not at build time, so that one build serves every machine. */
const COMMON = ["-O2", "-fPIC", "-fvisibility=hidden", "-fstack-protector-strong", "-D__BLST_PORTABLE__"];
/** As in blst's own `build.sh`. */
const BLST = ["-fno-builtin"];
const INCLUDES = ["-Iblst/bindings", "-Inode-api", "-Isrc"];
const OURS = [
  ...["-std=gnu11", "-pthread", "-U_FORTIFY_SOURCE", "-D_FORTIFY_SOURCE=2"],
  ...["-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Wconversion", "-Wstrict-prototypes", "-Wvla", "-Werror"],
];
const LINK = {
  linux: [
    ...["-shared", "-pthread", "-Wl,--version-script=src/exports.map", "-Wl,--as-needed"],
    ...["-Wl,-z,relro", "-Wl,-z,now", "-Wl,-z,noexecstack"],
  ],
  darwin: ["-bundle", "-undefined", "dynamic_lookup", "-Wl,-exported_symbols_list,src/exports.txt"],
} as const;
/** dladdr lives in libdl before glibc 2.34. */
const LIBRARIES = { linux: ["-ldl"], darwin: [] } as const;

/** Systems that the addon is built for. */
export type Platform = keyof typeof LINK;

/** True on systems that the addon can be built for. */
export const isSupported = (platform: string): platform is Platform => Object.hasOwn(LINK, platform);

/** All flags, as a part of what an addon is made of. */
export const compilerFlags = (platform: Platform): string =>
  [...COMMON, ...BLST, ...OURS, ...INCLUDES, ...LINK[platform], ...LIBRARIES[platform]].join(" ");

/** First line of the compiler's `--version`; undefined when there is none that works. */
export const compilerVersion = async (): Promise<string | undefined> => {
  try {
    const { stdout } = await run(COMPILER, ["--version"], { timeout: COMPILER_TIMEOUT_MS });
    return stdout.split("\n")[0];
  } catch {
    return undefined;
  }
};

/** Calls the compiler in a folder. @throws BuildError with its words */
export const compile = async (args: readonly string[], { folder }: { folder: string }): Promise<void> => {
  try {
    await run(COMPILER, [...args], { cwd: folder, timeout: COMPILER_TIMEOUT_MS, maxBuffer: OUTPUT_BYTES_MAX });
  } catch (error) {
    const { stderr, message } = error as Error & { stderr?: string };
    throw new BuildError(`${COMPILER} ${args.join(" ")}\n${stderr === undefined || stderr === "" ? message : stderr}`);
  }
};

/** Like `Promise.all`, but fails only when all have ended: a compiler still at work would write where we clean up. */
export const allEnded = async <T extends readonly unknown[]>(
  promises: { [K in keyof T]: Promise<T[K]> },
): Promise<T> => {
  await Promise.allSettled(promises);
  return (await Promise.all(promises)) as unknown as T;
};

/** Object files of blst, made in `folder`. */
export const compileBlst = async (folder: string): Promise<string[]> => {
  const units = [
    { source: "blst/src/server.c", object: "blst-server.o" },
    { source: "blst/build/assembly.S", object: "blst-assembly.o" },
  ];
  await allEnded(
    units.map(({ source, object }) => compile([...COMMON, ...BLST, "-c", source, "-o", object], { folder })),
  );
  return units.map(({ object }) => object);
};

/** Object files of our sources `src/<name>.c`, made in `folder`. */
export const compileOurs = async (names: readonly string[], { folder }: { folder: string }): Promise<string[]> => {
  const objects = names.map((name) => `${name}.o`);
  for (const [index, name] of names.entries()) {
    const output = ["-c", `src/${name}.c`, "-o", objects[index] as string];
    await compile([...COMMON, ...OURS, ...INCLUDES, ...output], { folder });
  }
  return objects;
};

/** A folder of its own with the inputs in it, for as long as `use` takes. */
export const withInputs = async <T>(files: Files, use: (folder: string) => Promise<T>): Promise<T> => {
  const folder = mkdtempSync(join(tmpdir(), "testudo-native-"));
  try {
    for (const [name, bytes] of files) {
      mkdirSync(join(folder, dirname(name)), { recursive: true });
      writeFileSync(join(folder, name), bytes);
    }
    return await use(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
};

/** Names of our C files. */
export const ourUnits = (files: Files): string[] =>
  [...files.keys()].flatMap((name) => /^src\/(\w+)\.c$/.exec(name)?.[1] ?? []);

/** The addon's bytes. @throws BuildError with the compiler's words */
export const compileAddon = (files: Files, { platform }: { platform: Platform }): Promise<Uint8Array> =>
  withInputs(files, async (folder) => {
    const objects = (await allEnded([compileBlst(folder), compileOurs(ourUnits(files), { folder })])).flat();
    await compile([...LINK[platform], ...objects, ...LIBRARIES[platform], "-o", "addon.node"], { folder });
    return readFileSync(join(folder, "addon.node"));
  });
