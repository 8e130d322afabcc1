/** The enclaves' way to KMS: one host and port, blindly. TLS begins and ends in the enclave. */

import { PORT_EGRESS_KMS } from "#protocol/limits.ts";
import type { Logger } from "#protocol/log.ts";
import type { EgressPort } from "./redis-egress.ts";
import { createRelay, type RelayTarget } from "./relay.ts";

/** What went through since the start. */
export interface KmsTraffic {
  readonly connections: number;
  /** Bytes from enclaves, and to them, of connections that have ended. */
  readonly sentBytes: number;
  readonly receivedBytes: number;
}

/** The port and its counters. */
export interface KmsEgress extends EgressPort {
  readonly traffic: KmsTraffic;
}

/** Makes the relay. All enclaves share it, so that an outage is reported once. */
export const createKmsEgress = (target: RelayTarget, logger: Logger): KmsEgress => {
  const relay = createRelay(target, logger);
  let traffic: KmsTraffic = { connections: 0, sentBytes: 0, receivedBytes: 0 };
  return {
    port: PORT_EGRESS_KMS,
    onConnection: (socket) => {
      traffic = { ...traffic, connections: traffic.connections + 1 };
      socket.once("close", () => {
        const { bytesRead, bytesWritten } = socket;
        traffic = {
          ...traffic,
          sentBytes: traffic.sentBytes + bytesRead,
          receivedBytes: traffic.receivedBytes + bytesWritten,
        };
        logger.info("egress to KMS ended", { ...target, sentBytes: bytesRead, receivedBytes: bytesWritten });
      });
      relay(socket);
    },
    get traffic() {
      return traffic;
    },
  };
};

const PORT_HTTPS = 443;

/**
 * Where the relay leads: the endpoint's host and port, or AWS's host of the key's region.
 * @param url undefined: AWS's own
 */
export const kmsTargetOf = (
  url: string | undefined,
  { host }: { readonly host: string | undefined },
): RelayTarget | undefined => {
  if (url === undefined) return host === undefined ? undefined : { host, port: PORT_HTTPS };
  const { hostname, port } = new URL(url);
  return { host: hostname.replace(/^\[(.*)\]$/, "$1"), port: port === "" ? PORT_HTTPS : Number(port) };
};
