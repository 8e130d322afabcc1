/**
 * The slashing store in Redis: one string per validator, compared and set by a short Lua script (`EVAL`, which Redis runs
 * atomically). This file chooses keys and commands. How they reach a server that keeps them: `redis-channel.ts` builds it,
 * `redis-link.ts` (one server) or `redis-cluster.ts` keeps it up, `redis-session.ts` is one connection, and
 * `redis-audit.ts` is the durability level.
 *
 * Keys: `<prefix>:{<public key, 96 hex digits>}` and `<prefix>:marker`. The braces are a cluster's hash tag.
 */

import { PUBKEY_BYTES, quote } from "#protocol/bytes.ts";
import { SignerError } from "#protocol/errors.ts";
import type { RedisDurability } from "#protocol/messages/control.ts";
import {
  type CompareAndSetResult,
  type Durability,
  type SlashingStore,
  STORE_VALUE_BYTES_MAX,
  type StoreEntry,
} from "#protocol/slashing/store.ts";
import { createChannel, type RedisConnectOptions } from "./redis-channel.ts";
import { KEYS_PER_COMMAND_MAX, type RedisChannel } from "./redis-link.ts";
import type { CommandOutcome, RedisCommand } from "./redis-session.ts";

/**
 * KEYS[1] register; ARGV[1] expected bytes, empty for "holds nothing" (a register never holds zero bytes); ARGV[2] next.
 * Replies 1 when stored, otherwise the actual bytes or nil. `SET` also runs when nothing changes: the reply then waits
 * for an fsync like any other write's.
 */
const COMPARE_AND_SET = `local c=redis.call('GET',KEYS[1])
if ARGV[1]=='' then if c then return c end elseif c~=ARGV[1] then return c end
redis.call('SET',KEYS[1],ARGV[2]) return 1`;

/** What a key prefix may be: nothing that SCAN's patterns would read as a wildcard, and no brace. */
export const KEY_PREFIX = /^[A-Za-z0-9:_-]{1,64}$/;

/** Settings of a Redis store. */
export interface RedisStoreOptions {
  readonly connect: RedisConnectOptions;
  /** Prefix of all keys, `[A-Za-z0-9:_-]{1,64}`. */
  readonly keyPrefix: string;
  readonly durability: RedisDurability;
  /** Time for an operation, a handshake and a check. Default 3000: a duty can still be tried elsewhere after it. */
  readonly deadlineMs?: number | undefined;
  /** Time between two durability checks on a connection. Default 10,000. */
  readonly checkIntervalMs?: number | undefined;
  /** 0 ≤ random() < 1, for the jitter; default `Math.random`. */
  readonly random?: (() => number) | undefined;
  /** Told of each pipeline that is sent. */
  readonly onRoundTrip?: (() => void) | undefined;
}

/** A {@link SlashingStore} with what only Redis has. */
export interface RedisSlashingStore extends SlashingStore {
  /** Pipelines sent since the start: store round trips (checks are not counted). */
  readonly roundTrips: number;
  /** Commands sent in them. */
  readonly operations: number;
  /** Resolves with ok once a connection passed its checks, or with the last reason after `timeoutMs`. Never rejects. */
  ready(timeoutMs: number): Promise<Durability>;
}

/**
 * Makes the store and starts to connect. Until a connection has passed its checks, every operation is refused.
 * @throws SignerError `bad_request` when the prefix is not allowed.
 */
export const createRedisStore = (options: RedisStoreOptions): RedisSlashingStore => {
  if (!KEY_PREFIX.test(options.keyPrefix)) {
    throw new SignerError("bad_request", `key prefix: expected ${KEY_PREFIX.source}, got ${quote(options.keyPrefix)}`);
  }
  return new RedisStore(options);
};

class RedisStore implements RedisSlashingStore {
  readonly #prefix: string;
  readonly #readyWaiters = new Set<() => void>();
  readonly #channel: RedisChannel;
  #closed = false;
  #roundTrips = 0;
  #operations = 0;

  constructor(options: RedisStoreOptions) {
    const { keyPrefix, deadlineMs = 3_000, checkIntervalMs = 10_000, random = Math.random } = options;
    this.#prefix = keyPrefix;
    this.#channel = createChannel(
      { ...options, deadlineMs, checkIntervalMs, random },
      {
        onFlush: (commands) => {
          this.#roundTrips += 1;
          this.#operations += commands;
          options.onRoundTrip?.();
        },
        onChange: () => this.#wakeReadyWaiters(),
      },
    );
  }

  get roundTrips(): number {
    return this.#roundTrips;
  }

  get operations(): number {
    return this.#operations;
  }

  async getMany(keys: readonly Uint8Array[]): Promise<(Uint8Array | undefined)[]> {
    const names = keys.map((key) => this.#keyOf(key));
    const parts: Promise<(Uint8Array | undefined)[]>[] = [];
    const { keysPerReadMax } = this.#channel;
    for (let start = 0; start < names.length; start += keysPerReadMax) {
      parts.push(this.#mget(names.slice(start, start + keysPerReadMax)));
    }
    return (await Promise.all(parts)).flat();
  }

  async compareAndSet(
    key: Uint8Array,
    expected: Uint8Array | undefined,
    next: Uint8Array,
  ): Promise<CompareAndSetResult> {
    if (key.length !== PUBKEY_BYTES) return unknown(`key: expected ${PUBKEY_BYTES} bytes, got ${key.length}`);
    return this.#compareAndSet(this.#keyOf(key), expected, next);
  }

  /** Each SCAN's keys are read by MGET; Redis may name a key twice, and one that vanished in between is left out. */
  async *scan(): AsyncGenerator<StoreEntry> {
    const { arrangement } = this.#channel;
    const servers = this.#channel.servers();
    if (servers.length === 0) throw notDurable(this.#channel);
    for (const server of servers) yield* this.#scanServer(server);
    if (this.#channel.arrangement === arrangement) return;
    throw new SignerError("unavailable", "redis: the cluster was rearranged during the scan, try again");
  }

  async *#scanServer(server: (command: RedisCommand) => Promise<CommandOutcome>): AsyncGenerator<StoreEntry> {
    let cursor = "0";
    do {
      const pattern = `${this.#prefix}:{*}`;
      const command: RedisCommand = ["scanBuffer", cursor, "MATCH", pattern, "COUNT", KEYS_PER_COMMAND_MAX];
      const [next, names] = expectScanReply(replyOf(await server(command)));
      const keys = names.flatMap((name) => this.#pubkeyOf(name) ?? []);
      const values = await this.getMany(keys);
      for (const [index, key] of keys.entries()) {
        const value = values[index];
        if (value !== undefined) yield { key, value };
      }
      cursor = next;
    } while (cursor !== "0");
  }

  async marker(): Promise<Uint8Array | undefined> {
    const [value] = await this.#mget([this.#markerKey()]);
    return value;
  }

  async compareAndSetMarker(expected: Uint8Array | undefined, next: Uint8Array): Promise<CompareAndSetResult> {
    return this.#compareAndSet(this.#markerKey(), expected, next);
  }

  durability(): Promise<Durability> {
    return this.#channel.check();
  }

  async ready(timeoutMs: number): Promise<Durability> {
    if (!this.#channel.durability.ok && !this.#closed) {
      await new Promise<void>((resolve) => {
        const done = (): void => {
          clearTimeout(timer);
          this.#readyWaiters.delete(done);
          resolve();
        };
        const timer = setTimeout(done, timeoutMs);
        this.#readyWaiters.add(done);
      });
    }
    return this.#channel.durability;
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#channel.close("the store is closed");
    this.#wakeReadyWaiters();
  }

  async #compareAndSet(key: string, expected: Uint8Array | undefined, next: Uint8Array): Promise<CompareAndSetResult> {
    if (next.length === 0 || next.length > STORE_VALUE_BYTES_MAX) {
      return unknown(`value: expected 1..${STORE_VALUE_BYTES_MAX} bytes, got ${next.length}`);
    }
    if (expected?.length === 0) return unknown("expected value: expected at least 1 byte, got 0");
    const old = expected === undefined ? "" : bufferOf(expected);
    const outcome = await this.#channel.submit(key, ["evalBuffer", COMPARE_AND_SET, 1, key, old, bufferOf(next)]);
    if (outcome.kind !== "reply") return unknown(outcome.detail);
    if (outcome.value === 1) return { kind: "stored" };
    if (outcome.value === null) return { kind: "conflict", actual: undefined };
    if (outcome.value instanceof Uint8Array) return { kind: "conflict", actual: outcome.value };
    return unknown(`redis: expected 1, bytes or nil, got ${typeof outcome.value}`);
  }

  /** The names are on one server: they are one, or the channel has but one. */
  async #mget(names: readonly string[]): Promise<(Uint8Array | undefined)[]> {
    const reply = replyOf(await this.#channel.submit(names[0] as string, ["mgetBuffer", ...names]));
    if (!Array.isArray(reply) || reply.length !== names.length) {
      throw new SignerError("unavailable", `redis: expected ${names.length} values, got another reply`);
    }
    return reply.map((value) => (value instanceof Uint8Array ? value : undefined));
  }

  /** All of them, when there is something to hear: ready, or closed. */
  #wakeReadyWaiters(): void {
    if (!this.#channel.durability.ok && !this.#closed) return;
    for (const wake of this.#readyWaiters) wake();
  }

  #keyOf(pubkey: Uint8Array): string {
    if (pubkey.length !== PUBKEY_BYTES) {
      throw new SignerError("bad_request", `key: expected ${PUBKEY_BYTES} bytes, got ${pubkey.length}`);
    }
    return `${this.#prefix}:{${bufferOf(pubkey).toString("hex")}}`;
  }

  #markerKey(): string {
    return `${this.#prefix}:marker`;
  }

  /** The public key in a key's name; undefined for a name that {@link #keyOf} does not make. */
  #pubkeyOf(name: string): Uint8Array | undefined {
    const hex = name.slice(this.#prefix.length + 2, -1);
    const pubkey = new Uint8Array(Buffer.from(hex, "hex"));
    return pubkey.length === PUBKEY_BYTES && this.#keyOf(pubkey) === name ? pubkey : undefined;
  }
}

/** @throws SignerError `unavailable` when there is no reply */
const replyOf = (outcome: CommandOutcome): unknown => {
  if (outcome.kind === "reply") return outcome.value;
  throw new SignerError("unavailable", outcome.detail);
};

const notDurable = ({ durability }: RedisChannel): SignerError =>
  new SignerError("unavailable", durability.ok ? "redis: no server has keys" : durability.reason);

const expectScanReply = (reply: unknown): [cursor: string, names: string[]] => {
  const [cursor, names] = Array.isArray(reply) ? reply : [];
  if (!(cursor instanceof Uint8Array) || !Array.isArray(names)) {
    throw new SignerError("unavailable", "redis: expected a cursor and names, got another reply to SCAN");
  }
  return [bufferOf(cursor).toString(), names.map(String)];
};

const unknown = (detail: string): CompareAndSetResult => ({ kind: "unknown", detail });

/** The same bytes as a `Buffer`, which is what `ioredis` takes for binary arguments. */
const bufferOf = (bytes: Uint8Array): Buffer => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
