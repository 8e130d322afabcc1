/**
 * One enclave as the gateway reaches it: a multiplexed data connection that is made again when it breaks, and the load
 * on it (requests in flight, how long it has been silent) by which the balancer decides.
 *
 * What it does not do: choose, repeat or wait (`pool.ts`).
 */

import { type ErrorCode, SignerError, toSignerError } from "#protocol/errors.ts";
import { CONNECT_TIMEOUT_MS, PORT_DATA } from "#protocol/limits.ts";
import type { Logger } from "#protocol/log.ts";
import {
  decodeSignOutcome,
  encodeSignCommand,
  OPERATION_SIGN,
  type SignCommand,
  type SignOutcome,
} from "#protocol/messages/sign.ts";
import { dial } from "#protocol/transport/address.ts";
import type { MemberLoad } from "./balancer.ts";
import { createLink } from "./link.ts";

/**
 * A connection on which a request ran out of time and nothing at all was answered for this long is given up. A process
 * that is stopped, or a host that is gone without a word, does not answer the new handshake either, so it counts as down until it does.
 * Two seconds are hundreds of normal answers.
 */
const SILENCE_MS_MAX = 2_000;
/**
 * A connection on which nothing at all was answered for this long is given up even before a request runs out of time,
 * so that those in flight can be asked elsewhere. Longer than an enclave waits for its store (3 s): one whose store
 * hangs says so itself. Shorter than the default `--sign-timeout` (5 s): there is time left to ask.
 */
const HANGING_MS = 3_500;

/** Failures that arise on this side of the connection: no sign of life. */
const LOCAL_FAILURES: ReadonlySet<ErrorCode> = new Set(["connection_lost", "overloaded"]);

/** The data connection of one member. */
export interface EnclaveClient extends MemberLoad {
  /** Whether a request could be sent now. */
  readonly connected: boolean;
  /**
   * Sends one request.
   * @throws SignerError the enclave's failure; `connection_lost` when the connection broke or there is none
   */
  sign(command: SignCommand): Promise<SignOutcome>;
  /** Ends the connection for good; requests in flight fail with `connection_lost`. */
  close(): void;
}

/** Time, chance, log and the pool's ear. */
export interface EnclaveClientModules {
  readonly now: () => number;
  readonly random: () => number;
  readonly logger?: Logger | undefined;
  /** Called each time the connection came up. */
  readonly onUp: () => void;
}

/** Begins to connect at once. */
export const createEnclaveClient = (
  member: { readonly cid: number; readonly path: string },
  modules: EnclaveClientModules,
): EnclaveClient => {
  let inFlight = 0;
  /** When the first request went out that the enclave has answered with nothing at all; undefined: none. */
  let silentSince: number | undefined;
  const address = { kind: "hybrid", cid: member.cid, path: member.path, port: PORT_DATA } as const;
  const link = createLink(
    { name: `enclave ${member.cid}`, connect: () => dial(address, { timeoutMs: CONNECT_TIMEOUT_MS }) },
    {
      ...modules,
      onUp: () => {
        silentSince = undefined;
        modules.onUp();
      },
    },
  );
  let watchdog: NodeJS.Timeout | undefined;
  /** Runs while requests are in flight, one timer however many they are. */
  const watch = (afterMs: number): void => {
    watchdog ??= setTimeout(() => {
      watchdog = undefined;
      if (silentSince === undefined || inFlight === 0) return;
      const silentMs = modules.now() - silentSince;
      if (silentMs >= HANGING_MS) link.client?.close();
      else watch(HANGING_MS - silentMs);
    }, afterMs);
  };
  const heard = (): void => {
    silentSince = inFlight > 1 ? modules.now() : undefined; // 1: the request that was just answered
  };

  const sign: EnclaveClient["sign"] = async (command) => {
    const client = link.client;
    if (client === undefined) throw new SignerError("connection_lost", `no connection to enclave ${member.cid}`);
    const sentAt = modules.now();
    inFlight += 1;
    silentSince ??= sentAt;
    watch(HANGING_MS);
    try {
      const payload = await client.request(OPERATION_SIGN, encodeSignCommand(command), command);
      heard();
      return decodeSignOutcome(payload);
    } catch (error) {
      const failure = toSignerError(error);
      if (failure.code === "deadline_exceeded") {
        if (silentSince !== undefined && modules.now() - silentSince >= SILENCE_MS_MAX) client.close();
      } else if (!LOCAL_FAILURES.has(failure.code)) heard();
      throw failure;
    } finally {
      inFlight -= 1;
    }
  };

  return {
    cid: member.cid,
    get connected() {
      return link.client !== undefined;
    },
    get inFlight() {
      return inFlight;
    },
    get silentMs() {
      return inFlight === 0 || silentSince === undefined ? 0 : modules.now() - silentSince;
    },
    sign,
    close: () => {
      clearTimeout(watchdog);
      link.close();
    },
  };
};
