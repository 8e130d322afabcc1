/**
 * One enclave as the gateway reaches it: a multiplexed data connection that is made again when it breaks, and the load
 * on it (requests in flight, how long it has been silent) by which the balancer decides.
 *
 * A request whose enclave falls silent is handed to its owner once, to be asked of one other enclave beside this one (a
 * hedge). That is safe: the same root is a repeat there, and the store serialises the two. The first signature, refusal or
 * other final word of the two counts; a hedge that fails is as if it had never been.
 *
 * What it does not do: choose, repeat or wait (`pool.ts`).
 */

import { setImmediate as nextTurn } from "node:timers/promises";
import { type ErrorCode, SignerError, toSignerError } from "#protocol/errors.ts";
import { CONNECT_TIMEOUT_MS, PORT_DATA } from "#protocol/limits.ts";
import type { Logger } from "#protocol/log.ts";
import { type AttestOutcome, decodeAttestOutcome, OPERATION_ATTEST } from "#protocol/messages/attest.ts";
import {
  decodeSignOutcome,
  encodeSignCommand,
  OPERATION_SIGN,
  type SignCommand,
  type SignOutcome,
} from "#protocol/messages/sign.ts";
import type { RpcClient } from "#protocol/rpc.ts";
import { dial } from "#protocol/transport/address.ts";
import type { MemberLoad } from "./balancer.ts";
import { InFlight, type Linked } from "./in-flight.ts";
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
/**
 * A request is hedged once its enclave has answered nothing at all for this long. Two hundred normal answers, so that no
 * pause of a healthy enclave looks like it; and a quarter of the 4 s in which an attestation is due.
 */
export const HEDGE_MS = 1_000;
/** A request with little time is hedged after this share of it: as much is left for the other enclave. */
const HEDGE_TIME_SHARE = 0.5;
/** No shorter silence says anything: ten normal answers, or one slow flush of a disk. */
const HEDGE_MS_MIN = 50;
/** Pause before requests for which nobody could be asked are looked at again; all of them at once, by one timer. */
const HEDGE_AGAIN_MS = 250;
/** A look that is late by more than this says that this very process stood still, and has not read what came meanwhile. */
const LATE_MS = HEDGE_MS_MIN;

/** Failures that arise on this side of the connection: no sign of life. */
const LOCAL_FAILURES: ReadonlySet<ErrorCode> = new Set(["connection_lost", "overloaded"]);
/**
 * Failures that are final whoever of two enclaves says so. A denial is an outcome and final, too: the record of the very
 * same duty never denies it. A suspicion is believed although the other enclave might sign: it shows a loss of data.
 */
const FINAL_FAILURES: ReadonlySet<ErrorCode> = new Set(["bad_request", "store_suspect"]);

/** One request as it is sent to one enclave. */
export interface Attempt extends SignCommand {
  /** Whether slashing protection takes part; a hint. */
  readonly slashable: boolean;
  /** When its time is over, in ms of the pool's clock. */
  readonly deadline: number;
  /** Whether it may be hedged; cleared when it was. */
  mayHedge: boolean;
}

/** The data connection of one member. */
export interface EnclaveClient extends MemberLoad {
  /** Whether a request could be sent now. */
  readonly connected: boolean;
  /** As its owner last heard of it (see {@link MemberLoad}). */
  reachesStore: boolean;
  /**
   * Sends one request.
   * @throws SignerError the enclave's failure; `connection_lost` when the connection broke or there is none
   */
  sign(attempt: Attempt): Promise<SignOutcome>;
  /** Asks for an attestation document; counts for no load and no silence. @throws SignerError as `sign` */
  attest(nonce: Uint8Array, options: { readonly timeoutMs: number }): Promise<AttestOutcome>;
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
  /** Asks one other enclave; undefined when there is none to ask now. */
  readonly hedge: (attempt: Attempt) => Promise<SignOutcome> | undefined;
}

/** A request that the enclave has not answered yet. */
interface Entry extends Linked<Entry> {
  /** Undefined when it may not be hedged (any more): its body is not kept for longer than its client waits. */
  attempt: Attempt | undefined;
  hedge: Promise<SignOutcome> | undefined;
  readonly sentAt: number;
  readonly resolve: (outcome: SignOutcome) => void;
  readonly reject: (failure: SignerError) => void;
}

/** Begins to connect at once. */
export const createEnclaveClient = (
  member: { readonly cid: number; readonly path: string },
  modules: EnclaveClientModules,
): EnclaveClient => {
  /** In the order in which they were sent. */
  const entries = new InFlight<Entry>();
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
  let watchAt = 0;
  /** Runs while requests are in flight, one timer however many they are; the earliest of two times counts. */
  const watch = (at: number): void => {
    if (watchdog !== undefined) {
      if (at >= watchAt) return;
      clearTimeout(watchdog);
    }
    watchAt = at;
    watchdog = setTimeout(look, Math.max(0, at - modules.now()));
  };
  const look = (): void => {
    watchdog = undefined;
    if (modules.now() - watchAt <= LATE_MS) judge();
    else void nextTurn().then(judge); // then the sockets have been read
  };
  const judge = (): void => {
    const { oldest } = entries;
    if (silentSince === undefined || oldest === undefined) return;
    // A time in which nothing was asked is no silence, though what was asked before it was never answered.
    const since = Math.max(silentSince, oldest.sentAt);
    const silentMs = modules.now() - since;
    if (silentMs >= HANGING_MS) link.client?.close();
    else watch(since + Math.min(HANGING_MS, hedgeSilent(silentMs)));
  };

  /** Hedges what has met silence for long enough. Returns the silence at which to look again, in ms. */
  const hedgeSilent = (silentMs: number): number => {
    let nextMs = HANGING_MS;
    let hedged = 0;
    let nobodyRecords = false;
    for (let entry = entries.oldest; entry !== undefined; entry = entry.after) {
      const { attempt } = entry;
      if (attempt === undefined) continue;
      const dueMs = hedgeAfterMs(attempt.timeoutMs);
      if (silentMs < dueMs) nextMs = Math.min(nextMs, dueMs);
      else if (!(nobodyRecords && attempt.slashable) && hedge(entry, attempt)) hedged += 1;
      else {
        nextMs = Math.min(nextMs, silentMs + HEDGE_AGAIN_MS);
        if (!attempt.slashable) break; // nobody can be asked for what anybody can do
        nobodyRecords = true;
      }
    }
    if (hedged > 0) {
      const fields = { cid: member.cid, silentMs: Math.round(silentMs), requests: hedged };
      modules.logger?.warn("enclave silent, asking others too", fields);
    }
    return nextMs;
  };
  const hedge = (entry: Entry, attempt: Attempt): boolean => {
    const other = modules.hedge(attempt);
    if (other === undefined) return false;
    attempt.mayHedge = false;
    entry.attempt = undefined;
    entry.hedge = other;
    other.then(entry.resolve, (error: unknown) => {
      const failure = toSignerError(error);
      if (FINAL_FAILURES.has(failure.code)) entry.reject(failure);
    });
    return true;
  };

  const heard = (): void => {
    silentSince = entries.size > 0 ? modules.now() : undefined;
  };
  const fail = (entry: Entry, failure: SignerError): void => {
    const reject = (): void => entry.reject(failure);
    if (entry.hedge === undefined || FINAL_FAILURES.has(failure.code)) reject();
    else entry.hedge.then(() => undefined, reject);
  };

  const giveUpSilent = async (client: RpcClient): Promise<void> => {
    const since = silentSince;
    if (since === undefined || modules.now() - since < SILENCE_MS_MAX) return;
    await nextTurn(); // perhaps this process stood still: then the socket has been read
    if (silentSince === since) client.close();
  };

  const send = (client: RpcClient, entry: Entry, attempt: Attempt): void => {
    client.request(OPERATION_SIGN, encodeSignCommand(attempt), attempt).then(
      (payload) => {
        entries.remove(entry);
        heard();
        try {
          entry.resolve(decodeSignOutcome(payload));
        } catch (error) {
          fail(entry, toSignerError(error));
        }
      },
      (error: unknown) => {
        entries.remove(entry);
        const failure = toSignerError(error);
        if (failure.code === "deadline_exceeded") {
          void giveUpSilent(client);
        } else if (!LOCAL_FAILURES.has(failure.code)) heard();
        fail(entry, failure);
      },
    );
  };

  const sign: EnclaveClient["sign"] = (attempt) =>
    new Promise((resolve, reject) => {
      const { client } = link;
      if (client === undefined) {
        return reject(new SignerError("connection_lost", `no connection to enclave ${member.cid}`));
      }
      const sentAt = modules.now();
      const entry: Entry = {
        attempt: attempt.mayHedge ? attempt : undefined,
        hedge: undefined,
        sentAt,
        resolve,
        reject,
        before: undefined,
        after: undefined,
      };
      send(client, entry, attempt);
      entries.add(entry);
      silentSince ??= sentAt;
      watch(sentAt + (attempt.mayHedge ? hedgeAfterMs(attempt.timeoutMs) : HANGING_MS));
    });

  return {
    cid: member.cid,
    get connected() {
      return link.client !== undefined;
    },
    get inFlight() {
      return entries.size;
    },
    get silentMs() {
      return entries.size === 0 || silentSince === undefined ? 0 : modules.now() - silentSince;
    },
    reachesStore: true,
    sign,
    attest: async (nonce, options) => {
      const { client } = link;
      if (client === undefined) throw new SignerError("connection_lost", `no connection to enclave ${member.cid}`);
      return decodeAttestOutcome(await client.request(OPERATION_ATTEST, nonce, options));
    },
    close: () => {
      clearTimeout(watchdog);
      link.close();
    },
  };
};

/** The silence after which a request is hedged. */
const hedgeAfterMs = (timeoutMs: number): number =>
  Math.max(HEDGE_MS_MIN, Math.min(HEDGE_MS, timeoutMs * HEDGE_TIME_SHARE));
