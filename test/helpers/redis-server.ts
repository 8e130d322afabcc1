/**
 * A real `redis-server` for tests: on a unix socket in a folder of its own, never on the machine's port 6379. It is
 * ended by its process id and its folder removed.
 */

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";

/** Time for the server to answer its first PING. */
const START_TIMEOUT_MS = 10_000;

/** Settings of a test server. */
export interface RedisServerOptions {
  /** `redis.conf` settings that replace or add to ours (`{ appendfsync: "everysec" }`). */
  readonly settings?: Readonly<Record<string, string>>;
  /** TCP port on 127.0.0.1; default 0: none. */
  readonly port?: number;
}

/** A running server. */
export interface RedisServer {
  /** Path of its unix socket. */
  readonly path: string;
  /** Sends one command of plain words and resolves with the raw reply. */
  command(...words: string[]): Promise<string>;
  /** Sends a signal to the server's process. */
  signal(name: NodeJS.Signals): void;
  /** Ends the process by SIGKILL and waits until it is gone. The data stays. */
  kill(): Promise<void>;
  /** Starts the server again on the same data, after {@link kill}. */
  start(): Promise<void>;
  /** Ends the process and removes the folder. */
  close(): Promise<void>;
}

/** One process that answers at a unix socket. */
export interface RedisProcess {
  /** Sends one command of plain words and resolves with the raw reply. */
  command(...words: string[]): Promise<string>;
  signal(name: NodeJS.Signals): void;
  /** Ends the process by SIGKILL and waits until it is gone. */
  kill(): Promise<void>;
}

/** Starts `redis-server` with these arguments, which make it listen at `path`, and waits for its first answer. */
export const startRedisProcess = async (path: string, args: readonly string[]): Promise<RedisProcess> => {
  const child = spawn(findBinary(), args, { stdio: "ignore" });
  const server: RedisProcess = {
    command: (...words) => send(path, words),
    signal: (name) => void child.kill(name),
    kill: async () => {
      const exited = child.exitCode === null && child.signalCode === null ? once(child, "exit") : undefined;
      child.kill("SIGKILL");
      await exited;
      await rm(path, { force: true });
    },
  };
  try {
    await waitUntilReady(path, child);
    return server;
  } catch (error) {
    await server.kill();
    throw error;
  }
};

/** Starts a server that is as durable as `aof-always` requires, unless the settings say otherwise. */
export const startRedisServer = async (options: RedisServerOptions = {}): Promise<RedisServer> => {
  const folder = await mkdtemp(join(tmpdir(), "testudo-redis-"));
  const path = join(folder, "redis.sock");
  const settings = {
    port: String(options.port ?? 0),
    bind: "127.0.0.1",
    unixsocket: path,
    dir: folder,
    save: "",
    appendonly: "yes",
    appendfsync: "always",
    "maxmemory-policy": "noeviction",
    daemonize: "no",
    "enable-debug-command": "local",
    ...options.settings,
  };
  const args = Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value]);
  let running: RedisProcess | undefined;
  const server: RedisServer = {
    path,
    command: (...words) => send(path, words),
    signal: (name) => running?.signal(name),
    kill: async () => {
      await running?.kill();
      running = undefined;
    },
    start: async () => {
      running = await startRedisProcess(path, args);
    },
    close: async () => {
      await server.kill();
      await rm(folder, { recursive: true, force: true });
    },
  };
  try {
    await server.start();
  } catch (error) {
    await server.close();
    throw error;
  }
  return server;
};

const findBinary = (): string => {
  for (const folder of (process.env.PATH ?? "").split(delimiter)) {
    const candidate = join(folder, "redis-server");
    if (folder !== "" && existsSync(candidate)) return candidate;
  }
  throw new Error("these tests need redis-server in PATH: apt-get install redis-server");
};

const waitUntilReady = async (path: string, child: ChildProcess): Promise<void> => {
  const deadline = Date.now() + START_TIMEOUT_MS;
  while (Date.now() < deadline) {
    if (child.exitCode !== null) throw new Error(`redis-server ended at once with code ${child.exitCode}`);
    const reply = await send(path, ["PING"]).catch(() => "");
    // A server with a password is as ready when it refuses us.
    if (reply.startsWith("+PONG") || reply.startsWith("-NOAUTH")) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error(`redis-server did not answer within ${START_TIMEOUT_MS} ms`);
};

/** One command on a connection of its own, by hand: the helper must not depend on the client under test. */
const send = (path: string, words: readonly string[]): Promise<string> =>
  new Promise((resolve, reject) => {
    const socket = connect({ path });
    socket.setTimeout(2_000, () => socket.destroy(new Error(`no reply to ${words[0]}`)));
    socket.once("error", reject);
    socket.once("data", (data) => {
      socket.destroy();
      resolve(data.toString());
    });
    const parts = words.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`);
    socket.write(`*${words.length}\r\n${parts.join("")}`);
  });
