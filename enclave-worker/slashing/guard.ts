/**
 * Slashing protection at the moment of signing: check, record durably, release — in this order, whatever happens.
 *
 * Per validator the guard keeps the newest record it has seen (the *floor*) and whether it saw that very record
 * acknowledged as durable. The hot path is one compare-and-set from the cached record to the next; the signature is
 * computed meanwhile and dropped unless the store says `stored`. Requests for one validator are taken one after the
 * other; different validators never wait for each other.
 *
 * Whatever contradicts "an acknowledged write is never lost" (a record that is gone, behind the floor, or cannot be
 * verified) makes the store *suspect*: from then on this guard refuses every slashable duty.
 *
 * What it does not do: decide (that is `protocol/slashing/rules.ts`), or know how the store works.
 */

import { bytesEqual, toHex } from "#protocol/bytes.ts";
import { assertNever, SignerError, toSignerError } from "#protocol/errors.ts";
import { PAGE_ENTRIES_MAX } from "#protocol/limits.ts";
import type { SignOutcome } from "#protocol/messages/sign.ts";
import { type RecordCodec, readKeptRecord } from "#protocol/slashing/record.ts";
import { type Candidate, decide, EMPTY_STATE, isBehind, type SlashingState } from "#protocol/slashing/rules.ts";
import type { SlashingStore } from "#protocol/slashing/store.ts";
import { createFloor } from "./floor.ts";

/** A key whose record the guard shall keep. */
export interface GuardedKey {
  readonly pubkey: Uint8Array;
  /** Whether it had a record before: then an absent one is data loss and not a new validator. */
  readonly registered: boolean;
}

/** One slashable request. */
export interface GuardedRequest {
  readonly pubkey: Uint8Array;
  readonly candidate: Candidate;
  /** Called at most once, when the rules allow the candidate; its result is released only after the record is. */
  readonly sign: () => Promise<Uint8Array>;
  /** Time by which nothing new may be begun, in ms of {@link GuardModules.now}. */
  readonly deadlineMs: number;
}

/** Slashing protection for the keys of one enclave. */
export interface Guard {
  /**
   * Signs under protection.
   * @throws SignerError `unknown_key | store_suspect | unknown_outcome | unavailable | overloaded | deadline_exceeded`
   */
  sign(request: GuardedRequest): Promise<SignOutcome>;
  /**
   * Reads the records of keys that are not kept yet, and registers those that are new. A record that is gone or cannot
   * be verified is left alone and makes the store suspect.
   */
  track(keys: readonly GuardedKey[]): Promise<void>;
  /** Forgets a key that was unloaded. */
  forget(pubkey: Uint8Array): void;
  /** Reads all kept records again. `trust` takes a suspicion back, after a recovery, unless they contradict again. */
  refresh(options: { trust: boolean }): Promise<void>;
  /** The newest state this enclave has seen of a validator. */
  seen(pubkey: Uint8Array): SlashingState | undefined;
  /** The newest record of every validator (copies). */
  records(): Iterable<{ readonly pubkey: Uint8Array; readonly record: Uint8Array }>;
  /** Why every slashable duty is refused; undefined when the store is trusted. */
  readonly problem: string | undefined;
}

/** What the guard needs of the world. */
export interface GuardModules {
  readonly store: SlashingStore;
  readonly codec: RecordCodec;
  /** Monotonic milliseconds. */
  readonly now: () => number;
  /** Told of each event worth counting. */
  readonly count: (event: "repeated" | "conflicts" | "storeRoundTrips") => void;
  /** Told once, when the store becomes suspect. */
  readonly onSuspect: (reason: string) => void;
  /** Why somebody else holds the store for suspect; undefined: nobody does. Without it nobody is asked. */
  readonly suspicion?: () => string | undefined;
}

/** Conflicts in a row that one request may meet. Each means that another enclave advanced the same validator. */
const CONFLICTS_MAX = 4;
/** Requests that may wait for one validator: a fleet of clients retrying the same duty stays far below. */
const QUEUE_PER_KEY_MAX = 64;

/** What to do about a suspect store. */
const RECOVER = "find out what happened to the store, then run `testudo slashing recover`";

type Step = { readonly kind: "release"; readonly signature: Promise<Uint8Array> } | { readonly kind: "again" };
type Settled = Extract<SignOutcome, { kind: "denied" }> | Step;

/** Makes the guard of one chain (the codec holds its genesis validators root and store id). */
export const createGuard = ({ slotsPerEpoch }: { slotsPerEpoch: number }, modules: GuardModules): Guard => {
  const { store, codec, now, count } = modules;
  const floor = createFloor();
  const inTurn = createLines();
  let problem: string | undefined;

  const suspect = (reason: string): never => {
    if (problem === undefined) {
      problem = `${reason}: ${RECOVER}`;
      modules.onSuspect(problem);
    }
    throw new SignerError("store_suspect", problem);
  };

  const compareAndSet = (pubkey: Uint8Array, expected: Uint8Array | undefined, next: Uint8Array) => {
    count("storeRoundTrips");
    return store.compareAndSet(pubkey, expected, next);
  };

  /** A key that was forgotten meanwhile stays forgotten. */
  const keep = (pubkey: Uint8Array, record: Uint8Array, mark: { acknowledged: boolean }): void => {
    if (floor.has(pubkey)) floor.set(pubkey, record, mark);
  };

  /** The newest record that was seen, and what it says. */
  const seen = (pubkey: Uint8Array): { readonly record: Uint8Array; readonly state: SlashingState } | undefined => {
    const record = floor.record(pubkey);
    return record && { record, state: readKeptRecord(record) };
  };

  const requireTrust = (): void => {
    const reason = problem ?? modules.suspicion?.();
    if (reason !== undefined) throw new SignerError("store_suspect", reason);
  };

  /** Verifies what the store holds and takes it over, unless it contradicts what this enclave has seen. */
  const absorb = (pubkey: Uint8Array, actual: Uint8Array | undefined): void => {
    const found = actual ?? suspect(`the record of ${toHex(pubkey)} is gone from the store`);
    const state = verified(pubkey, found);
    const before = seen(pubkey);
    if (before !== undefined && isBehind(state, before.state)) {
      suspect(`the record of ${toHex(pubkey)} is older than one seen before`);
    }
    keep(pubkey, found, { acknowledged: false });
  };

  const verified = (pubkey: Uint8Array, bytes: Uint8Array): SlashingState => {
    const decoded = codec.decode(pubkey, bytes);
    return decoded.kind === "record"
      ? decoded.state
      : suspect(`the record of ${toHex(pubkey)} cannot be verified: ${decoded.reason}`);
  };

  /** One compare-and-set; true when stored, false when the cached record was behind and is now fresh. */
  const write = async (pubkey: Uint8Array, expected: Uint8Array, next: Uint8Array): Promise<boolean> => {
    const result = await compareAndSet(pubkey, expected, next);
    switch (result.kind) {
      case "stored":
        keep(pubkey, next, { acknowledged: true });
        return true;
      case "conflict":
        count("conflicts");
        absorb(pubkey, result.actual);
        return false;
      case "unknown":
        // Perhaps written, perhaps not: the cached record stays, and the next attempt finds out by conflict.
        throw new SignerError("unknown_outcome", `the slashing store did not answer: ${result.detail}`);
      default:
        return assertNever(result);
    }
  };

  /** Decides once on the cached record and, if that stands in the store, settles the request. */
  const attempt = async (request: GuardedRequest, sign: () => Promise<Uint8Array>): Promise<Settled> => {
    const { pubkey, candidate } = request;
    const kept = seen(pubkey);
    if (kept === undefined) throw new SignerError("unknown_key", `no slashing record for ${toHex(pubkey)}`);
    const { record } = kept;
    const decision = decide(kept.state, candidate, { slotsPerEpoch });
    switch (decision.kind) {
      case "refuse":
        return { kind: "denied", rule: decision.rule, detail: decision.detail };
      case "repeat":
        // A record that was only read may not be durable yet: writing it onto itself waits until it is.
        if (floor.isAcknowledged(pubkey)) {
          count("repeated");
          return { kind: "release", signature: sign() };
        }
        await write(pubkey, record, record);
        return { kind: "again" };
      case "sign": {
        const signature = sign();
        const next = codec.encode(pubkey, decision.next);
        return (await write(pubkey, record, next)) ? { kind: "release", signature } : { kind: "again" };
      }
      default:
        return assertNever(decision);
    }
  };

  const settle = async (request: GuardedRequest): Promise<Exclude<Settled, { kind: "again" }>> => {
    const sign = onlyOnce(request.sign);
    for (let conflicts = 0; conflicts <= CONFLICTS_MAX; conflicts += 1) {
      requireTrust();
      if (now() >= request.deadlineMs) throw new SignerError("deadline_exceeded", "no time left to record the duty");
      const settled = await attempt(request, sign);
      if (settled.kind !== "again") return settled;
    }
    throw new SignerError("unavailable", "the validator's record keeps changing: another signer uses the same key");
  };

  /** The record of a key that is not kept yet: as the store has it, or made now. */
  const register = async (key: GuardedKey, bytes: Uint8Array | undefined): Promise<Uint8Array> => {
    if (bytes !== undefined) return bytes;
    if (key.registered) suspect(`the record of ${toHex(key.pubkey)} is gone from the store`);
    const first = codec.encode(key.pubkey, EMPTY_STATE);
    const result = await compareAndSet(key.pubkey, undefined, first);
    if (result.kind === "unknown") throw new SignerError("unavailable", `cannot register a key: ${result.detail}`);
    if (result.kind === "stored") return first;
    if (result.actual !== undefined) return result.actual;
    throw new SignerError("unavailable", "cannot register a key: the store contradicts itself");
  };

  const trackKey = async (key: GuardedKey, bytes: Uint8Array | undefined): Promise<void> => {
    const record = await register(key, bytes);
    verified(key.pubkey, record);
    // A second `track` may have run meanwhile: what requests have made of the record since then stays.
    if (!floor.has(key.pubkey)) floor.set(key.pubkey, record, { acknowledged: false });
  };

  const trackPage = async (page: readonly GuardedKey[]): Promise<void> => {
    const records = await store.getMany(page.map((key) => key.pubkey));
    const tracked = await Promise.allSettled(page.map((key, index) => trackKey(key, records[index])));
    for (const result of tracked) {
      // What was suspect is known by now (`problem`), and its record is left as it is.
      if (result.status === "rejected" && toSignerError(result.reason).code !== "store_suspect") throw result.reason;
    }
  };

  /** Reads a page again; false when the store contradicts what was seen. */
  const refreshPage = async (page: readonly { pubkey: Uint8Array; record: Uint8Array }[]): Promise<boolean> => {
    const records = await store.getMany(page.map(({ pubkey }) => pubkey));
    const refreshed = page.map(({ pubkey, record }, index) =>
      inTurn(toHex(pubkey), async () => {
        const kept = floor.record(pubkey);
        // A request that went before has a newer record than the one that was read.
        if (kept !== undefined && bytesEqual(kept, record)) absorb(pubkey, records[index]);
      }),
    );
    let sound = true;
    for (const result of await Promise.allSettled(refreshed)) {
      if (result.status === "fulfilled") continue;
      if (toSignerError(result.reason).code !== "store_suspect") throw result.reason;
      sound = false;
    }
    return sound;
  };

  return {
    sign: async (request) => {
      requireTrust();
      const settled = await inTurn(toHex(request.pubkey), () => settle(request));
      if (settled.kind === "denied") return settled;
      const signature = await settled.signature;
      // Suspicion may have come up meanwhile: this record's history may be as incomplete as the one that showed it.
      requireTrust();
      return { kind: "signed", signature };
    },
    track: async (keys) => {
      const missing = keys.filter((key) => !floor.has(key.pubkey));
      for (let start = 0; start < missing.length; start += PAGE_ENTRIES_MAX) {
        await trackPage(missing.slice(start, start + PAGE_ENTRIES_MAX));
      }
    },
    forget: (pubkey) => floor.delete(pubkey),
    refresh: async ({ trust }) => {
      const kept = [...floor.entries()];
      let sound = true;
      for (let start = 0; start < kept.length; start += PAGE_ENTRIES_MAX) {
        if (!(await refreshPage(kept.slice(start, start + PAGE_ENTRIES_MAX)))) sound = false;
      }
      if (trust && sound) problem = undefined;
    },
    seen: (pubkey) => seen(pubkey)?.state,
    records: () => floor.entries(),
    get problem() {
      return problem;
    },
  };
};

/** Lines of requests by validator: a task runs after all earlier ones of the same name. Idle names cost nothing. */
const createLines = (): (<T>(name: string, task: () => Promise<T>) => Promise<T>) => {
  const lines = new Map<string, { tail: Promise<unknown>; length: number }>();
  return async (name, task) => {
    const line = lines.get(name) ?? { tail: Promise.resolve(), length: 0 };
    if (line.length >= QUEUE_PER_KEY_MAX) throw new SignerError("overloaded", "too many requests for one validator");
    lines.set(name, line);
    line.length += 1;
    const turn = line.tail.then(task);
    line.tail = turn.catch(() => undefined);
    try {
      return await turn;
    } finally {
      line.length -= 1;
      if (line.length === 0) lines.delete(name);
    }
  };
};

/** Starts the signature on the first call. A signature that is dropped must not end the process when it fails. */
const onlyOnce = (sign: () => Promise<Uint8Array>): (() => Promise<Uint8Array>) => {
  let signature: Promise<Uint8Array> | undefined;
  return () => {
    if (signature === undefined) {
      signature = sign();
      signature.catch(() => undefined);
    }
    return signature;
  };
};
