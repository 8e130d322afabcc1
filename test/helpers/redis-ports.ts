/** Free TCP ports on loopback. */

import { createServer } from "node:net";

/** A port that nobody listens on now. */
export const freePort = async (): Promise<number> => {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === "string") throw new Error("no port");
  return address.port;
};

/** Waits until `ask` answers something that matches, at most fifteen seconds. */
export const untilReply = async (ask: () => Promise<string>, pattern: RegExp): Promise<string> => {
  let reply = "";
  for (let attempt = 0; attempt < 300; attempt += 1) {
    reply = await ask().catch(String);
    if (pattern.test(reply)) return reply;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`gave up waiting for ${pattern}: ${reply.slice(0, 1000)}`);
};
