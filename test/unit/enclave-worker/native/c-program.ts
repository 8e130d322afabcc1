/** C programs over the addon's own sources, compiled as the addon is. */

import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { allEnded, compile, compileBlst, compileOurs, withInputs } from "#enclave/native/builder/compiler.ts";
import { type Files, readInputs } from "#enclave/native/builder/inputs.ts";
import { buildOptions } from "./native.ts";

/** What became of a program: `code` is its exit code. */
export interface Finished {
  readonly code: number;
  readonly output: string;
}

/** Runs a program of at most a minute; its words and exit code. */
export const runProgram = (file: string, args: readonly string[]): Promise<Finished> =>
  new Promise((resolve, reject) => {
    execFile(file, [...args], { timeout: 60_000, maxBuffer: 16 * 1024 * 1024 }, (error, stdout, stderr) => {
      const code = error === null ? 0 : error.code;
      if (typeof code === "number") resolve({ code, output: stdout + stderr });
      else reject(error);
    });
  });

/** Our units without the door to JavaScript. */
const UNITS = ["affine_batch", "arena", "comb_build", "comb_multiply", "multiply", "roots", "sign"] as const;

/** Replaces text in one of our units, to prove that a check notices it. */
export interface Mutation {
  readonly unit: (typeof UNITS)[number];
  readonly from: string;
  readonly to: string;
}

const mutated = (files: Files, { unit, from, to }: Mutation): Files => {
  const file = `src/${unit}.c`;
  const text = Buffer.from(files.get(file) as Uint8Array).toString();
  if (text.split(from).length !== 2) throw new Error(`${file} does not contain once: ${from}`);
  return new Map([...files, [file, Buffer.from(text.replace(from, () => to))]]);
};

/** Compiles `main` (a path) with our units; `use` gets a function that makes the program, as it is or mutated. */
export const withProgram = <T>(
  main: string,
  use: (make: (mutation?: Mutation) => Promise<string>) => Promise<T>,
): Promise<T> => {
  const name = basename(main, ".c");
  const files: Files = new Map([...readInputs(buildOptions()), [`src/${name}.c`, readFileSync(main)]]);
  return withInputs(files, async (folder) => {
    const [blst, ours] = await allEnded([compileBlst(folder), compileOurs([...UNITS, name], { folder })]);
    const link = async (objects: readonly string[], program: string): Promise<string> => {
      await compile([...objects, ...blst, "-pthread", "-o", program], { folder });
      return join(folder, program);
    };
    return use(async (mutation) => {
      if (mutation === undefined) return link(ours, "program");
      const { unit } = mutation;
      return withInputs(mutated(files, mutation), async (other) => {
        await compileOurs([unit], { folder: other });
        const objects = ours.map((object) => (object === `${unit}.o` ? join(other, object) : object));
        return link(objects, `mutant-of-${unit}`);
      });
    });
  });
};
