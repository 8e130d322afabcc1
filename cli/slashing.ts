/** `testudo slashing`: look after the protection store. One file a sub-command, except for the shortest. */

import { Command } from "commander";
import { describeStore } from "#pool-manager/config.ts";
import { toHex } from "#protocol/bytes.ts";
import { exportCommand, importCommand } from "./interchange.ts";
import { addStoreOptions, networkOf, type StoreOptionValues, storeLocationOf } from "./options.ts";
import { openProtection } from "./protection-store.ts";
import { slashingOperatorCommands } from "./slashing-commands.ts";

/** The command. */
export const slashingCommand = (): Command => {
  const slashing = new Command("slashing")
    .description("Look after the slashing protection store (works while the pool runs, and while it does not).")
    .addCommand(
      addStoreOptions(new Command("init"))
        .description("Mark an empty store as this installation's; `up` does it by itself on the first start.")
        .action(init),
    )
    .addCommand(importCommand())
    .addCommand(exportCommand());
  for (const command of slashingOperatorCommands()) slashing.addCommand(command);
  return slashing;
};

const init = async (values: StoreOptionValues): Promise<void> => {
  const { root, created, close } = await openProtection(values, { initialise: true, network: networkOf(values) });
  await close();
  const where = describeStore(storeLocationOf(values.store));
  const verb = created ? "initialised" : "is already initialised";
  process.stdout.write(`slashing protection in ${where} ${verb} for the chain ${toHex(root)}\n`);
};
