/** `testudo keys`: what keys an installation holds, and new ones. */

import { existsSync } from "node:fs";
import { join } from "node:path";
import { styleText } from "node:util";
import { Command } from "commander";
import { listStoredKeys } from "#pool-manager/keys/key-store.ts";
import { toHex } from "#protocol/bytes.ts";
import { SignerError } from "#protocol/errors.ts";
import { keysGenerateCommand } from "./keys-generate.ts";

/** The command. */
export const keysCommand = (): Command =>
  new Command("keys")
    .description("Make keys, and look at the keys of an installation.")
    .addCommand(
      new Command("list")
        .description("List the public keys in a data folder, in load order; works while the pool runs.")
        .option("--data <dir>", "data folder", "./data")
        .option("--json", "print a JSON array", false)
        .action(listKeys),
    )
    .addCommand(keysGenerateCommand());

const listKeys = ({ data, json }: { data: string; json: boolean }): void => {
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
