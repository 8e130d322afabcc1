/** Passes enclaves' streams to one fixed host, blindly: what runs through is the enclave's own session. */

import { connect, type Socket } from "node:net";
import { CONNECT_TIMEOUT_MS } from "#protocol/limits.ts";
import type { Logger } from "#protocol/log.ts";

/** The one place an egress port leads to. */
export interface RelayTarget {
  readonly host: string;
  readonly port: number;
}

/**
 * Makes the function that connects a socket to the target. Either end's close ends both; back-pressure passes through.
 * An outage is logged once when it begins and once when it ends, however often the enclaves try in between; a
 * connection that breaks after it was made is theirs to notice.
 */
export const createRelay = (target: RelayTarget, logger: Logger): ((socket: Socket) => void) => {
  const { host, port } = target;
  let failures = 0; // connects in a row

  const onFailed = (reason: string): void => {
    if (failures === 0) logger.warn("egress down", { host, port, reason });
    failures += 1;
  };
  const onConnected = (): void => {
    if (failures > 0) logger.info("egress up again", { host, port, failures });
    failures = 0;
  };

  return (socket) => {
    const upstream = connect({ host, port });
    const timer = setTimeout(() => upstream.destroy(new Error("connect timed out")), CONNECT_TIMEOUT_MS);
    const end = (): void => {
      clearTimeout(timer);
      socket.destroy();
      upstream.destroy();
    };
    let connected = false;
    let reason = "no connection before the enclave gave up";
    upstream.setNoDelay(true);
    upstream.once("connect", () => {
      connected = true;
      clearTimeout(timer);
      onConnected();
    });
    upstream.once("error", (error) => {
      reason = error.message;
    });
    upstream.once("close", () => {
      if (!connected) onFailed(reason);
      end();
    });
    socket.once("close", end);
    socket.pipe(upstream).pipe(socket);
  };
};
