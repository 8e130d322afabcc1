/** `testudo keys`: what keys an installation or a fleet holds, and new ones. */

import { existsSync } from "node:fs";
import { join } from "node:path";
import { styleText } from "node:util";
import { Command, Option } from "commander";
import { listStoredKeys } from "#pool-manager/keys/key-store.ts";
import { toHex } from "#protocol/bytes.ts";
import { SignerError } from "#protocol/errors.ts";
import { keysRemoveCommand, listTableKeys } from "./keys-aws.ts";
import { keysGenerateCommand } from "./keys-generate.ts";
import { keysImportCommand } from "./keys-import.ts";
import { keysMigrateGuidanceCommand } from "./keys-migrate-guidance.ts";
import { addTableOptions, type TableValues } from "./sealing/aws-options.ts";

/** The command. */
export const keysCommand = (): Command =>
  new Command("keys")
    .description("Make and import keys, and look at the keys of an installation.")
    .addCommand(
      addTableOptions(new Command("list"))
        .description("List the public keys of a data folder, in load order, or of a fleet's table; Testudo may run.")
        .addOption(
          new Option("--from <where>", "data folder or DynamoDB table").choices(["data", "aws"]).default("data"),
        )
        .option("--data <dir>", "data folder", "./data")
        .option("--json", "print a JSON array", false)
        .action(listKeys),
    )
    .addCommand(keysGenerateCommand())
    .addCommand(keysImportCommand())
    .addCommand(keysRemoveCommand())
    .addCommand(keysMigrateGuidanceCommand());

interface ListValues extends TableValues {
  readonly from: "data" | "aws";
  readonly data: string;
  readonly json: boolean;
}

const listKeys = (values: ListValues): void | Promise<void> =>
  values.from === "aws" ? listTableKeys(values) : listFolderKeys(values);

const listFolderKeys = ({ data, json }: ListValues): void => {
  const path = join(data, "keys.sqlite");
  if (!existsSync(path)) {
    throw new SignerError("bad_request", `--data ${data}: no keys there yet; start Testudo once with \`testudo up\``);
  }
  const keys = listStoredKeys(path);
  if (json) {
    const rows = keys.map(({ pubkey, origin, registered }) => ({ pubkey: toHex(pubkey), origin, registered }));
    process.stdout.write(`${JSON.stringify(rows, null, 2)}\n`);
    return;
  }
  for (const { pubkey, origin, registered } of keys) {
    const protection = registered ? "slashing record kept" : "no slashing record yet";
    process.stdout.write(`${toHex(pubkey)}  ${origin.padEnd(9)}  ${styleText("gray", protection)}\n`);
  }
  process.stderr.write(`${keys.length} keys\n`);
};
