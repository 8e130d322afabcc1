/** Builds the addon when it has to be built, and says what became of it. */

import { existsSync } from "node:fs";
import { BuildError } from "./build-error.ts";
import { compileAddon, compilerFlags, compilerVersion, isSupported } from "./compiler.ts";
import { hashFiles, type InputFolders, readInputs, sha256 } from "./inputs.ts";
import { prepareFolder, readStamp, removeAddon, replaceAddon } from "./output.ts";

/** What to build. */
export interface BuildOptions extends InputFolders {
  /** Where the addon goes; its stamp goes beside it. */
  readonly addon: string;
  /** Build only when the addon in place was made of something else, and do without one when it cannot be built. */
  readonly ifNeeded: boolean;
}

/** What became of it. `fallback`: there is no addon, for this reason, and signatures will be made without it. */
export type BuildResult =
  | { readonly outcome: "built" | "current" }
  | { readonly outcome: "fallback"; readonly reason: string };

/**
 * Builds the addon. One that is not made of these sources never stays in place.
 * @throws BuildError when the sources of blst are not the expected ones, or another addon cannot be removed; and, unless
 * `ifNeeded`, when the sources are not installed, the system is not supported, the compiler is missing or fails, or
 * nothing can be written
 */
export const build = async (options: BuildOptions): Promise<BuildResult> => {
  const { addon, ifNeeded } = options;
  const giveUp = (reason: string): BuildResult => {
    removeAddon(addon);
    if (!ifNeeded) throw new BuildError(reason);
    return { outcome: "fallback", reason };
  };

  const { platform, arch } = process;
  if (!isSupported(platform)) return giveUp(`the native signer is not built on ${platform}`);
  for (const folder of [options.blst, options.nodeApi]) {
    if (!existsSync(folder)) return giveUp(`${folder} is not installed`);
  }
  const files = readInputsOr(() => removeAddon(addon), options);
  const inputs = sha256(Buffer.from(`${hashFiles(files)} ${platform} ${arch} ${compilerFlags(platform)}`));
  const compiler = await compilerVersion();
  if (ifNeeded && isCurrent(addon, { inputs, compiler })) return { outcome: "current" };
  if (compiler === undefined) return giveUp("no C compiler (cc)");
  try {
    prepareFolder(addon);
    replaceAddon(addon, await compileAddon(files, { platform }), { inputs, compiler });
    return { outcome: "built" };
  } catch (error) {
    if (!(error instanceof BuildError || isOfSystem(error))) throw error;
    // Perhaps another build beside this one got further, or only the compiler changed and this one does not work here.
    if (ifNeeded && isCurrent(addon, { inputs, compiler: undefined })) return { outcome: "current" };
    return giveUp(error.message);
  }
};

/** A file or folder that cannot be written, here or in the folder for temporary files. */
const isOfSystem = (error: unknown): error is Error => error instanceof Error && "syscall" in error;

const readInputsOr = (undo: () => void, folders: InputFolders) => {
  try {
    return readInputs(folders);
  } catch (error) {
    undo();
    throw error;
  }
};

/** Without a compiler that works, an addon of the same sources that another one made is as good as it gets. */
const isCurrent = (addon: string, { inputs, compiler }: { inputs: string; compiler: string | undefined }): boolean => {
  const stamp = readStamp(addon);
  return stamp?.inputs === inputs && (compiler === undefined || stamp.compiler === compiler);
};
