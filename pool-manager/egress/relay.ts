/** Passes an enclave's stream to one fixed host, blindly: what runs through is the enclave's own session. */

import { connect, type Socket } from "node:net";
import { CONNECT_TIMEOUT_MS } from "#protocol/limits.ts";
import type { Logger } from "#protocol/log.ts";

/** The one place an egress port leads to. */
export interface RelayTarget {
  readonly host: string;
  readonly port: number;
}

/** Connects `socket` to the target. Either end's close ends both; back-pressure passes through. */
export const relay = (socket: Socket, target: RelayTarget, logger: Logger): void => {
  const upstream = connect(target);
  const timer = setTimeout(() => upstream.destroy(new Error("connect timed out")), CONNECT_TIMEOUT_MS);
  const end = (): void => {
    clearTimeout(timer);
    socket.destroy();
    upstream.destroy();
  };
  upstream.setNoDelay(true);
  upstream.once("connect", () => clearTimeout(timer));
  upstream.once("error", (error) => {
    logger.warn("egress failed", { host: target.host, port: target.port, reason: error.message });
    end();
  });
  upstream.once("close", end);
  socket.once("close", end);
  socket.pipe(upstream).pipe(socket);
};
