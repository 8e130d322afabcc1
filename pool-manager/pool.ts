/**
 * The one door through which a gateway reaches the enclaves: follows the manager's member list, keeps a connection to
 * each ready member, and signs: choose → dispatch → on a failure that another member can mend, ask once more.
 *
 * Which failures that are: the connection broke (safe, because the same root is a repeat at the next enclave), the
 * enclave refused before doing anything (`unavailable`, for example draining), or it was full (`overloaded`). Each of the three
 * is mended once a request. Never after `deadline_exceeded`, `unknown_outcome` or `store_suspect`: there, asking again would
 * only add load or hide data loss.
 *
 * A request whose enclave falls silent is asked of one other enclave beside it, once (`enclave-client.ts` says when).
 *
 * Keys are not decided here: the enclave answers `unknown_key`.
 */

import { setImmediate as nextTurn } from "node:timers/promises";
import { type ErrorCode, SignerError, toSignerError } from "#protocol/errors.ts";
import { IN_FLIGHT_PER_CONNECTION_MAX, SIGN_DEADLINE_MS_MAX } from "#protocol/limits.ts";
import type { SignOutcome } from "#protocol/messages/sign.ts";
import { orderCandidates, STALL_MS } from "./balancer.ts";
import { type Attempt, createEnclaveClient, type EnclaveClient } from "./enclave-client.ts";
import { createFollower, type FollowerModules } from "./follower.ts";
import type { MemberState, MemberView, Pool, PoolSignRequest, PoolView } from "./pool-port.ts";

/**
 * Longest wait for a connection when every ready member's is down. A killed local enclave is taken off the list within
 * milliseconds and a broken connection is made again in 20..300 ms; after half a second it is an outage, and the client does
 * better with an answer.
 */
export const RECONNECT_WAIT_MS_MAX = 500;
/** Requests that may wait so at one time, as many as one connection may carry. */
const WAITING_MAX = IN_FLIGHT_PER_CONNECTION_MAX;

/**
 * Requests that are asked of a second enclave at one time. A store that hangs makes every enclave silent, and must not be
 * asked everything twice: this is an eighth of what one connection may carry, and nobody who is silent, too, is asked. A
 * frozen enclave among healthy ones has no more waiting: new requests leave it after `STALL_MS`, and hedges take milliseconds.
 */
export const HEDGES_MAX = IN_FLIGHT_PER_CONNECTION_MAX / 8;

/** Failures that another member may mend, each once a request. */
const MENDABLE: ReadonlySet<ErrorCode> = new Set(["connection_lost", "unavailable", "overloaded"]);

/** States in which an open connection is kept; a new one is only made to a ready member. */
const KEEPS_CONNECTION = {
  launching: false,
  provisioning: true,
  ready: true,
  draining: true,
  gone: false,
  failed: false,
} as const satisfies Record<MemberState, boolean>;

/** Builds the pool of one gateway process; it begins to follow and connect at once. */
export const createPool = (options: { readonly managerSocketPath: string }, modules: FollowerModules): Pool => {
  const { now } = modules;
  const follower = createFollower({ socketPath: options.managerSocketPath }, modules);
  const clients = new Map<string, EnclaveClient>();
  const waiting = new Set<() => void>();
  let ready: readonly EnclaveClient[] = [];
  let hedges = 0;
  let closed = false;

  const wake = (): void => {
    for (const proceed of waiting) proceed();
  };

  const connect = (member: MemberView): EnclaveClient => {
    const client = createEnclaveClient(member, { ...modules, onUp: wake, hedge: (attempt) => hedge(client, attempt) });
    clients.set(memberKey(member), client);
    return client;
  };

  /** Asks somebody else than `silent`, who answers and can help; undefined when there is nobody, or too much is asked twice. */
  const hedge = (silent: EnclaveClient, attempt: Attempt): Promise<SignOutcome> | undefined => {
    const canHelp = (it: EnclaveClient): boolean =>
      it !== silent && it.connected && it.silentMs <= STALL_MS && (it.reachesStore || !attempt.slashable);
    const timeoutMs = Math.floor(attempt.deadline - now());
    if (hedges >= HEDGES_MAX || timeoutMs < 1) return undefined;
    const [client] = orderCandidates(attempt, ready.filter(canHelp));
    if (client === undefined) return undefined;
    hedges += 1;
    return client.sign({ ...attempt, timeoutMs, mayHedge: false }).finally(() => {
      hedges -= 1;
    });
  };

  const reconcile = (): void => {
    const { members } = follower.view();
    const kept = new Set(members.filter((member) => KEEPS_CONNECTION[member.state]).map(memberKey));
    for (const [key, client] of clients) {
      if (kept.has(key)) continue;
      clients.delete(key);
      client.close(); // its requests in flight are dispatched again
    }
    ready = members
      .filter((member) => member.state === "ready")
      .map((member) => {
        const client = clients.get(memberKey(member)) ?? connect(member);
        client.reachesStore = member.status?.reachesStore !== false;
        return client;
      });
    wake();
  };
  follower.onChange(reconcile);

  /** Resolves at the next change of connections or members, at the latest after `timeoutMs`. */
  const waitForChange = (timeoutMs: number): Promise<void> =>
    new Promise((resolve, reject) => {
      if (waiting.size >= WAITING_MAX) {
        return reject(new SignerError("overloaded", "too many requests wait for an enclave"));
      }
      const proceed = (): void => {
        clearTimeout(timer);
        waiting.delete(proceed);
        resolve();
      };
      const timer = setTimeout(proceed, timeoutMs);
      waiting.add(proceed);
    });

  /** Ready members with a live connection that have not refused; waits a little while all of them reconnect. */
  const candidates = async (asked: {
    readonly refusedBy: readonly EnclaveClient[];
    readonly deadline: number;
  }): Promise<readonly EnclaveClient[]> => {
    let waitUntil: number | undefined;
    for (;;) {
      if (closed) throw new SignerError("unavailable", "the pool is closed");
      const willing = asked.refusedBy.length === 0 ? ready : ready.filter((it) => !asked.refusedBy.includes(it));
      const connected = willing.every(isConnected) ? willing : willing.filter(isConnected);
      if (connected.length > 0 || willing.length === 0) return connected;
      waitUntil ??= Math.min(asked.deadline, now() + RECONNECT_WAIT_MS_MAX);
      const waitMs = waitUntil - now();
      if (waitMs <= 0) return connected;
      await waitForChange(waitMs);
    }
  };

  const sign = async (request: PoolSignRequest): Promise<SignOutcome> => {
    const deadline = now() + Math.min(request.timeoutMs, SIGN_DEADLINE_MS_MAX);
    const refusedBy: EnclaveClient[] = [];
    const mended = new Set<ErrorCode>();
    let failure: SignerError | undefined;
    let mayHedge = true;
    for (;;) {
      const connected = await candidates({ refusedBy, deadline });
      const client = connected.length > 1 ? orderCandidates(request, connected)[0] : connected[0];
      if (client === undefined) throw toAnswer(failure);
      const timeoutMs = Math.floor(deadline - now());
      if (timeoutMs < 1) throw new SignerError("deadline_exceeded", `no answer within ${request.timeoutMs} ms`);
      const { pubkey, body, slashable } = request;
      const attempt: Attempt = { pubkey, body, slashable, timeoutMs, deadline, mayHedge };
      try {
        return await client.sign(attempt);
      } catch (error) {
        failure = toSignerError(error);
      }
      mayHedge = attempt.mayHedge;
      if (!MENDABLE.has(failure.code) || mended.has(failure.code)) throw toAnswer(failure);
      mended.add(failure.code);
      if (failure.code !== "connection_lost") refusedBy.push(client);
      // Members that died together are noticed in one turn of the event loop: let it end before choosing again.
      else await nextTurn();
    }
  };

  /** While the manager is away, its last word on a member counts only as long as the member itself can be reached. */
  const view = (): PoolView => {
    const last = follower.view();
    if (last.connected) return last;
    const isLost = (member: MemberView) => member.state === "ready" && !clients.get(memberKey(member))?.connected;
    return { ...last, members: last.members.map((it) => (isLost(it) ? { ...it, state: "gone" } : it)) };
  };

  const attest: Pool["attest"] = async ({ cid, nonce, timeoutMs }) => {
    const client = ready.find((it) => it.cid === cid && it.connected);
    if (client !== undefined) return client.attest(nonce, { timeoutMs });
    throw new SignerError("unavailable", `enclave ${cid} is not ready`);
  };

  return {
    sign,
    attest,
    view,
    onChange: follower.onChange,
    reload: follower.reload,
    reloadStatus: follower.reloadStatus,
    close: async () => {
      closed = true;
      ready = [];
      follower.close();
      for (const client of clients.values()) client.close();
      clients.clear();
      wake();
    },
  };
};

const isConnected = (client: EnclaveClient): boolean => client.connected;

/** A replaced enclave, or one at another path, is another member. */
const memberKey = (member: MemberView): string => `${member.cid}:${member.incarnation}:${member.path}`;

/** What the caller learns when nobody is left to ask: the last failure, or that there is no enclave. */
const toAnswer = (failure: SignerError | undefined): SignerError => {
  if (failure === undefined) return new SignerError("unavailable", "no ready enclave");
  if (failure.code !== "connection_lost") return failure;
  return new SignerError("unavailable", "the enclave was lost with the request in flight, and no other answered", {
    cause: failure,
  });
};
