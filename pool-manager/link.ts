/**
 * A connection that is made again whenever it breaks, for as long as its owner wants it: the gateway's link to the
 * pool-manager and to each enclave. Back-off doubles up to a bound, with jitter, so that many gateways do not come back in step.
 *
 * What it does not do: repeat requests (`pool.ts` decides) or understand payloads.
 */

import type { Duplex } from "node:stream";
import { toSignerError } from "#protocol/errors.ts";
import type { Logger } from "#protocol/log.ts";
import { createRpcClient, type RpcClient } from "#protocol/rpc.ts";

/** First pause after a break: a restarted local process listens again in tens of milliseconds. */
const BACKOFF_MS_MIN = 20;
/** Longest pause: a failed connect to a unix socket costs microseconds, so the link may look once a second for ever. */
const BACKOFF_MS_MAX = 1_000;
/** A connection that lived this long was a good one; after shorter ones in a row the pauses still grow. */
const PROVEN_MS = 1_000;

/** Where a link leads. */
export interface LinkOptions {
  /** For logs: `manager`, `enclave 16`. */
  readonly name: string;
  /** Opens one stream; must settle within a bounded time. */
  readonly connect: () => Promise<Duplex>;
}

/** What a link calls and needs. */
export interface LinkModules {
  readonly now: () => number;
  /** 0 ≤ x < 1. */
  readonly random: () => number;
  readonly logger?: Logger | undefined;
  /** First words on a new connection; the link is up when it resolves. A failure ends that connection. */
  readonly greet?: (client: RpcClient) => Promise<void>;
  /** Takes events; when it throws, the connection ends as a violation of the protocol. */
  readonly onEvent?: (operation: number, payload: Uint8Array) => void;
  /** Called when the link came up. */
  readonly onUp?: () => void;
  /** Called when the link broke after it was up. */
  readonly onDown?: () => void;
}

/** A link; `client` is undefined while it is down. */
export interface Link {
  readonly client: RpcClient | undefined;
  /** Ends the connection and makes no new one. */
  close(): void;
}

/** Begins to connect at once. */
export const createLink = (options: LinkOptions, modules: LinkModules): Link => {
  let current: RpcClient | undefined;
  let up = false;
  let closed = false;
  let failures = 0; // since the link was up
  let flaps = 0; // connections in a row that did not live long
  let reported = false; // one log line for an outage, not one for each attempt
  let timer: NodeJS.Timeout | undefined;

  const retry = (reason: string): void => {
    if (closed) return;
    if (!reported) modules.logger?.warn("connection down", { to: options.name, reason });
    reported = true;
    timer = setTimeout(() => void open(), backoffMs(failures, modules.random()));
    failures += 1;
  };

  const onClose = (openedAt: number, reason: string): void => {
    const wasUp = up;
    current = undefined;
    up = false;
    if (wasUp) {
      flaps = modules.now() - openedAt >= PROVEN_MS ? 0 : flaps + 1;
      failures = flaps;
    }
    if (wasUp && !closed) modules.onDown?.();
    retry(reason);
  };

  const open = async (): Promise<void> => {
    let stream: Duplex;
    try {
      stream = await options.connect();
    } catch (error) {
      retry(toSignerError(error).detail);
      return;
    }
    if (closed) {
      stream.destroy();
      return;
    }
    const openedAt = modules.now();
    const client = createRpcClient(stream, {
      ...(modules.onEvent === undefined ? {} : { onEvent: modules.onEvent }),
      onClose: (reason) => onClose(openedAt, reason.detail),
    });
    current = client;
    await modules.greet?.(client).catch(() => client.close());
    if (client.closed) return;
    up = true;
    reported = false;
    modules.logger?.info("connection up", { to: options.name });
    modules.onUp?.();
  };

  void open();
  return {
    get client() {
      return up ? current : undefined;
    },
    close: () => {
      closed = true;
      clearTimeout(timer);
      current?.close();
    },
  };
};

/** Pause before attempt `failures + 1`, half of it by chance. */
const backoffMs = (failures: number, chance: number): number =>
  Math.min(BACKOFF_MS_MAX, BACKOFF_MS_MIN * 2 ** Math.min(failures, 16)) * (0.5 + chance / 2);
