/**
 * Loads production code for the simulation: the pool's files with simulated timers and connections in place of real
 * ones, and one file with a mutant, when asked. Everything by Node's module hooks, in this thread only, before the first
 * import; a replacement that does not fit the code any more is an error, never nothing.
 */

import { registerHooks } from "node:module";
import { fileURLToPath } from "node:url";
import type { Mutant } from "./mutants.ts";

const ROOT = new URL("../../", import.meta.url).href;
const STAND_INS = new URL("./stand-ins.ts", import.meta.url).href;

/** What these files import from elsewhere and get from the stand-ins instead. All of them get the timers. */
const REPLACED_IMPORTS: Readonly<Record<string, readonly string[]>> = {
  "pool-manager/pool.ts": ["node:timers/promises", "./follower.ts"],
  "pool-manager/enclave-client.ts": ["node:timers/promises", "#protocol/transport/address.ts"],
  "pool-manager/link.ts": ["#protocol/rpc.ts"],
};

/** On the first line, so that the lines of a stack trace stay true. */
const TIMERS = `import { setTimeout, clearTimeout } from ${JSON.stringify(STAND_INS)};`;

/** What was put in place so far. */
export interface Loaded {
  /** @throws Error when something that should have been replaced never came up */
  assertComplete(): void;
}

/** Registers the hooks of this thread. */
export const prepareLoading = (mutant: Mutant | undefined): Loaded => {
  const due = new Set(
    Object.entries(REPLACED_IMPORTS).flatMap(([file, names]) => names.map((name) => `${file} ${name}`)),
  );
  if (mutant !== undefined) due.add(mutant.name);

  registerHooks({
    resolve: (specifier, context, nextResolve) => {
      const file = pathOf(context.parentURL);
      if (file === undefined || REPLACED_IMPORTS[file]?.includes(specifier) !== true) {
        return nextResolve(specifier, context);
      }
      due.delete(`${file} ${specifier}`);
      return { url: STAND_INS, shortCircuit: true };
    },
    load: (url, context, nextLoad) => {
      const loaded = nextLoad(url, context);
      const file = pathOf(url);
      if (file === undefined) return loaded;
      let source = String(loaded.source);
      if (mutant?.file === file) {
        source = mutate(source, mutant);
        due.delete(mutant.name);
      }
      return Object.hasOwn(REPLACED_IMPORTS, file) ? { ...loaded, source: TIMERS + source } : { ...loaded, source };
    },
  });
  return {
    assertComplete: () => {
      if (due.size > 0) throw new Error(`simulation: not in the code any more: ${[...due].join("; ")}`);
    },
  };
};

/** Path from the root of a project file; undefined for packages and Node's modules. */
const pathOf = (url: string | undefined): string | undefined =>
  url?.startsWith(ROOT) && !url.includes("/node_modules/")
    ? fileURLToPath(url).slice(fileURLToPath(ROOT).length)
    : undefined;

/** Puts a mutant into the text of its file. @throws Error when its piece is not there exactly once */
export const mutate = (source: string, mutant: Mutant): string => {
  const edits = mutant.and === undefined ? [mutant] : [mutant, mutant.and];
  return edits.reduce((text, { find, replace }) => {
    const parts = text.split(find);
    if (parts.length === 2) return parts.join(replace);
    throw new Error(
      `mutant ${mutant.name}: expected its piece once in ${mutant.file}, found it ${parts.length - 1} times; ` +
        "adapt test/simulation/mutants.ts to the code",
    );
  }, source);
};
