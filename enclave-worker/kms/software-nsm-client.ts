/**
 * Asks the software NSM at the other end of a stream to the parent: development only. The parent then decides what the
 * documents say of this enclave, and only those who trust the development root believe them.
 */

import type { Socket } from "node:net";
import { SOFTWARE_NSM_OPERATION } from "#protocol/attestation/nsm-messages.ts";
import { createRpcClient } from "#protocol/rpc.ts";
import { createNsm, type Nsm } from "./nsm.ts";

/** How the software NSM is reached. */
export interface SoftwareNsmClientOptions {
  /** Opens a stream to it; one for each document, since they are rare. */
  readonly connect: () => Promise<Socket>;
  /** Longest wait for an answer in ms. */
  readonly timeoutMs?: number;
}

/** A document takes a millisecond there, and one in hours two new keys. */
const TIMEOUT_MS = 5_000;

/** An {@link Nsm} at the parent. */
export const createSoftwareNsmClient = ({ connect, timeoutMs = TIMEOUT_MS }: SoftwareNsmClientOptions): Nsm =>
  createNsm(async (request) => {
    const client = createRpcClient(await connect());
    try {
      // A copy: the answer may be a view on the receive buffer.
      return (await client.request(SOFTWARE_NSM_OPERATION, request, { timeoutMs })).slice();
    } finally {
      client.close();
    }
  });
