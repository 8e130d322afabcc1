/** Opens byte streams to Redis servers by address: TCP or a unix socket by itself, or through a connector; TLS on top. */

import { connect, isIP, type Socket } from "node:net";
import type { Duplex } from "node:stream";
import { connect as connectTls } from "node:tls";
import type { RedisAddress, RedisTls } from "#protocol/messages/control.ts";

/** Opens a stream to a server; rejects within its deadline. */
export type Dial = (address: RedisAddress) => Promise<Socket | Duplex>;

/** How streams are opened. */
export interface DialOptions {
  /** Unix socket; the address is not looked at then. */
  readonly path?: string | undefined;
  /** Opens the raw stream instead (vsock, egress); goes before `path` and TCP. */
  readonly connector?: Dial | undefined;
  /** TLS ends here; undefined: none. */
  readonly tls?: RedisTls | undefined;
  /** For the raw stream, and again for the TLS handshake. */
  readonly deadlineMs: number;
}

/** `host:port`, with an IPv6 address in brackets. */
export const formatAddress = ({ host, port }: RedisAddress): string =>
  host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;

/** Makes the function that opens streams. */
export const createDial = (options: DialOptions): Dial => {
  const { tls, path, deadlineMs } = options;
  const openRaw: Dial =
    options.connector ?? ((address) => openSocket(path === undefined ? address : { path }, deadlineMs));
  if (tls === undefined) return openRaw;
  return async (address) => startTls(await openRaw(address), { address, tls, deadlineMs });
};

/** Opens a TCP or unix socket. */
const openSocket = (to: RedisAddress | { readonly path: string }, timeoutMs: number): Promise<Socket> =>
  new Promise((resolve, reject) => {
    const socket = "path" in to ? connect(to) : connect({ ...to, noDelay: true, keepAlive: true });
    const timer = setTimeout(() => socket.destroy(new Error(`no connection within ${timeoutMs} ms`)), timeoutMs);
    socket.once("connect", () => {
      clearTimeout(timer);
      socket.off("error", reject);
      resolve(socket);
    });
    socket.once("error", reject);
    socket.once("close", () => clearTimeout(timer));
  });

/** Resolves once the server has proved the name by which the operator called it. */
const startTls = (
  stream: Socket | Duplex,
  { address, tls, deadlineMs }: { address: RedisAddress; tls: RedisTls; deadlineMs: number },
): Promise<Socket> =>
  new Promise((resolve, reject) => {
    const { host } = address;
    const socket = connectTls({
      socket: stream as Socket,
      // Of an IP address only the certificate is checked: it may not be sent as a server name (RFC 6066 §3).
      host,
      ...(isIP(host) === 0 && { servername: host }),
      ...(tls.ca !== undefined && { ca: tls.ca }),
      minVersion: "TLSv1.2",
      rejectUnauthorized: true,
    });
    const fail = (reason: string): void => {
      clearTimeout(timer);
      stream.destroy();
      socket.destroy();
      reject(new Error(`TLS to ${formatAddress(address)}: ${reason}`));
    };
    const timer = setTimeout(() => fail(`no handshake within ${deadlineMs} ms`), deadlineMs);
    const onError = (error: Error): void => fail(error.message);
    const onClose = (): void => fail("the server ended the connection");
    stream.once("error", onError);
    socket.once("error", onError);
    socket.once("close", onClose);
    socket.once("secureConnect", () => {
      clearTimeout(timer);
      socket.off("close", onClose);
      // The raw stream's errors also end the TLS socket, which is the caller's to watch from now on.
      stream.off("error", onError).on("error", (error) => socket.destroy(error));
      socket.off("error", onError);
      resolve(socket);
    });
  });
