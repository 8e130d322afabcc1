/**
 * DynamoDB for development and tests: dynalite on loopback, which speaks the real protocol to the unmodified AWS SDK. It
 * asks for credentials and believes any, and has no transactions; it is not for production.
 */

import type { AddressInfo } from "node:net";
import dynalite from "dynalite";

/** Settings of the local DynamoDB. */
export interface LocalDynamoOptions {
  /** Tables are kept here; undefined: in memory. One process at a time. */
  readonly folder?: string | undefined;
  /** Of 127.0.0.1; default: a free one. */
  readonly port?: number | undefined;
}

/** A running DynamoDB. */
export interface LocalDynamo {
  /** `http://127.0.0.1:<port>`. */
  readonly url: string;
  readonly port: number;
  close(): Promise<void>;
}

const CONNECTIONS_MAX = 256;
/** AWS takes seconds to make a table; nobody learns anything from waiting here. */
const TABLE_CHANGE_MS = 10;

/** Starts it. */
export const startLocalDynamo = async ({ folder, port = 0 }: LocalDynamoOptions = {}): Promise<LocalDynamo> => {
  const server = dynalite({
    ...(folder !== undefined && { path: folder }),
    createTableMs: TABLE_CHANGE_MS,
    deleteTableMs: TABLE_CHANGE_MS,
    updateTableMs: TABLE_CHANGE_MS,
  });
  server.maxConnections = CONNECTIONS_MAX;
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, "127.0.0.1", () => {
      server.off("error", reject);
      resolve();
    });
  });
  const bound = (server.address() as AddressInfo).port;
  return {
    url: `http://127.0.0.1:${bound}`,
    port: bound,
    close: () =>
      new Promise((resolve, reject) => {
        server.close((error) => (error === undefined || error === null ? resolve() : reject(error)));
        server.closeAllConnections();
      }),
  };
};
