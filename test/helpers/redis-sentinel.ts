/** A real Sentinel (`redis-server --sentinel`) for tests, impatient and in a folder of its own. */

import { writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { RedisAddress } from "#protocol/messages/control.ts";
import { freePort, untilReply } from "./redis-ports.ts";
import { type RedisProcess, startRedisProcess } from "./redis-server.ts";

/** What the Sentinel calls the primary. */
export const MASTER_NAME = "slashing";

/** A running Sentinel. */
export interface Sentinel {
  readonly address: RedisAddress;
  command(...words: string[]): Promise<string>;
  close(): Promise<void>;
}

/** Starts a Sentinel that decides alone, and waits until it knows the replicas. */
export const startSentinel = async (primary: RedisAddress, { replicas }: { replicas: number }): Promise<Sentinel> => {
  const folder = await mkdtemp(join(tmpdir(), "testudo-sentinel-"));
  const port = await freePort();
  const path = join(folder, "sentinel.sock");
  const file = join(folder, "sentinel.conf");
  const lines = [
    `port ${port}`,
    "bind 127.0.0.1",
    `unixsocket ${path}`,
    `dir ${folder}`,
    `sentinel monitor ${MASTER_NAME} ${primary.host} ${primary.port} 1`,
    `sentinel down-after-milliseconds ${MASTER_NAME} 1200`,
    `sentinel failover-timeout ${MASTER_NAME} 2000`,
  ];
  writeFileSync(file, `${lines.join("\n")}\n`);
  let server: RedisProcess | undefined;
  const close = async (): Promise<void> => {
    await server?.kill();
    await rm(folder, { recursive: true, force: true });
  };
  try {
    server = await startRedisProcess(path, [file, "--sentinel"]);
    const { command } = server;
    // How soon it looks, and how soon it believes a primary that came back as a stranger. A shorter ping period than 400
    // makes it find no replica to promote (it wants news of the last five pings), a longer one makes it flap.
    const clocks = ["PING-PERIOD", "400", "INFO-PERIOD", "100", "PUBLISH-PERIOD", "100"];
    await command("SENTINEL", "DEBUG", ...clocks);
    await untilReply(
      () => command("SENTINEL", "MASTER", MASTER_NAME),
      new RegExp(`num-slaves\\r\\n\\$1\\r\\n${replicas}`),
    );
    return { address: { host: "127.0.0.1", port }, command, close };
  } catch (error) {
    await close();
    throw error;
  }
};
