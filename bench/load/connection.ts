/**
 * One keep-alive HTTP/1.1 connection with one request in flight, on a bare socket: prepared bytes out, just enough of
 * the answer read to judge it. On two cores an HTTP client library would take the servers' time.
 */

import { connect, type Socket } from "node:net";

/** What came back. */
export interface Answer {
  readonly status: number;
  readonly body: string;
}

/** A connection that is open. */
export interface Connection {
  /** Sends the bytes of one request; `onAnswer` is called once. Only when nothing is in flight. */
  send(request: string, onAnswer: (answer: Answer) => void): void;
  close(): void;
}

/** More than the longest answer, a refusal with its reasons. */
const ANSWER_BYTES_MAX = 16 * 1024;
const CONNECT_MS = 5_000;
/** Status of an answer that did not come: the connection broke. */
export const BROKEN = 0;

/** Opens one; rejects when nobody listens. */
export const openConnection = async (host: string, port: number): Promise<Connection> => {
  const buffer = Buffer.allocUnsafe(ANSWER_BYTES_MAX);
  let length = 0;
  let waiting: ((answer: Answer) => void) | undefined;

  const finish = (answer: Answer): void => {
    const onAnswer = waiting;
    waiting = undefined;
    length = 0;
    onAnswer?.(answer);
  };
  const onData = (chunk: Uint8Array): void => {
    if (length + chunk.length > buffer.length) {
      socket.destroy();
      return;
    }
    buffer.set(chunk, length);
    length += chunk.length;
    const answer = parseAnswer(buffer.toString("latin1", 0, length));
    if (answer !== undefined) finish(answer);
  };
  const socket = await dial(host, port);
  socket.on("data", onData);
  // Both, whatever ended it: a server that closes answers nothing more.
  socket.on("error", () => undefined);
  socket.on("close", () => {
    isOpen = false;
    finish({ status: BROKEN, body: "the connection broke" });
  });
  let isOpen = true;
  return {
    send: (request, onAnswer) => {
      waiting = onAnswer;
      if (isOpen) socket.write(request, "latin1");
      else setImmediate(() => finish({ status: BROKEN, body: "the connection is closed" }));
    },
    close: () => void socket.destroy(),
  };
};

const dial = (host: string, port: number): Promise<Socket> =>
  new Promise((resolve, reject) => {
    const socket = connect({ host, port, noDelay: true });
    socket.setTimeout(CONNECT_MS, () => socket.destroy(new Error(`${host}:${port}: no connection`)));
    socket.once("error", reject);
    socket.once("connect", () => {
      socket.setTimeout(0);
      socket.off("error", reject);
      resolve(socket);
    });
  });

const HEADER_END = "\r\n\r\n";
const LENGTH = "content-length: ";

/** Reads an answer when it is there in full. Ours have a length always: a server that chunks is not understood. */
export const parseAnswer = (text: string): Answer | undefined => {
  const end = text.indexOf(HEADER_END);
  if (end < 0) return undefined;
  const at = text.indexOf(LENGTH);
  if (at < 0 || at > end) return { status: BROKEN, body: `no content-length in: ${text.slice(0, end)}` };
  const bodyLength = Number.parseInt(text.slice(at + LENGTH.length, at + LENGTH.length + 10), 10);
  const body = text.slice(end + HEADER_END.length);
  return body.length < bodyLength ? undefined : { status: Number(text.slice(9, 12)), body };
};
