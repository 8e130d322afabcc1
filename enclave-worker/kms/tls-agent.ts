/**
 * The connection to KMS: TLS that begins and ends inside the enclave, over a stream that the parent relays blindly. The
 * server has to prove the endpoint's host name before a byte of a request is written. No proxy, no address look-up, no
 * session cache.
 */

import { Agent } from "node:https";
import { isIP } from "node:net";
import type { Duplex } from "node:stream";
import { connect as connectTls, type TLSSocket } from "node:tls";
import { KmsConnectionError } from "./kms-errors.ts";

/** Opens the raw stream to KMS (vsock, egress); the parent decides where it leads. */
export type Connect = () => Promise<Duplex>;

/** Settings of the agent. */
export interface TlsAgentOptions {
  /** The name that the server must prove. */
  readonly host: string;
  /** CA certificates in PEM instead of Node's roots. */
  readonly ca?: string | undefined;
  readonly connect: Connect;
  /** For the raw stream and the handshake together. */
  readonly connectTimeoutMs: number;
}

/** Connections of one session at a time: bundles are opened one after the other, so more only wait idle. */
const SOCKETS_MAX = 4;

/** See the top of the file. `destroy()` ends everything, handshakes included. */
export class TlsAgent extends Agent {
  readonly #options: TlsAgentOptions;
  readonly #opening = new Set<(reason: string) => void>();
  #destroyed = false;

  constructor(options: TlsAgentOptions) {
    super({ keepAlive: true, maxSockets: SOCKETS_MAX, maxCachedSessions: 0 });
    this.#options = options;
  }

  override createConnection(_options: unknown, callback?: (error: Error | null, stream: Duplex) => void): undefined {
    this.#open().then(
      (socket) => callback?.(null, socket),
      (error: Error) => callback?.(error, undefined as never),
    );
  }

  override destroy(): void {
    this.#destroyed = true;
    for (const cancel of this.#opening) cancel("the session was closed");
    super.destroy();
  }

  #open(): Promise<TLSSocket> {
    const { host, ca, connect, connectTimeoutMs } = this.#options;
    if (this.#destroyed) return Promise.reject(new KmsConnectionError("unreachable", "the session was closed"));
    return new Promise((resolve, reject) => {
      let stream: Duplex | undefined;
      let socket: TLSSocket | undefined;
      const settle = (): boolean => {
        clearTimeout(timer);
        return this.#opening.delete(cancel);
      };
      const fail = (error: KmsConnectionError): void => {
        if (!settle()) return;
        socket?.destroy();
        stream?.destroy();
        reject(error);
      };
      const cancel = (reason: string): void => fail(new KmsConnectionError("unreachable", reason));
      const timer = setTimeout(
        () => fail(new KmsConnectionError("timed_out", `no TLS session with ${host} within ${connectTimeoutMs} ms`)),
        connectTimeoutMs,
      );
      this.#opening.add(cancel);
      connect().then(
        (raw) => {
          stream = raw;
          // From now on its errors end the TLS socket, which belongs to the agent later.
          raw.on("error", (error: NodeJS.ErrnoException) => {
            socket?.destroy(error);
            cancel(`the stream to ${host} broke (${error.code ?? "no code"})`);
          });
          if (!this.#opening.has(cancel)) return void raw.destroy();
          socket = startTls(raw, { host, ca });
          socket.once("secureConnect", () => settle() && socket !== undefined && resolve(socket));
          socket.on("error", (error) => fail(toConnectionError(error, host)));
          socket.once("close", () => cancel(`${host} ended the connection`));
        },
        (error: NodeJS.ErrnoException) => cancel(`no stream to ${host} (${error.code ?? "no code"})`),
      );
    });
  }
}

const startTls = (raw: Duplex, { host, ca }: { readonly host: string; readonly ca?: string | undefined }): TLSSocket =>
  connectTls({
    socket: raw,
    host,
    // Of an IP address only the certificate is checked: it may not be sent as a server name (RFC 6066 §3).
    ...(isIP(host) === 0 && { servername: host }),
    ...(ca !== undefined && { ca }),
    ALPNProtocols: ["http/1.1"],
    minVersion: "TLSv1.2",
    rejectUnauthorized: true,
  });

/** Codes of OpenSSL's and Node's verification; everything else is the wire's. */
const VERIFICATION_CODE =
  /CERT|SELF_SIGNED|UNABLE_TO|SIGNATURE|CRL|ALTNAME|HOSTNAME|INVALID_CA|INVALID_PURPOSE|PATH_LENGTH/;

const toConnectionError = (error: NodeJS.ErrnoException, host: string): KmsConnectionError => {
  const code = error.code ?? "no code";
  return VERIFICATION_CODE.test(code)
    ? new KmsConnectionError("untrusted_server", `the server did not prove to be ${host} (${code})`)
    : new KmsConnectionError("unreachable", `no TLS session with ${host} (${code})`);
};
