/** `testudo operator`: the key that may lower protection. */

import { resolve } from "node:path";
import { Command } from "commander";
import { makeOperatorKey } from "#pool-manager/operator-key.ts";

/** The command. */
export const operatorCommand = (): Command =>
  new Command("operator")
    .description("The operator's key: whoever holds it may register keys, enable them again and recover a store.")
    .addCommand(
      new Command("init")
        .description("Make an Ed25519 key pair. Keep the file offline; start Testudo with its public half.")
        .argument("<file>", "where the private key goes (PEM, mode 600); an existing file is never replaced")
        .action((file: string) => {
          const publicKey = makeOperatorKey(resolve(file));
          process.stdout.write(`${publicKey}\n`);
          process.stderr.write(
            `private key in ${file}: keep it offline, and a copy of it\n` +
              `start Testudo with:  --operator-key ${publicKey}\n` +
              `sign commands with:  --operator-key ${file}\n`,
          );
        }),
    );
