/** A process that holds a data folder until it is killed: `node folder-holder.ts <path>`; says `held` when it does. */

import { openDataFolder } from "#pool-manager/data-folder.ts";

openDataFolder({ path: process.argv[2] ?? "", store: "sqlite" });
process.stdout.write("held\n");
setInterval(() => undefined, 60_000);
