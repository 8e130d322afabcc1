/**
 * `ioredis`, tamed: one client is one connection. It never reconnects, queues nothing while it is not connected, sends
 * nothing twice, and pipelines only what it is given as a pipeline.
 */

import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { AbstractConnector, Redis } from "ioredis";

/** Where and as whom a client connects. */
export interface RedisClientOptions {
  /** Opens the byte stream; called once. */
  readonly open: () => Promise<Socket | Duplex>;
  readonly username?: string | undefined;
  readonly password?: string | undefined;
  readonly db?: number | undefined;
}

/** A command's name as a method of `ioredis`, and its arguments; binary ones as `Buffer`. */
export type RedisWords = readonly [name: string, ...(string | number | Buffer)[]];

/** What came of one command of a pipeline. */
export type RedisReply = readonly [error: Error | null | undefined, value?: unknown];

/** Makes a client; `connect()` starts it. */
export const createClient = (options: RedisClientOptions): Redis =>
  new Redis({
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

/** Sends one explicit pipeline. Never rejects; the replies are in the commands' order. */
export const sendPipeline = async (redis: Redis, commands: readonly RedisWords[]): Promise<readonly RedisReply[]> => {
  try {
    return (await redis.pipeline(commands as unknown as unknown[][]).exec()) ?? [];
  } catch (error) {
    const failure = error instanceof Error ? error : new Error(String(error));
    return commands.map(() => [failure]);
  }
};

/**
 * Asks a server a few questions on a connection of its own, which is closed then.
 * @throws Error when it does not connect, or when a question is not answered; within `deadlineMs` in any case
 */
export const askRedis = async (
  options: RedisClientOptions & { readonly deadlineMs: number },
  questions: readonly RedisWords[],
): Promise<unknown[]> => {
  const redis = createClient(options);
  const failed = Promise.withResolvers<never>();
  // Also a failed SELECT is only an "error" event to ioredis.
  redis.on("error", failed.reject);
  const timer = setTimeout(
    () => failed.reject(new Error(`no answer within ${options.deadlineMs} ms`)),
    options.deadlineMs,
  );
  const ask = async (): Promise<unknown[]> => {
    await redis.connect();
    const replies = await sendPipeline(redis, questions);
    return questions.map((_, index) => {
      const [error, value] = replies[index] ?? [new Error("a reply is missing")];
      if (error != null) throw error;
      return value;
    });
  };
  try {
    return await Promise.race([ask(), failed.promise]);
  } finally {
    clearTimeout(timer);
    redis.disconnect();
  }
};

/** A connector class for `ioredis` over any stream; it destroys the stream at once instead of half-closing it. */
const connectorOf = (open: RedisClientOptions["open"]) =>
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
