/**
 * The slashing store in Redis: one string per validator, compared and set by a short Lua script (`EVAL`, which Redis runs
 * atomically), at durability level `aof-always` (see `redis-checks.ts`). Connections come and go as sessions
 * (`redis-session.ts`); this file chooses keys and commands and reconnects with a bounded back-off, for ever.
 *
 * Keys: `<prefix>:{<public key, 96 hex digits>}` and `<prefix>:marker`. The braces are a hash tag, so that the keys
 * would stay where they are in a cluster.
 */

import { connect, type Socket } from "node:net";
import type { Duplex } from "node:stream";
import { PUBKEY_BYTES, quote } from "#protocol/bytes.ts";
import { SignerError } from "#protocol/errors.ts";
import {
  type CompareAndSetResult,
  type Durability,
  type SlashingStore,
  STORE_VALUE_BYTES_MAX,
  type StoreEntry,
} from "#protocol/slashing/store.ts";
import { type CommandOutcome, type RedisCommand, RedisSession } from "./redis-session.ts";

/**
 * KEYS[1] register; ARGV[1] expected bytes, empty for "holds nothing" (a register never holds zero bytes); ARGV[2] next.
 * Replies 1 when stored, otherwise the actual bytes or nil. `SET` also runs when nothing changes: the reply then waits
 * for an fsync like any other write's.
 */
const COMPARE_AND_SET = `local c=redis.call('GET',KEYS[1])
if ARGV[1]=='' then if c then return c end elseif c~=ARGV[1] then return c end
redis.call('SET',KEYS[1],ARGV[2]) return 1`;

/** Commands that may wait or be in flight: 16384 × 600 bytes is 10 MiB. */
export const COMMANDS_MAX = 16_384;
/** Keys of one MGET, and the hint to SCAN: about a millisecond of the server's single thread. */
const KEYS_PER_COMMAND_MAX = 1024;
/** First and longest delay before connecting again; the delay doubles and has a jitter of half its length. */
const RECONNECT_MS_MIN = 50;
const RECONNECT_MS_MAX = 5_000;
/** What a key prefix may be: nothing that SCAN's patterns would read as a wildcard, and no brace. */
export const KEY_PREFIX = /^[A-Za-z0-9:_-]{1,64}$/;

/** Where and as whom to connect. */
export interface RedisConnectOptions {
  /** Host name or address; default 127.0.0.1. */
  readonly host?: string | undefined;
  /** TCP port; default 6379. */
  readonly port?: number | undefined;
  /** Unix socket; goes before host and port. */
  readonly path?: string | undefined;
  /** Opens the connection instead (vsock, egress); goes before everything else. Called once per connection. */
  readonly connector?: (() => Promise<Socket | Duplex>) | undefined;
  readonly username?: string | undefined;
  readonly password?: string | undefined;
  /** Logical database; default 0. */
  readonly db?: number | undefined;
}

/** Settings of a Redis store. */
export interface RedisStoreOptions {
  readonly connect: RedisConnectOptions;
  /** Prefix of all keys, `[A-Za-z0-9:_-]{1,64}`. */
  readonly keyPrefix: string;
  /** The only level so far: one primary, no replicas, `appendfsync always`. */
  readonly durability: "aof-always";
  /** Time for an operation, a handshake and a check. Default 3000: a duty can still be tried elsewhere after it. */
  readonly deadlineMs?: number | undefined;
  /** Time between two durability checks on a connection. Default 10,000. */
  readonly checkIntervalMs?: number | undefined;
  /** 0 ≤ random() < 1, for the jitter; default `Math.random`. */
  readonly random?: (() => number) | undefined;
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
  readonly #options: RedisStoreOptions;
  readonly #prefix: string;
  readonly #readyWaiters = new Set<() => void>();
  #session: RedisSession;
  #reason = "redis: connecting";
  #attempt = 0;
  #closed = false;
  #reconnectTimer: NodeJS.Timeout | undefined;
  #roundTrips = 0;
  #operations = 0;

  constructor(options: RedisStoreOptions) {
    this.#options = options;
    this.#prefix = options.keyPrefix;
    this.#session = this.#connect();
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
    for (let start = 0; start < names.length; start += KEYS_PER_COMMAND_MAX) {
      parts.push(this.#mget(names.slice(start, start + KEYS_PER_COMMAND_MAX)));
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
    let cursor = "0";
    do {
      const reply = await this.#read([
        "scanBuffer",
        cursor,
        "MATCH",
        `${this.#prefix}:{*}`,
        "COUNT",
        KEYS_PER_COMMAND_MAX,
      ]);
      const [next, names] = expectScanReply(reply);
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

  async durability(): Promise<Durability> {
    if (this.#closed) return { ok: false, reason: this.#reason };
    const { durability } = this.#session;
    if (!durability.ok) return durability;
    return this.#session.check();
  }

  async ready(timeoutMs: number): Promise<Durability> {
    if (!this.#session.durability.ok && !this.#closed) {
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
    return this.#closed ? { ok: false, reason: this.#reason } : this.#session.durability;
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#reason = "the store is closed";
    clearTimeout(this.#reconnectTimer);
    this.#session.close(this.#reason);
    this.#wakeReadyWaiters();
  }

  async #compareAndSet(key: string, expected: Uint8Array | undefined, next: Uint8Array): Promise<CompareAndSetResult> {
    if (next.length === 0 || next.length > STORE_VALUE_BYTES_MAX) {
      return unknown(`value: expected 1..${STORE_VALUE_BYTES_MAX} bytes, got ${next.length}`);
    }
    if (expected?.length === 0) return unknown("expected value: expected at least 1 byte, got 0");
    const old = expected === undefined ? "" : bufferOf(expected);
    const outcome = await this.#submit(["evalBuffer", COMPARE_AND_SET, 1, key, old, bufferOf(next)]);
    if (outcome.kind !== "reply") return unknown(outcome.detail);
    if (outcome.value === 1) return { kind: "stored" };
    if (outcome.value === null) return { kind: "conflict", actual: undefined };
    if (outcome.value instanceof Uint8Array) return { kind: "conflict", actual: outcome.value };
    return unknown(`redis: expected 1, bytes or nil, got ${typeof outcome.value}`);
  }

  async #mget(names: readonly string[]): Promise<(Uint8Array | undefined)[]> {
    const reply = await this.#read(["mgetBuffer", ...names]);
    if (!Array.isArray(reply) || reply.length !== names.length) {
      throw new SignerError("unavailable", `redis: expected ${names.length} values, got another reply`);
    }
    return reply.map((value) => (value instanceof Uint8Array ? value : undefined));
  }

  async #read(command: RedisCommand): Promise<unknown> {
    const outcome = await this.#submit(command);
    if (outcome.kind !== "reply") throw new SignerError("unavailable", outcome.detail);
    return outcome.value;
  }

  #submit(command: RedisCommand): Promise<CommandOutcome> {
    if (this.#closed) return Promise.resolve({ kind: "refused", detail: this.#reason });
    return this.#session.submit(command);
  }

  #connect(): RedisSession {
    const { connect: to, deadlineMs = 3_000, checkIntervalMs = 10_000 } = this.#options;
    return new RedisSession(
      {
        open: to.connector ?? (() => openSocket(to, deadlineMs)),
        username: to.username,
        password: to.password,
        db: to.db,
        deadlineMs,
        checkIntervalMs,
        commandsMax: COMMANDS_MAX,
      },
      {
        onFlush: (commands) => {
          this.#roundTrips += 1;
          this.#operations += commands;
        },
        onChecked: ({ ok }) => {
          if (!ok) return;
          this.#attempt = 0;
          this.#wakeReadyWaiters();
        },
        onEnd: () => this.#reconnect(),
      },
    );
  }

  #reconnect(): void {
    if (this.#closed) return;
    const { random = Math.random } = this.#options;
    const delayMs =
      Math.min(RECONNECT_MS_MAX, RECONNECT_MS_MIN * 2 ** Math.min(this.#attempt, 16)) * (1 - random() / 2);
    this.#attempt += 1;
    this.#reconnectTimer = setTimeout(() => {
      this.#session = this.#connect();
    }, delayMs);
  }

  #wakeReadyWaiters(): void {
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

/** Opens a TCP or unix socket. */
const openSocket = (to: RedisConnectOptions, timeoutMs: number): Promise<Socket> =>
  new Promise((resolve, reject) => {
    const socket =
      to.path === undefined
        ? connect({ host: to.host ?? "127.0.0.1", port: to.port ?? 6379, noDelay: true, keepAlive: true })
        : connect({ path: to.path });
    const timer = setTimeout(() => socket.destroy(new Error(`no connection within ${timeoutMs} ms`)), timeoutMs);
    socket.once("connect", () => {
      clearTimeout(timer);
      socket.off("error", reject);
      resolve(socket);
    });
    socket.once("error", reject);
    socket.once("close", () => clearTimeout(timer));
  });

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
