/**
 * A lasting link to one place: sessions come and go, reconnected with a bounded back-off, for ever. What a session did
 * not answer is never sent by the next one.
 */

import type { Durability } from "#protocol/slashing/store.ts";
import type { CommandOutcome, RedisCommand, RedisSession, SessionEvents } from "./redis-session.ts";

/** What the store sends its commands over: one server, or a cluster of them. */
export interface RedisChannel {
  /** Whether everything that holds keys is as durable as required, at the last check. */
  readonly durability: Durability;
  /** Keys that one MGET may name. */
  readonly keysPerReadMax: number;
  /** Grows whenever keys may have moved from one server to another. */
  readonly arrangement: number;
  /** Sends a command to the server that has the key. Never rejects. */
  submit(key: string, command: RedisCommand): Promise<CommandOutcome>;
  /** One function for each server that holds keys. */
  servers(): readonly ((command: RedisCommand) => Promise<CommandOutcome>)[];
  /** Asks every server now. Never rejects. */
  check(): Promise<Durability>;
  close(reason: string): void;
}

/** What a channel tells the store. */
export interface ChannelEvents {
  /** A pipeline with this many commands is being sent. */
  readonly onFlush: (commands: number) => void;
  /** `durability` may have changed. */
  readonly onChange: () => void;
}

/** Settings of a link. */
export interface LinkOptions {
  /** Makes a session; each with an audit of its own. */
  readonly connect: (events: SessionEvents, options: { reasonAtFirst: string | undefined }) => RedisSession;
  /** A failed check ends the session: the next one looks again where the primary is. */
  readonly endsWhenWeak: boolean;
  /** 0 ≤ random() < 1, for the jitter. */
  readonly random: () => number;
}

/**
 * First and longest delay before connecting again; the delay doubles and has a jitter of half its length. The longest
 * is below the two seconds within which duties are to be signed once the store is back (`test/chaos`): a few
 * connections a second from each parent cost a server nothing.
 */
const RECONNECT_MS_MIN = 50;
const RECONNECT_MS_MAX = 1_000;
/** Keys of one MGET, and the hint to SCAN: about a millisecond of the server's single thread. */
export const KEYS_PER_COMMAND_MAX = 1024;

/** The delay before attempt number `attempt` (from 0), in ms. */
export const backOffMs = (attempt: number, random: () => number): number =>
  Math.min(RECONNECT_MS_MAX, RECONNECT_MS_MIN * 2 ** Math.min(attempt, 16)) * (1 - random() / 2);

/** See the top of the file. */
export class RedisLink implements RedisChannel {
  readonly keysPerReadMax = KEYS_PER_COMMAND_MAX;
  readonly arrangement = 0;
  readonly #options: LinkOptions;
  readonly #events: ChannelEvents;
  #session: RedisSession;
  #attempt = 0;
  #closed: string | undefined;
  #lastReason: string | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: LinkOptions, events: ChannelEvents) {
    this.#options = options;
    this.#events = events;
    this.#session = this.#connect();
  }

  get durability(): Durability {
    return this.#closed === undefined ? this.#session.durability : { ok: false, reason: this.#closed };
  }

  /** The one server has all keys. */
  submit(_key: string, command: RedisCommand): Promise<CommandOutcome> {
    return this.send(command);
  }

  /** Sends a command. Never rejects. */
  send(command: RedisCommand): Promise<CommandOutcome> {
    if (this.#closed !== undefined) return Promise.resolve({ kind: "refused", detail: this.#closed });
    return this.#session.submit(command);
  }

  servers() {
    return [(command: RedisCommand) => this.send(command)];
  }

  async check(): Promise<Durability> {
    const { durability } = this;
    return durability.ok ? this.#session.check() : durability;
  }

  close(reason: string): void {
    if (this.#closed !== undefined) return;
    this.#closed = reason;
    clearTimeout(this.#timer);
    this.#session.close(reason);
  }

  #connect(): RedisSession {
    return this.#options.connect(
      {
        onFlush: this.#events.onFlush,
        onChecked: (durability) => this.#onChecked(durability),
        onEnd: (reason) => this.#onEnd(reason),
      },
      { reasonAtFirst: this.#lastReason },
    );
  }

  #onChecked(durability: Durability): void {
    if (durability.ok) this.#attempt = 0;
    else if (this.#options.endsWhenWeak) this.#session.close(durability.reason);
    this.#events.onChange();
  }

  #onEnd(reason: string): void {
    if (this.#closed !== undefined) return;
    this.#lastReason = reason;
    const delayMs = backOffMs(this.#attempt, this.#options.random);
    this.#attempt += 1;
    this.#timer = setTimeout(() => {
      this.#session = this.#connect();
    }, delayMs);
    this.#events.onChange();
  }
}
