/**
 * The keys that every enclave of the pool shall hold: reads the sources, has enclaves open what is new, and keeps the
 * sealed results. A key that does not open is reported by name and does not stop the rest.
 */

import { setTimeout as sleep } from "node:timers/promises";
import { toHex } from "#protocol/bytes.ts";
import { SignerError, toSignerError } from "#protocol/errors.ts";
import { KEYS_MAX } from "#protocol/limits.ts";
import { describeError, type Logger } from "#protocol/log.ts";
import { CONTROL_OPERATIONS, type SealedKey } from "#protocol/messages/control.ts";
import type { ControlClient } from "../control-client.ts";
import type { SourceKey } from "./key-source.ts";
import type { KeyStore } from "./key-store.ts";

/** What a pass over the sources gave. */
export interface KeyList {
  /** Grows with every pass that changed the list. */
  readonly version: number;
  /** In source order, each public key once. */
  readonly keys: readonly SealedKey[];
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
  readonly listSource: (() => SourceKey[]) | undefined;
  /** Control connections of enclaves that can open keys now. */
  readonly openers: () => readonly ControlClient[];
  readonly logger: Logger;
  readonly onProgress: (progress: { done: number; total: number }) => void;
}

/** Limits of the ring. */
export interface KeyRingOptions {
  /** Keys to make when there is no source and none were made yet. */
  readonly developmentKeys: number;
  /** Keys that are opened at the same time. */
  readonly concurrency: number;
}

const OPENER_POLL_MS = 50;
/** Longest wait for an enclave that can open keys: a few launches in a row. */
const OPENER_WAIT_MS = 120_000;
/** Enclaves that may fail on one key (a crash, not a refusal) before the key is given up. */
const ATTEMPTS_MAX = 3;

/** Makes the ring; nothing is read before `refresh`. */
export const createKeyRing = (options: KeyRingOptions, modules: KeyRingModules): KeyRing => {
  const { keyStore, logger } = modules;
  let current: KeyList | undefined;
  let passing: Promise<KeyList> | undefined;
  /** Marked since the start; a pass that began before the mark must not undo it. */
  const registered = new Set<string>();

  const leastBusy = (): ControlClient | undefined => {
    // A dead enclave is in the list until its member notices: asking it again would use up the attempts at once.
    const alive = modules.openers().filter((client) => !client.closed);
    return alive.sort((left, right) => left.opening - right.opening).at(0);
  };

  const waitForOpener = async (): Promise<ControlClient> => {
    const patienceMs = performance.now() + OPENER_WAIT_MS;
    while (performance.now() < patienceMs) {
      await sleep(OPENER_POLL_MS);
      const client = leastBusy();
      if (client !== undefined) return client;
    }
    throw new SignerError("unavailable", "no enclave is there to open keys");
  };

  const open = async (request: SourceKey["request"]): Promise<SealedKey> => {
    for (let attempt = 1; ; attempt += 1) {
      // Without a pause in between, or all lanes would choose the same enclave.
      const client = leastBusy() ?? (await waitForOpener());
      const { operation, payload } = request();
      try {
        return await client.openKey(operation, payload);
      } catch (error) {
        if (toSignerError(error).code !== "connection_lost" || attempt === ATTEMPTS_MAX) throw error;
      }
    }
  };

  const openSource = async (source: SourceKey): Promise<SealedKey | undefined> => {
    try {
      const key = await open(source.request);
      keyStore.save(key, { kind: "imported", digest: source.digest });
      return key;
    } catch (error) {
      logger.error("key not loaded", { source: source.name, reason: describeError(error) });
      return undefined;
    }
  };

  const readSources = async (sources: readonly SourceKey[]): Promise<{ keys: SealedKey[]; errors: number }> => {
    const sealed = new Map(sources.map((source) => [source, keyStore.findImported(source.digest)]));
    // Only what must be opened counts as progress: a start from the sealed cache is over at once.
    const missing = sources.filter((source) => sealed.get(source) === undefined);
    const opened = await inParallel(missing, openSource, { ...options, onProgress: modules.onProgress });
    for (const [index, source] of missing.entries()) sealed.set(source, opened[index]);
    const keys = new Map<string, SealedKey>();
    for (const key of sealed.values()) if (key !== undefined) keys.set(toHex(key.pubkey), key);
    return { keys: [...keys.values()], errors: opened.filter((key) => key === undefined).length };
  };

  const developmentKeys = async (): Promise<SealedKey[]> => {
    const missing = keyStore.generated().length === 0 ? options.developmentKeys : 0;
    for (let made = 0; made < missing; made += 1) {
      const key = await open(() => ({ operation: CONTROL_OPERATIONS.generateKey, payload: new Uint8Array() }));
      keyStore.save(key, { kind: "generated" });
    }
    return keyStore.generated();
  };

  const pass = async (): Promise<KeyList> => {
    const sources = modules.listSource?.();
    if (sources !== undefined && sources.length > KEYS_MAX) {
      throw new SignerError("bad_request", `keys: expected at most ${KEYS_MAX}, got ${sources.length}`);
    }
    const { keys: read, errors } =
      sources === undefined ? { keys: await developmentKeys(), errors: 0 } : await readSources(sources);
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
