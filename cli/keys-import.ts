/** `testudo keys import`: EIP-2335 keystores, sealed for attested enclaves, into DynamoDB. */

import { readdirSync, statSync } from "node:fs";
import { resolve } from "node:path";
import { Command } from "commander";
import { SignerError } from "#protocol/errors.ts";
import { addSealingOptions, runKeyImport, type SealingValues } from "./sealing/import-run.ts";

interface ImportValues extends SealingValues {
  readonly keystores: string;
  readonly passwordFile: string;
}

/** The command. */
export const keysImportCommand = (): Command =>
  addSealingOptions(new Command("import"))
    .description("Seal the keys of EIP-2335 keystores for attested enclaves, and put them into a DynamoDB table.")
    .requiredOption("--keystores <dir>", "folder of keystores (*.json)")
    .requiredOption("--password-file <path>", "one password file for all, or a folder with <keystore name>.txt")
    .addHelpText(
      "after",
      `
A key that is in the table is never replaced; it is skipped and counted, so the same command goes on with a run that
broke off. AWS credentials come from the SDK's default chain (environment, profile, role). See docs/keys.md.
Example:
  testudo keys import --keystores ./keys --password-file ./password.txt --authority 0x… --group main \\
    --table testudo-keys --region eu-central-1`,
    )
    .action(runImport);

const runImport = async (values: ImportValues): Promise<void> => {
  checkPaths(values);
  const { keystoresIn } = await import("./sealing/import-keystores.ts");
  await runKeyImport(values, () => keystoresIn(resolve(values.keystores), resolve(values.passwordFile)));
};

const checkPaths = ({ keystores, passwordFile }: ImportValues): void => {
  const names = statSync(keystores, { throwIfNoEntry: false })?.isDirectory() === true ? readdirSync(keystores) : [];
  if (!names.some((name) => name.endsWith(".json") && !name.startsWith("deposit_data"))) {
    throw new SignerError("bad_request", `--keystores ${keystores}: expected a folder with keystores (*.json)`);
  }
  if (statSync(passwordFile, { throwIfNoEntry: false }) !== undefined) return;
  throw new SignerError("bad_request", `--password-file ${passwordFile}: expected a readable file or folder`);
};
