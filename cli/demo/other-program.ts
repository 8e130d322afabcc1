/** Another program than this one: the same sources with one line more in the enclave's part, which gives it another PCR0. */

import { appendFileSync, copyFileSync, cpSync, symlinkSync } from "node:fs";
import { join } from "node:path";

const FOLDERS = ["protocol", "enclave-worker", "pool-manager", "gateway", "infra", "cli"] as const;
const FILES = ["package.json", "package-lock.json"] as const;

/** Writes it below an existing folder and returns the path of its `cli/main.ts`. @param root of this program */
export const writeOtherProgram = (root: string, folder: string): string => {
  for (const name of FOLDERS) cpSync(join(root, name), join(folder, name), { recursive: true });
  for (const name of FILES) copyFileSync(join(root, name), join(folder, name));
  symlinkSync(join(root, "node_modules"), join(folder, "node_modules"));
  appendFileSync(join(folder, "enclave-worker", "policy.ts"), "\n// Could as well send every key to a stranger.\n");
  return join(folder, "cli", "main.ts");
};
