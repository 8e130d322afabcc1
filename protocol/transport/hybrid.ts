/**
 * The mock vsock: vsock streams over unix sockets, in the convention of Firecracker and vhost-device-vsock
 * (github.com/firecracker-microvm/firecracker/blob/main/docs/vsock.md).
 *
 * Parent to guest: connect to `<path>`, send `CONNECT <port>\n`, read `OK <number>\n`, then the stream is the port's.
 * Nobody on that port: the connection closes without an answer. Guest to parent: the guest's connection to port P
 * arrives at the unix socket `<path>_<P>`, without a handshake.
 */

import { chmodSync, rmSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { SignerError } from "../errors.ts";
import { CONNECT_TIMEOUT_MS } from "../limits.ts";

/** Longest handshake line: `CONNECT 4294967295\n` is 19 bytes. */
const HANDSHAKE_BYTES_MAX = 32;
/** The kernel's limit on a unix socket path (unix(7): 108 with the final zero). */
export const SOCKET_PATH_BYTES_MAX = 107;
/**
 * Connections that one socket takes at a time; a further one is closed at once. The most that anybody needs are the
 * manager's subscribers (64); the others have one or two for each gateway or enclave. Each may hold a frame and an
 * unsent backlog, so that without a bound a peer could fill the memory by connecting alone.
 */
export const CONNECTIONS_PER_SOCKET_MAX = 256;
/** Bytes of `_<port>` behind a hybrid path. */
const PORT_SUFFIX_BYTES_MAX = 11;

/** A set of listening sockets; `close` also ends their connections. */
export interface Listener {
  close(): Promise<void>;
}

/** Takes one accepted stream. */
export type OnConnection = (socket: Socket) => void;

/** Path at which the parent listens for the guest's connections to `port`. */
export const hostSocketPath = (path: string, port: number): string => `${path}_${port}`;

/** Throws when a hybrid path, with any port behind it, is too long for the kernel; says what to do. */
export const checkSocketPath = (path: string): void =>
  checkPathBytes(path, SOCKET_PATH_BYTES_MAX - PORT_SUFFIX_BYTES_MAX);

const checkPathBytes = (path: string, bytesMax: number): void => {
  if (Buffer.byteLength(path) > bytesMax) {
    throw new SignerError("bad_request", `socket path ${path}: too long for the kernel, choose a shorter folder`);
  }
};

/** Parent side: opens a stream to `port` of the guest behind the unix socket at `path`. */
export const connectGuest = async (
  target: { readonly path: string; readonly port: number },
  options: { timeoutMs: number },
): Promise<Socket> => {
  const socket = await connectUnix(target.path, options);
  socket.write(`CONNECT ${target.port}\n`);
  const line = await readLine(socket, options);
  if (!/^OK \d{1,10}$/.test(line)) {
    socket.destroy();
    throw new SignerError("unavailable", `vsock handshake: expected "OK <number>", got ${JSON.stringify(line)}`);
  }
  return socket;
};

/** Guest side of the mock: answers the handshake at `path` and hands each stream to its port's owner. */
export const listenGuest = async (path: string, ports: ReadonlyMap<number, OnConnection>): Promise<Listener> => {
  checkSocketPath(path);
  return listenUnix(path, (socket) => void answerHandshake(socket, ports));
};

/** Guest side: opens a stream to `port` of the parent. */
export const connectHost = (path: string, port: number, options: { timeoutMs: number }): Promise<Socket> =>
  connectUnix(hostSocketPath(path, port), options);

/** Parent side: takes the guest's streams to `port`. */
export const listenHost = (path: string, port: number, onConnection: OnConnection): Promise<Listener> =>
  listenUnix(hostSocketPath(path, port), onConnection);

/** Listens on a unix socket that only this user may open; replaces a stale socket file. */
export const listenUnix = async (path: string, onConnection: OnConnection): Promise<Listener> => {
  checkPathBytes(path, SOCKET_PATH_BYTES_MAX);
  rmSync(path, { force: true });
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
    // Owners add their own handlers; without any, a peer's reset must not end the process.
    socket.on("error", () => socket.destroy());
    onConnection(socket);
  });
  server.maxConnections = CONNECTIONS_PER_SOCKET_MAX;
  return new Promise((resolve, reject) => {
    server.once("error", (error) =>
      reject(new SignerError("unavailable", `cannot listen at ${path}`, { cause: error })),
    );
    server.listen(path, () => {
      chmodSync(path, 0o600);
      resolve({ close: () => closeServer(server, sockets) });
    });
  });
};

/** Connects to a unix socket within the time. */
export const connectUnix = (path: string, { timeoutMs }: { timeoutMs: number }): Promise<Socket> =>
  new Promise((resolve, reject) => {
    const socket = connect(path);
    const fail = (detail: string): void => {
      clearTimeout(timer);
      socket.destroy();
      reject(new SignerError("unavailable", `cannot connect to ${path}: ${detail}`));
    };
    const timer = setTimeout(() => fail(`no answer within ${timeoutMs} ms`), timeoutMs);
    socket.once("error", (error: NodeJS.ErrnoException) => fail(error.code ?? error.name));
    socket.once("connect", () => {
      clearTimeout(timer);
      socket.removeAllListeners("error");
      socket.on("error", () => socket.destroy());
      resolve(socket);
    });
  });

const answerHandshake = async (socket: Socket, ports: ReadonlyMap<number, OnConnection>): Promise<void> => {
  try {
    const match = /^CONNECT (\d{1,10})$/.exec(await readLine(socket, { timeoutMs: CONNECT_TIMEOUT_MS }));
    const onConnection = match === null ? undefined : ports.get(Number(match[1]));
    if (match === null || onConnection === undefined) {
      socket.destroy();
      return;
    }
    socket.write(`OK ${match[1]}\n`);
    onConnection(socket);
  } catch {
    socket.destroy();
  }
};

/** Reads up to a newline, gives back what came after it. */
const readLine = (socket: Socket, { timeoutMs }: { timeoutMs: number }): Promise<string> =>
  new Promise((resolve, reject) => {
    let received = Buffer.alloc(0);
    const finish = (settle: () => void): void => {
      clearTimeout(timer);
      socket.off("data", onData);
      socket.off("close", onClose);
      socket.pause();
      settle();
    };
    const fail = (detail: string): void =>
      finish(() => {
        socket.destroy();
        reject(new SignerError("unavailable", `vsock handshake: ${detail}`));
      });
    const onClose = (): void => fail("nobody listens on that port");
    const onData = (chunk: Buffer): void => {
      received = Buffer.concat([received, chunk]);
      const end = received.indexOf(0x0a);
      if (end < 0 && received.length < HANDSHAKE_BYTES_MAX) return;
      if (end < 0 || end >= HANDSHAKE_BYTES_MAX) {
        fail("line too long");
        return;
      }
      finish(() => {
        const rest = received.subarray(end + 1);
        if (rest.length > 0) socket.unshift(rest);
        resolve(received.toString("latin1", 0, end));
      });
    };
    const timer = setTimeout(() => fail(`no line within ${timeoutMs} ms`), timeoutMs);
    socket.on("data", onData);
    socket.on("close", onClose);
  });

const closeServer = (server: Server, sockets: ReadonlySet<Socket>): Promise<void> =>
  new Promise((resolve) => {
    server.close(() => resolve());
    for (const socket of sockets) socket.destroy();
  });
