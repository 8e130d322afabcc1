/** A hand-made peer of an enclave's unix socket: writes any bytes, and sees what comes back and whether it was cut off. */

import { connect, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

/** Longest wait for the other side. */
const WAIT_MS = 8_000;

/** A connection to an enclave. */
export interface RawPeer {
  write(bytes: string | Uint8Array): void;
  /** Ends our side, in the middle of whatever was written. */
  end(): void;
  /** Everything that came so far. */
  received(): Buffer;
  /** Waits until at least so many bytes came, or the other side closed. */
  receive(bytes: number): Promise<Buffer>;
  /** Waits until the other side closed the connection; fails when it does not. */
  closed(): Promise<void>;
  readonly isClosed: boolean;
  destroy(): void;
}

/** Connects to the socket at `path` and, unless `port` is undefined, says the handshake to that port and reads the OK. */
export const connectRaw = async (path: string, port?: number): Promise<RawPeer> => {
  const socket: Socket = connect({ path, allowHalfOpen: true });
  let received = Buffer.alloc(0);
  let closed = false;
  socket.on("data", (chunk: Buffer) => {
    received = Buffer.concat([received, chunk]);
  });
  for (const event of ["close", "end", "error"] as const) {
    socket.on(event, () => {
      closed = true;
    });
  }
  const until = async (condition: () => boolean, what: string): Promise<void> => {
    const deadline = Date.now() + WAIT_MS;
    while (!condition()) {
      if (Date.now() > deadline) throw new Error(`enclave at ${path}: ${what} within ${WAIT_MS} ms did not happen`);
      await sleep(5);
    }
  };
  const peer: RawPeer = {
    write: (bytes) => void socket.write(bytes),
    end: () => void socket.end(),
    received: () => received,
    receive: async (bytes) => {
      await until(() => received.length >= bytes || closed, `an answer of ${bytes} bytes`);
      return received;
    },
    closed: () => until(() => closed, "the end of the connection"),
    get isClosed() {
      return closed;
    },
    destroy: () => void socket.destroy(),
  };
  if (port === undefined) return peer;
  peer.write(`CONNECT ${port}\n`);
  const line = await peer.receive(`OK ${port}\n`.length);
  if (line.toString() !== `OK ${port}\n`) throw new Error(`handshake: got ${JSON.stringify(line.toString())}`);
  received = Buffer.alloc(0);
  return peer;
};
