/** Addresses that the gateway listens on: how they are written, and what to do when one cannot be opened. */

import type { AddressInfo } from "node:net";
import { SignerError } from "#protocol/errors.ts";

/** What a listener was told to open, and the options of the command line that choose it. */
export interface ListenTarget {
  readonly host: string;
  readonly port: number;
  readonly hostOption: string;
  readonly portOption: string;
}

/** The URL of a listening address. */
export const toUrl = ({ address, port }: Pick<AddressInfo, "address" | "port">): string =>
  `http://${toAuthority(address, port)}`;

/** Turns the failure to open a port into a {@link SignerError} `unavailable` whose text says what to do. */
export const toListenFailure = (error: unknown, target: ListenTarget): SignerError => {
  const { host, port, hostOption, portOption } = target;
  const code = (error as { code?: unknown } | undefined)?.code;
  const problem = (): string => {
    switch (code) {
      case "EADDRINUSE":
        return `is in use: stop the other program, or choose another port with ${portOption}`;
      case "EACCES":
        return `may not be opened by this user: choose a port above 1023 with ${portOption}`;
      case "EADDRNOTAVAIL":
        return `is no address of this machine: choose another with ${hostOption}`;
      default:
        return `cannot be opened (${typeof code === "string" ? code : String(error)})`;
    }
  };
  return new SignerError("unavailable", `${toAuthority(host, port)} ${problem()}`, { cause: error });
};

const toAuthority = (address: string, port: number): string =>
  `${address.includes(":") ? `[${address}]` : address}:${port}`;
