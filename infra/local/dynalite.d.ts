/** What we use of dynalite 4, which brings no types: https://github.com/architect/dynalite#programmatically */

declare module "dynalite" {
  import type { Server } from "node:http";

  /** Makes a server that does not listen yet. */
  const dynalite: (options: {
    path?: string;
    createTableMs?: number;
    deleteTableMs?: number;
    updateTableMs?: number;
  }) => Server;
  export = dynalite;
}
