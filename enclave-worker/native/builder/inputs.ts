/**
 * What the addon is compiled from: our C files, blst's sources and the N-API headers, read once. The compiler later sees
 * these very bytes in a folder of its own, so nothing can change between the check and the use.
 *
 * blst comes with the npm package `c-kzg` (its complete C and assembly), whose install script never runs. Every file must
 * match the committed `blst-sources.json`; a missing, changed or additional file refuses the build.
 */

import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { BuildError } from "./build-error.ts";

/** Files by path in the compiler's folder. */
export type Files = ReadonlyMap<string, Uint8Array>;

/** SHA-256 in hex of every file, by path in blst's folder. */
export type BlstList = Readonly<Record<string, string>>;

/** Where to read from. */
export interface InputFolders {
  /** Our C files (`enclave-worker/native/src`). */
  readonly sources: string;
  /** blst's folder (with `src`, `build` and `bindings`). */
  readonly blst: string;
  /** Folder of `node_api.h`. */
  readonly nodeApi: string;
  /** `blst-sources.json`. */
  readonly blstList: string;
}

/** Folders of blst that the compiler looks into; `bindings` holds headers for other languages as well. */
const BLST_FOLDERS = ["src", "build", "build/elf", "build/mach-o"];
/** What a compiler may include. */
const SOURCE_NAME = /\.(?:c|h|s|S)$/;

/** SHA-256 in lower-case hex. */
export const sha256 = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

/** One hash over names and contents. */
export const hashFiles = (files: Files): string => {
  const hash = createHash("sha256");
  for (const [name, bytes] of [...files].sort(([a], [b]) => (a < b ? -1 : 1)))
    hash.update(`${name} ${sha256(bytes)}\n`);
  return hash.digest("hex");
};

const sourceNames = (folder: string): string[] =>
  readdirSync(folder, { withFileTypes: true })
    .filter((entry) => !entry.isDirectory() && SOURCE_NAME.test(entry.name))
    .map((entry) => entry.name)
    .sort();

const readFolder = (folder: string, { as }: { as: string }): [string, Uint8Array][] =>
  readdirSync(folder)
    .sort()
    .map((name) => [`${as}/${name}`, readFileSync(join(folder, name))]);

/** blst's sources, all as listed. @throws BuildError naming every file that is not as expected */
export const readBlst = (folder: string, list: BlstList): Files => {
  const files = new Map<string, Uint8Array>();
  const complaints: string[] = [];
  for (const [name, expected] of Object.entries(list)) {
    try {
      const bytes = readFileSync(join(folder, name));
      if (sha256(bytes) === expected) files.set(name, bytes);
      else complaints.push(`${name}: expected sha256 ${expected}, got ${sha256(bytes)}`);
    } catch (error) {
      complaints.push(`${name}: ${(error as Error).message}`);
    }
  }
  for (const part of BLST_FOLDERS) {
    for (const name of sourceNames(join(folder, part)).map((file) => `${part}/${file}`)) {
      if (list[name] === undefined) complaints.push(`${name}: not a file of the expected blst`);
    }
  }
  if (complaints.length > 0) {
    throw new BuildError(`blst in ${dirname(folder)} is not the expected one:\n  ${complaints.join("\n  ")}`);
  }
  return files;
};

/** All inputs, in the folders `src/`, `blst/` and `node-api/`. @throws BuildError when blst is not the expected one */
export const readInputs = ({ sources, blst, nodeApi, blstList }: InputFolders): Files => {
  const list = JSON.parse(readFileSync(blstList, "utf8")) as BlstList;
  return new Map([
    ...readFolder(sources, { as: "src" }),
    ...[...readBlst(blst, list)].map(([name, bytes]): [string, Uint8Array] => [`blst/${name}`, bytes]),
    ...readFolder(nodeApi, { as: "node-api" }),
  ]);
};
