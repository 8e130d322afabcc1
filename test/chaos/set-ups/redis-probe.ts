/** What a Redis server says about itself right now, with little patience. Asked past the proxies. */

import type { RedisServer } from "../../helpers/redis-server.ts";

/** A healthy server answers within a millisecond. */
const PATIENCE_MS = 300;

/** The raw reply; empty when there is none in time. Never rejects. */
export const askServer = async (server: Pick<RedisServer, "command">, ...words: string[]): Promise<string> => {
  const late = Promise.withResolvers<string>();
  const timer = setTimeout(() => late.resolve(""), PATIENCE_MS);
  const reply = await Promise.race([server.command(...words).catch(() => ""), late.promise]);
  clearTimeout(timer);
  return reply;
};

/** Whether the server takes a write. The key is none of Testudo's. */
export const takesWrites = async (server: Pick<RedisServer, "command">): Promise<boolean> =>
  (await askServer(server, "SET", "chaos:probe", "1")).startsWith("+OK");
