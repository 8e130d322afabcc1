/**
 * One connection to Redis, from connecting to its end. A session never reconnects: its `ioredis` client is thrown away
 * with its socket, so no command can ever reach a second socket, whatever the library's retry settings mean.
 *
 * Commands that are submitted in one turn of the event loop go as one explicit pipeline. Each flush has one deadline;
 * when it passes, everything in it is `unknown` and the session ends. Before the durability checks have passed, and
 * while they fail, commands are refused without being sent.
 */

import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { AbstractConnector, Redis } from "ioredis";
import type { Durability } from "#protocol/slashing/store.ts";
import { checkAofAlways, SETTING_NAMES } from "./redis-checks.ts";

/** Commands of one pipeline: longer ones only grow latency (measured: 64 → 59,000/s, 512 → 52,000/s). */
const FLUSH_COMMANDS_MAX = 512;
/** Time between two checks while they fail. */
const RECHECK_MS = 500;

/** One command with its arguments; binary ones as `Buffer`. */
export type RedisCommand = readonly [name: "evalBuffer" | "mgetBuffer" | "scanBuffer", ...(string | number | Buffer)[]];

/**
 * What became of a command.
 * - `reply`: the server's answer, while the server was as durable as required.
 * - `refused`: not sent.
 * - `unknown`: perhaps sent, perhaps done.
 */
export type CommandOutcome =
  | { readonly kind: "reply"; readonly value: unknown }
  | { readonly kind: "refused"; readonly detail: string }
  | { readonly kind: "unknown"; readonly detail: string };

/** Settings of a session. */
export interface SessionOptions {
  /** Opens the byte stream; called once. */
  readonly open: () => Promise<Socket | Duplex>;
  readonly username?: string | undefined;
  readonly password?: string | undefined;
  readonly db?: number | undefined;
  /** Time for a flush, for the handshake and for a check. */
  readonly deadlineMs: number;
  readonly checkIntervalMs: number;
  /** Commands that may wait or be in flight. */
  readonly commandsMax: number;
}

/** What a session tells its owner. */
export interface SessionEvents {
  /** A pipeline with this many commands is being sent. */
  readonly onFlush: (commands: number) => void;
  /** A check ended; the first one that is ok makes the session usable. */
  readonly onChecked: (durability: Durability) => void;
  /** The session is over, for ever. Called once. */
  readonly onEnd: (reason: string) => void;
}

interface PendingCommand {
  readonly command: RedisCommand;
  readonly settle: (outcome: CommandOutcome) => void;
}

/** See the top of the file. */
export class RedisSession {
  readonly #options: SessionOptions;
  readonly #events: SessionEvents;
  readonly #redis: Redis;
  readonly #flights = new Set<readonly PendingCommand[]>();
  #queue: PendingCommand[] = [];
  #inFlight = 0;
  #flushScheduled = false;
  #durability: Durability = { ok: false, reason: "redis: connecting" };
  #ended: string | undefined;
  #lastError: string | undefined;
  #check: Promise<Durability> | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: SessionOptions, events: SessionEvents) {
    this.#options = options;
    this.#events = events;
    this.#redis = new Redis({
      Connector: connectorOf(options.open),
      ...(options.username !== undefined && { username: options.username }),
      ...(options.password !== undefined && { password: options.password }),
      db: options.db ?? 0,
      protocol: 2,
      lazyConnect: true,
      retryStrategy: () => null,
      maxRetriesPerRequest: 0,
      autoResendUnfulfilledCommands: false,
      enableOfflineQueue: false,
      enableAutoPipelining: false,
      enableReadyCheck: false,
      disableClientInfo: true,
      noDelay: false,
    });
    // Also a failed SELECT is only an "error" event to ioredis, after which it would go on in database 0.
    this.#redis.on("error", (error: Error) => this.#end(`redis: ${error.message}`));
    this.#redis.on("end", () => this.#end(this.#lastError ?? "redis: the connection was closed"));
    this.#timer = setTimeout(
      () => this.#end(`redis: not connected within ${options.deadlineMs} ms`),
      options.deadlineMs,
    );
    this.#redis.connect().then(
      () => this.#checkAgain(),
      (error: Error) => this.#end(`redis: ${error.message}`),
    );
  }

  /** Result of the last check, or why there is none. */
  get durability(): Durability {
    return this.#durability;
  }

  /** Sends a command with the next flush. Never rejects. */
  submit(command: RedisCommand): Promise<CommandOutcome> {
    if (!this.#durability.ok) return Promise.resolve({ kind: "refused", detail: this.#durability.reason });
    if (this.#queue.length + this.#inFlight >= this.#options.commandsMax) {
      return Promise.resolve({ kind: "refused", detail: `redis: ${this.#options.commandsMax} commands wait already` });
    }
    return new Promise((settle) => {
      this.#queue.push({ command, settle });
      this.#schedule();
    });
  }

  /** Asks the server now (or joins the check that is under way). Never rejects; ends the session when it fails. */
  check(): Promise<Durability> {
    if (this.#ended !== undefined) return Promise.resolve(this.#durability);
    this.#check ??= this.#runCheck().finally(() => {
      this.#check = undefined;
    });
    return this.#check;
  }

  /** Ends the session; commands that were sent are `unknown`. */
  close(reason: string): void {
    this.#end(reason);
  }

  #schedule(): void {
    if (this.#flushScheduled) return;
    this.#flushScheduled = true;
    setImmediate(() => {
      this.#flushScheduled = false;
      this.#flush();
    });
  }

  #flush(): void {
    const { durability } = this;
    if (!durability.ok) {
      for (const { settle } of this.#queue.splice(0)) settle({ kind: "refused", detail: durability.reason });
      return;
    }
    const batch = this.#queue.splice(0, FLUSH_COMMANDS_MAX);
    if (batch.length === 0) return;
    if (this.#queue.length > 0) this.#schedule();
    void this.#send(batch);
  }

  async #send(batch: readonly PendingCommand[]): Promise<void> {
    this.#flights.add(batch);
    this.#inFlight += batch.length;
    this.#events.onFlush(batch.length);
    const deadline = this.#deadline("commands");
    const replies = await this.#exec(batch.map(({ command }) => command));
    clearTimeout(deadline);
    this.#inFlight -= batch.length;
    // Ended meanwhile: the batch was answered then.
    if (!this.#flights.delete(batch)) return;
    let failures = 0;
    batch.forEach(({ settle }, index) => {
      const [error, value] = replies[index] ?? [new Error("no reply")];
      if (error != null) failures += 1;
      settle(this.#outcome(error, value));
    });
    if (failures > 0) void this.check();
  }

  /** A reply counts only while the server is known to be durable: a check may have failed since it was sent. */
  #outcome(error: Error | null | undefined, value: unknown): CommandOutcome {
    if (error != null) return { kind: "unknown", detail: `redis: ${error.message}` };
    if (!this.#durability.ok) return { kind: "unknown", detail: this.#durability.reason };
    return { kind: "reply", value };
  }

  /** One explicit pipeline. Never rejects. */
  async #exec(
    commands: readonly (readonly (string | number | Buffer)[])[],
  ): Promise<(readonly [Error | null, unknown?])[]> {
    try {
      const pipeline = this.#redis.pipeline(commands as unknown as unknown[][]);
      return (await pipeline.exec()) ?? [];
    } catch (error) {
      const failure = error instanceof Error ? error : new Error(String(error));
      return commands.map(() => [failure]);
    }
  }

  async #runCheck(): Promise<Durability> {
    const deadline = this.#deadline("check");
    const commands = [
      ["info", "replication"],
      ["info", "persistence"],
      ...SETTING_NAMES.map((name) => ["config", "GET", name]),
    ];
    const replies = await this.#exec(commands);
    clearTimeout(deadline);
    if (this.#ended !== undefined) return this.#durability;
    const error = replies.find(([problem]) => problem != null)?.[0];
    if (error != null || replies.length !== commands.length) {
      this.#end(`redis: the server refused to be checked: ${error?.message ?? "a reply is missing"}`);
      return this.#durability;
    }
    const [replication, persistence, ...settings] = replies.map(([, value]) => value);
    this.#durability = checkAofAlways(
      {
        replication: String(replication),
        persistence: String(persistence),
        settings: settings.map((pair) => (Array.isArray(pair) ? pair.map(String) : [])),
      },
      { first: !this.#durability.ok },
    );
    this.#events.onChecked(this.#durability);
    return this.#durability;
  }

  #checkAgain(): void {
    clearTimeout(this.#timer);
    void this.check().then(({ ok }) => {
      if (this.#ended !== undefined) return;
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.#checkAgain(), ok ? this.#options.checkIntervalMs : RECHECK_MS);
    });
  }

  #deadline(what: string): NodeJS.Timeout {
    const { deadlineMs } = this.#options;
    return setTimeout(() => this.#end(`redis: no reply to ${what} within ${deadlineMs} ms`), deadlineMs);
  }

  #end(reason: string): void {
    this.#lastError ??= reason;
    if (this.#ended !== undefined) return;
    this.#ended = reason;
    this.#durability = { ok: false, reason };
    clearTimeout(this.#timer);
    for (const batch of this.#flights) for (const { settle } of batch) settle({ kind: "unknown", detail: reason });
    this.#flights.clear();
    for (const { settle } of this.#queue.splice(0)) settle({ kind: "refused", detail: reason });
    this.#redis.disconnect();
    this.#events.onEnd(reason);
  }
}

/** A connector class for `ioredis` over any stream; it destroys the stream at once instead of half-closing it. */
const connectorOf = (open: SessionOptions["open"]) =>
  class extends AbstractConnector {
    #stream: Socket | Duplex | undefined;
    #ended = false;

    constructor() {
      super(0);
    }

    override async connect(): Promise<Socket> {
      const stream = await open();
      // From here on errors are never unhandled, also before ioredis listens and after it stopped.
      stream.on("error", () => undefined);
      if (this.#ended) {
        stream.destroy();
        throw new Error("the connection was closed while it was being opened");
      }
      this.#stream = stream;
      // ioredis calls this on every stream; one that is no socket has nothing to keep alive.
      if (!("setKeepAlive" in stream)) Object.assign(stream, { setKeepAlive: () => stream });
      return stream as Socket;
    }

    override disconnect(): void {
      this.#ended = true;
      this.#stream?.destroy();
    }
  };
