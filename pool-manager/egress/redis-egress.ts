/** The enclaves' ways to Redis: one port for each address that the operator listed, and each leads nowhere else. */

import { PORT_EGRESS_REDIS } from "#protocol/limits.ts";
import type { Logger } from "#protocol/log.ts";
import type { RedisRoute } from "#protocol/messages/control.ts";
import type { OnConnection } from "#protocol/transport/hybrid.ts";
import { createRelay } from "./relay.ts";

/** A parent-side vsock port, and what takes the enclaves' connections to it. */
export interface EgressPort {
  readonly port: number;
  readonly onConnection: OnConnection;
}

/** Makes the relays. All enclaves share them, so that an outage is reported once. */
export const createRedisEgress = ({ addresses }: RedisRoute, logger: Logger): EgressPort[] =>
  addresses.map(({ host, port }, index) => ({
    port: PORT_EGRESS_REDIS + index,
    onConnection: createRelay({ host, port }, logger),
  }));
