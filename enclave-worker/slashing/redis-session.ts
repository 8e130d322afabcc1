/**
 * One connection to Redis, from connecting to its end. A session never reconnects: its `ioredis` client is thrown away
 * with its socket, so no command can ever reach a second socket, whatever the library's retry settings mean.
 *
 * Commands that are submitted in one turn of the event loop go as one explicit pipeline, and behind them goes what
 * proves them durable (`redis-audit.ts`). Each flush has one deadline; when it passes, everything in it is `unknown` and
 * the session ends. Before the durability checks have passed, and while they fail, commands are refused without being
 * sent.
 */

import type { Redis } from "ioredis";
import type { Durability } from "#protocol/slashing/store.ts";
import type { Ask, Audit } from "./redis-audit.ts";
import { createClient, type RedisClientOptions, type RedisReply, sendPipeline } from "./redis-client.ts";

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
 * - `moved`: sent and not executed: another server of the cluster has the key.
 * - `unknown`: perhaps sent, perhaps done.
 */
export type CommandOutcome =
  | { readonly kind: "reply"; readonly value: unknown }
  | { readonly kind: "refused"; readonly detail: string }
  | { readonly kind: "moved"; readonly detail: string }
  | { readonly kind: "unknown"; readonly detail: string };

/** Settings of a session. */
export interface SessionOptions extends RedisClientOptions {
  /** What the level asks for; this session's own. */
  readonly audit: Audit;
  /** Adds to a server's error what mends it. */
  readonly explain: (message: string) => string;
  /** What there is to say until it is connected; default: that it is connecting. */
  readonly reasonAtFirst?: string | undefined;
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
  #durability: Durability;
  #ended: string | undefined;
  #lastError: string | undefined;
  #check: Promise<Durability> | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: SessionOptions, events: SessionEvents) {
    this.#options = options;
    this.#events = events;
    this.#durability = { ok: false, reason: options.reasonAtFirst ?? "redis: connecting" };
    this.#redis = createClient(options);
    // Also a failed SELECT is only an "error" event to ioredis, after which it would go on in database 0.
    this.#redis.on("error", (error: Error) => this.#end(this.#describe(error)));
    this.#redis.on("end", () => this.#end(this.#lastError ?? "redis: the connection was closed"));
    this.#timer = setTimeout(
      () => this.#end(`redis: not connected within ${options.deadlineMs} ms`),
      options.deadlineMs,
    );
    this.#redis.connect().then(
      () => {
        clearTimeout(this.#timer);
        void this.check();
      },
      (error: Error) => this.#end(this.#describe(error)),
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
      this.#checkLater();
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
    const commands = batch.map(({ command }) => command);
    const deadline = this.#deadline("commands");
    const replies = await sendPipeline(this.#redis, [...commands, ...this.#options.audit.proof]);
    clearTimeout(deadline);
    this.#inFlight -= batch.length;
    // Ended meanwhile: the batch was answered then.
    if (!this.#flights.delete(batch)) return;
    const unproved = this.#judgeProof(replies.slice(batch.length));
    let failures = unproved === undefined ? 0 : 1;
    for (const [index, { settle }] of batch.entries()) {
      const reply = replies[index] ?? [new Error("no reply")];
      if (reply[0] != null) failures += 1;
      settle(this.#outcome(reply, unproved));
    }
    if (failures > 0) void this.check();
  }

  #judgeProof(replies: readonly RedisReply[]): string | undefined {
    const { proof, judgeProof } = this.#options.audit;
    const error = replies.find(([problem]) => problem != null)?.[0];
    if (error != null) return this.#describe(error);
    if (replies.length !== proof.length) return "redis: a reply is missing";
    const problem = judgeProof(replies.map(([, value]) => value));
    return problem === undefined ? undefined : `redis: ${problem}`;
  }

  /** A reply counts only while the server is known to be durable: a check may have failed since it was sent. */
  #outcome([error, value]: RedisReply, unproved: string | undefined): CommandOutcome {
    if (error != null) {
      return { kind: error.message.startsWith("MOVED ") ? "moved" : "unknown", detail: this.#describe(error) };
    }
    if (!this.#durability.ok) return { kind: "unknown", detail: this.#durability.reason };
    if (unproved !== undefined) return { kind: "unknown", detail: unproved };
    return { kind: "reply", value };
  }

  async #runCheck(): Promise<Durability> {
    const { audit } = this.#options;
    try {
      const durability = await audit.check(this.#ask, { first: !this.#durability.ok });
      if (this.#ended !== undefined) return this.#durability;
      this.#durability = durability;
      this.#events.onChecked(durability);
    } catch (error) {
      const reason = error instanceof Error ? this.#options.explain(error.message) : String(error);
      this.#end(`redis: the server refused to be checked: ${reason}`);
    }
    return this.#durability;
  }

  readonly #ask: Ask = async (questions) => {
    const deadline = this.#deadline("check");
    const replies = await sendPipeline(this.#redis, questions);
    clearTimeout(deadline);
    return questions.map((_, index) => {
      const [error, value] = replies[index] ?? [new Error("a reply is missing")];
      if (error != null) throw error;
      return value;
    });
  };

  #describe(error: Error): string {
    return `redis: ${this.#options.explain(error.message)}`;
  }

  /** Also after a check that somebody asked for: one that fails is repeated soon. */
  #checkLater(): void {
    if (this.#ended !== undefined) return;
    clearTimeout(this.#timer);
    const delayMs = this.#durability.ok ? this.#options.checkIntervalMs : RECHECK_MS;
    this.#timer = setTimeout(() => void this.check(), delayMs);
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
