/**
 * The keys that every enclave of the pool shall hold: reads the sources, has enclaves open what is new, and keeps the
 * sealed results. A key that does not open is reported by name and does not stop the rest.
 */

import { setTimeout as sleep } from "node:timers/promises";
import { toHex } from "#protocol/bytes.ts";
import { type ErrorCode, SignerError, toSignerError } from "#protocol/errors.ts";
import { KEYS_MAX } from "#protocol/limits.ts";
import { describeError, type Logger } from "#protocol/log.ts";
import { CONTROL_OPERATIONS, type SealedKey } from "#protocol/messages/control.ts";
import type { ControlClient } from "../control-client.ts";
import type { SourceKey, SourceListing } from "./key-source.ts";
import type { KeyStore } from "./key-store.ts";

/** A key of the ring. */
export interface RingKey extends SealedKey {
  /** The bundle that it was sealed in; undefined: it rests under the data folder's sealing key. */
  readonly header?: Uint8Array;
}

/** What a pass over the sources gave. */
export interface KeyList {
  /** Grows with every pass that changed the list. */
  readonly version: number;
  /** In source order, each public key once. */
  readonly keys: readonly RingKey[];
  /** Keys that could not be opened. */
  readonly errors: number;
}

/** The keys of the pool. */
export interface KeyRing {
  /** The list after the first pass; undefined before. */
  readonly current: KeyList | undefined;
  /** Reads the sources again. Passes never overlap. @throws SignerError when the source itself is not readable */
  refresh(): Promise<KeyList>;
  /** Remembers that keys have slashing records. */
  markRegistered(keys: readonly SealedKey[]): void;
}

/** What the ring needs. */
export interface KeyRingModules {
  readonly keyStore: KeyStore;
  /** Lists the source; undefined: development keys of the data folder. */
  readonly listSource: (() => Promise<SourceListing>) | undefined;
  /** Control connections of enclaves that can open keys now. */
  readonly openers: () => readonly ControlClient[];
  readonly logger: Logger;
  readonly onProgress: (progress: { done: number; total: number }) => void;
}

/** Limits of the ring. */
export interface KeyRingOptions {
  /** Keys to make when there is no source and no complete set was made yet. */
  readonly developmentKeys: number;
  /** Keys that are opened at the same time. */
  readonly concurrency: number;
}

const OPENER_POLL_MS = 50;
/** Longest wait of one pass, for all its keys together, for enclaves that can open keys: a few launches in a row. */
const PATIENCE_MS = 120_000;
/** Enclaves that may fail on one key before the key is given up. */
const ATTEMPTS_MAX = 3;
/** Failures of an enclave, not of the key: another enclave may open it. */
const ELSEWHERE: ReadonlySet<ErrorCode> = new Set([
  "connection_lost",
  "deadline_exceeded",
  "unavailable",
  "overloaded",
]);

/** Waits a little; false when the pass has waited long enough. */
type Patience = () => Promise<boolean>;

/** Makes the ring; nothing is read before `refresh`. */
export const createKeyRing = (options: KeyRingOptions, modules: KeyRingModules): KeyRing => {
  const { keyStore, logger } = modules;
  let current: KeyList | undefined;
  let passing: Promise<KeyList> | undefined;
  /** Marked since the start; a pass that began before the mark must not undo it. */
  const registered = new Set<string>();

  /** A dead enclave is in the list until its member notices: asking it again would use up the attempts at once. */
  const leastBusy = (tried: ReadonlySet<ControlClient>): ControlClient | undefined => {
    const fresh = modules.openers().filter((client) => !client.closed && !tried.has(client));
    return fresh.sort((left, right) => left.opening - right.opening).at(0);
  };

  /** No enclave is asked twice for the same key: what hung or was busy there may well open elsewhere. */
  const open = async (request: SourceKey["request"], patience: Patience): Promise<SealedKey> => {
    const tried = new Set<ControlClient>();
    let failure = new SignerError("unavailable", "no enclave is there to open keys");
    while (tried.size < ATTEMPTS_MAX) {
      // Without a pause before the asking, or all lanes would choose the same enclave.
      const client = leastBusy(tried);
      if (client === undefined) {
        if (await patience()) continue;
        break;
      }
      tried.add(client);
      try {
        return await ask(client, request);
      } catch (error) {
        failure = toSignerError(error);
        if (!ELSEWHERE.has(failure.code)) throw error;
      }
    }
    throw failure;
  };

  const openSource = async (source: SourceKey, patience: Patience): Promise<SealedKey | undefined> => {
    try {
      const key = await open(source.request, patience);
      keyStore.save(key, { kind: "imported", digest: source.digest });
      return key;
    } catch (error) {
      logger.error("key not loaded", { source: source.name, reason: describeError(error) });
      return undefined;
    }
  };

  const readSources = async (
    { keys: sources, failures }: SourceListing,
    patience: Patience,
  ): Promise<{ keys: SealedKey[]; errors: number }> => {
    for (const { name, reason } of failures) logger.error("key not loaded", { source: name, reason });
    const sealed = new Map(sources.map((source) => [source, keyStore.findImported(source.digest)]));
    // Only what must be opened counts as progress: a start from the sealed cache is over at once.
    const missing = sources.filter((source) => sealed.get(source) === undefined);
    const openOne = (source: SourceKey): Promise<SealedKey | undefined> => openSource(source, patience);
    const opened = await inParallel(missing, openOne, { ...options, onProgress: modules.onProgress });
    for (const [index, source] of missing.entries()) sealed.set(source, opened[index]);
    const keys = new Map<string, SealedKey>();
    for (const key of sealed.values()) if (key !== undefined) keys.set(toHex(key.pubkey), key);
    const unopened = opened.filter((key) => key === undefined).length;
    return { keys: [...keys.values()], errors: failures.length + unopened };
  };

  /** A start that broke off may have made some of the set. */
  const developmentKeys = async (patience: Patience): Promise<SealedKey[]> => {
    if (keyStore.isSetComplete()) return keyStore.generated();
    const missing = options.developmentKeys - keyStore.generated().length;
    for (let made = 0; made < missing; made += 1) {
      const request = () => ({ operation: CONTROL_OPERATIONS.generateKey, payload: new Uint8Array() });
      keyStore.save(await open(request, patience), { kind: "generated" });
    }
    keyStore.completeSet();
    return keyStore.generated();
  };

  const pass = async (): Promise<KeyList> => {
    const patience = createPatience();
    const sources = await modules.listSource?.();
    if (sources !== undefined && sources.keys.length > KEYS_MAX) {
      throw new SignerError("bad_request", `keys: expected at most ${KEYS_MAX}, got ${sources.keys.length}`);
    }
    const { keys: read, errors } =
      sources === undefined
        ? { keys: await developmentKeys(patience), errors: 0 }
        : await readSources(sources, patience);
    const keys = read.map((key) => (registered.has(toHex(key.pubkey)) ? { ...key, registered: true } : key));
    if (keys.length === 0) throw new SignerError("bad_request", `keys: none of ${errors} could be opened, see the log`);
    const same =
      current !== undefined && sameKeys(current.keys, keys) && current.errors === errors ? current.version : undefined;
    current = { version: same ?? (current?.version ?? 0) + 1, keys, errors };
    return current;
  };

  return {
    get current() {
      return current;
    },
    refresh: () => {
      passing ??= pass().finally(() => (passing = undefined));
      return passing;
    },
    markRegistered: (keys) => {
      const fresh = keys.filter((key) => !key.registered);
      if (fresh.length === 0) return;
      keyStore.markRegistered(fresh.map((key) => key.pubkey));
      for (const key of fresh) registered.add(toHex(key.pubkey));
      if (current === undefined) return;
      const marked = current.keys.map((key) =>
        registered.has(toHex(key.pubkey)) ? { ...key, registered: true } : key,
      );
      current = { ...current, keys: marked };
    },
  };
};

/** The request may carry a secret or a password. */
const ask = async (client: ControlClient, request: SourceKey["request"]): Promise<SealedKey> => {
  const { operation, payload } = request();
  try {
    return await client.openKey(operation, payload);
  } finally {
    payload.fill(0);
  }
};

/** The patience of one pass. Time in which several keys wait counts once. */
const createPatience = (): Patience => {
  let leftMs = PATIENCE_MS;
  let countedMs = 0;
  return async () => {
    if (leftMs <= 0) return false;
    const beganMs = Math.max(performance.now(), countedMs);
    await sleep(OPENER_POLL_MS);
    const endedMs = Math.max(performance.now(), countedMs);
    leftMs -= endedMs - Math.max(beganMs, countedMs);
    countedMs = endedMs;
    return true;
  };
};

const sameKeys = (left: readonly SealedKey[], right: readonly SealedKey[]): boolean =>
  left.length === right.length &&
  left.every((key, index) => toHex(key.pubkey) === toHex((right[index] as SealedKey).pubkey));

/** Runs `task` over all items, a bounded number at a time; results in order. */
const inParallel = async <T, R>(
  items: readonly T[],
  task: (item: T) => Promise<R>,
  { concurrency, onProgress }: { concurrency: number; onProgress: (progress: { done: number; total: number }) => void },
): Promise<R[]> => {
  const results: R[] = new Array(items.length);
  let next = 0;
  let done = 0;
  const lane = async (): Promise<void> => {
    while (next < items.length) {
      const index = next;
      next += 1;
      results[index] = await task(items[index] as T);
      done += 1;
      onProgress({ done, total: items.length });
    }
  };
  await Promise.all(Array.from({ length: Math.min(concurrency, items.length) }, lane));
  return results;
};
