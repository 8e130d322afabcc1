/**
 * Command: builds the native signer into `enclave-worker/native/build/`.
 *
 *   node enclave-worker/native/build.ts [--if-needed]
 *
 * With `--if-needed` it builds only what changed, and exits with 0 when the addon cannot be built, since signatures are
 * then made with @chainsafe/blst. Sources of blst that are not the expected ones end it with 1 in any case.
 */

import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { BuildError } from "./builder/build-error.ts";
import { build } from "./builder/builder.ts";

const pathOf = (name: string): string => fileURLToPath(new URL(name, import.meta.url));

const INSTALL =
  "a C compiler is needed: install gcc or clang (Debian: apt install gcc libc6-dev; macOS: xcode-select --install)";

const { values } = parseArgs({ options: { "if-needed": { type: "boolean", default: false } } });

try {
  const result = await build({
    sources: pathOf("./src"),
    blst: pathOf("../../node_modules/c-kzg/deps/blst"),
    nodeApi: pathOf("../../node_modules/node-api-headers/include"),
    blstList: pathOf("./blst-sources.json"),
    addon: pathOf("./build/testudo-signer.node"),
    ifNeeded: values["if-needed"],
  });
  if (result.outcome === "built") process.stdout.write("native signer built\n");
  if (result.outcome === "fallback") {
    process.stdout.write(`${result.reason.trimEnd()}: signatures will be made with @chainsafe/blst\n`);
  }
} catch (error) {
  if (!(error instanceof BuildError)) throw error;
  const hint = error.message.startsWith("no C compiler") ? `\n${INSTALL}` : "";
  process.stderr.write(`native signer not built: ${error.message}${hint}\n`);
  process.exitCode = 1;
}
