/** The command line: one file a command. */

import { Command } from "commander";
import { attestCommand } from "./attest.ts";
import { configCommand } from "./config-seal.ts";
import { enclaveCommand } from "./enclave.ts";
import { gatewayCommand } from "./gateway.ts";
import { keysCommand } from "./keys.ts";
import { operatorCommand } from "./operator.ts";
import { EXIT_USAGE, exitWithError } from "./output.ts";
import { poolCommand } from "./pool.ts";
import { slashingCommand } from "./slashing.ts";
import { upCommand } from "./up.ts";

const NODE_MAJOR_MIN = 26;

if (Number(process.versions.node.split(".")[0]) < NODE_MAJOR_MIN) {
  process.stderr.write(`testudo: needs Node ${NODE_MAJOR_MIN}; start it with \`npm start\` or cli/launch.mjs\n`);
  process.exit(1);
}

// Whatever this program writes is for its user alone.
process.umask(0o077);

const program = new Command("testudo")
  .description("Remote signer for Ethereum validator fleets: a Web3Signer API over a pool of enclaves.")
  .showHelpAfterError("(add --help to see every option)")
  .helpCommand(false)
  .exitOverride(({ exitCode }) => process.exit(exitCode === 0 ? 0 : EXIT_USAGE))
  .addCommand(upCommand())
  .addCommand(gatewayCommand())
  .addCommand(poolCommand())
  .addCommand(enclaveCommand())
  .addCommand(slashingCommand())
  .addCommand(keysCommand())
  .addCommand(configCommand())
  .addCommand(operatorCommand())
  .addCommand(attestCommand());

/** `addCommand` takes a command as it is: what was set above does not reach it by itself. */
const inherit = (command: Command): void => {
  for (const child of command.commands) inherit(child.copyInheritedSettings(command));
};
inherit(program);

try {
  await program.parseAsync();
} catch (error) {
  exitWithError(error);
}
