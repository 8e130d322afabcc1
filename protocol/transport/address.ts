/** Where a port of an enclave is reached from the parent. */

import type { Socket } from "node:net";
import { connectGuest } from "./hybrid.ts";

/**
 * The hybrid vsock convention of Firecracker and vhost-device-vsock: one unix socket at `path` leads to every port of
 * the guest with CID `cid` (`hybrid.ts`).
 */
export interface Address {
  readonly kind: "hybrid";
  /** Path of the unix socket; at most 96 bytes, so that `<path>_<port>` stays within the kernel's 107. */
  readonly path: string;
  readonly cid: number;
  readonly port: number;
}

/**
 * Opens a stream to a port of an enclave.
 * @throws SignerError `unavailable` when nobody listens there within the time
 */
export const dial = (address: Address, options: { timeoutMs: number }): Promise<Socket> =>
  connectGuest(address, options);
