import { once } from "node:events";
import type { Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { ERROR_CODES, SignerError } from "#protocol/errors.ts";
import { encodeFrame, encodeFrameHeader } from "#protocol/frame.ts";
import { FRAME_PAYLOAD_BYTES_MAX, IN_FLIGHT_PER_CONNECTION_MAX, WRITE_BUFFER_BYTES_MAX } from "#protocol/limits.ts";
import {
  createRpcClient,
  type RpcClient,
  type RpcClientOptions,
  type RpcHandler,
  type RpcServerConnection,
  serveRpc,
} from "#protocol/rpc.ts";
import { connectUnix, type Listener, listenUnix } from "#protocol/transport/hybrid.ts";
import { makeSocketFolder, until } from "../../helpers/socket-folder.ts";

const TIMEOUT = { timeoutMs: 5_000 };
const bytes = (text: string): Uint8Array => Buffer.from(text);
const text = (payload: Uint8Array): string => Buffer.from(payload).toString();

let folder: ReturnType<typeof makeSocketFolder>;
let listener: Listener | undefined;
let connections: RpcServerConnection[];
let sockets: Socket[];
let violations: SignerError[];
let closedConnections: number;

beforeEach(() => {
  folder = makeSocketFolder();
  connections = [];
  sockets = [];
  violations = [];
  closedConnections = 0;
});

afterEach(async () => {
  await listener?.close();
  folder.remove();
});

const listen = async (handler: RpcHandler): Promise<void> => {
  listener = await listenUnix(folder.path("s"), (socket) => {
    sockets.push(socket);
    connections.push(
      serveRpc(socket, {
        handler,
        onViolation: (error) => violations.push(error),
        onClose: () => {
          closedConnections += 1;
        },
      }),
    );
  });
};

const connect = async (options?: RpcClientOptions): Promise<RpcClient> =>
  createRpcClient(await connectUnix(folder.path("s"), TIMEOUT), options);

const code = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => "resolved",
    (error: SignerError) => error.code,
  );

describe("requests and answers", () => {
  it("matches many answers that come out of order", async () => {
    const release: (() => void)[] = [];
    await listen(async (operation, payload) => {
      const kept = `${operation}:${text(payload)}`;
      await new Promise<void>((resolve) => release.push(resolve));
      return bytes(kept);
    });
    const client = await connect();
    const answers = Array.from({ length: 500 }, (_, index) => client.request(index % 7, bytes(`${index}`), TIMEOUT));
    await until(() => release.length === 500);
    expect(client.inFlight).toBe(500);
    expect(connections[0]?.inFlight).toBe(500);
    for (const resolve of release.reverse()) resolve();
    expect((await Promise.all(answers)).map(text)).toEqual(answers.map((_, index) => `${index % 7}:${index}`));
    expect(client.inFlight).toBe(0);
    await until(() => connections[0]?.inFlight === 0);
  });

  it("carries payloads of the largest size in both directions", async () => {
    await listen((_, payload) => payload);
    const client = await connect();
    const payload = Buffer.alloc(FRAME_PAYLOAD_BYTES_MAX, 3);
    expect(Buffer.compare(await client.request(1, payload, TIMEOUT), payload)).toBe(0);
  });

  it("refuses a larger request and keeps the connection and the count", async () => {
    await listen((_, payload) => payload);
    const client = await connect();
    const tooLarge = client.request(1, new Uint8Array(FRAME_PAYLOAD_BYTES_MAX + 1), TIMEOUT);
    await expect(tooLarge).rejects.toMatchObject({ code: "bad_request" });
    expect(client.inFlight).toBe(0);
    expect(text(await client.request(1, bytes("still here"), TIMEOUT))).toBe("still here");
  });

  it("turns an answer that is too large into a failure", async () => {
    await listen(() => new Uint8Array(FRAME_PAYLOAD_BYTES_MAX + 1));
    const client = await connect();
    expect(await code(client.request(1, bytes(""), TIMEOUT))).toBe("protocol_violation");
    expect(client.closed).toBe(false);
  });

  it.each(ERROR_CODES.map((each) => [each]))("carries the failure code %s with its text", async (failureCode) => {
    await listen(() => {
      throw new SignerError(failureCode, "slot: expected 1, got 2");
    });
    const client = await connect();
    await expect(client.request(1, bytes(""), TIMEOUT)).rejects.toMatchObject({
      code: failureCode,
      detail: "slot: expected 1, got 2",
    });
  });

  it("hides the text of an unexpected error", async () => {
    await listen(() => {
      throw new Error("secret text");
    });
    const failure = await (await connect()).request(1, bytes(""), TIMEOUT).catch((error: SignerError) => error);
    expect(failure).toMatchObject({ code: "internal" });
    expect(String(failure)).not.toContain("secret");
  });
});

describe("deadlines", () => {
  it("fails at the deadline, drops the late answer and goes on", async () => {
    let release = (): void => undefined;
    await listen(async (operation, payload) => {
      const kept = payload.slice();
      if (operation === 1) {
        await new Promise<void>((resolve) => {
          release = resolve;
        });
      }
      return kept;
    });
    const client = await connect();
    expect(await code(client.request(1, bytes("late"), { timeoutMs: 20 }))).toBe("deadline_exceeded");
    expect(client.inFlight).toBe(0);
    release();
    expect(text(await client.request(2, bytes("next"), TIMEOUT))).toBe("next");
    expect(client.closed).toBe(false);
  });
});

describe("a connection that ends", () => {
  it("fails every request in flight with connection_lost and says so once", async () => {
    await listen(() => new Promise<never>(() => undefined));
    const reasons: SignerError[] = [];
    const client = await connect({ onClose: (reason) => reasons.push(reason) });
    const answers = [1, 2, 3].map((operation) => code(client.request(operation, bytes(""), TIMEOUT)));
    await until(() => connections[0]?.inFlight === 3);
    sockets[0]?.destroy();
    expect(await Promise.all(answers)).toEqual(["connection_lost", "connection_lost", "connection_lost"]);
    expect(client.closed).toBe(true);
    expect(await code(client.request(1, bytes(""), TIMEOUT))).toBe("connection_lost");
    expect(reasons.map((reason) => reason.code)).toEqual(["connection_lost"]);
  });

  it("fails them too when this side closes", async () => {
    await listen(() => new Promise<never>(() => undefined));
    const client = await connect();
    const answer = code(client.request(1, bytes(""), TIMEOUT));
    client.close();
    expect(await answer).toBe("connection_lost");
    expect(client.closed).toBe(true);
  });

  it("notices a socket that was gone before it became a client", async () => {
    await listen((_, payload) => payload);
    const socket = await connectUnix(folder.path("s"), TIMEOUT);
    socket.destroy();
    await once(socket, "close");
    const client = createRpcClient(socket);
    expect(await code(client.request(1, bytes(""), TIMEOUT))).toBe("connection_lost");
    expect(client.closed).toBe(true);
  });
});

describe("bounds", () => {
  it("answers overloaded above the requests in flight", async () => {
    await listen(() => new Promise<never>(() => undefined));
    const client = await connect();
    const answers = Array.from({ length: IN_FLIGHT_PER_CONNECTION_MAX }, () => client.request(1, bytes(""), TIMEOUT));
    const settled = Promise.allSettled(answers);
    expect(await code(client.request(1, bytes(""), TIMEOUT))).toBe("overloaded");
    client.close();
    await settled;
  });

  it("answers overloaded when the peer does not read, without buffering on", async () => {
    listener = await listenUnix(folder.path("s"), (socket) => socket.pause());
    const client = await connect();
    const chunk = Buffer.alloc(FRAME_PAYLOAD_BYTES_MAX);
    const codes: Promise<string>[] = [];
    for (let sent = 0; sent < WRITE_BUFFER_BYTES_MAX + 4 * chunk.length; sent += chunk.length) {
      codes.push(code(client.request(1, chunk, TIMEOUT)));
    }
    expect(await codes.at(-1)).toBe("overloaded");
    client.close();
    expect(await codes[0]).toBe("connection_lost");
  });

  it("drops a peer that does not read events", async () => {
    await listen((_, payload) => payload);
    const socket = await connectUnix(folder.path("s"), TIMEOUT);
    socket.pause();
    await until(() => connections.length === 1);
    const event = Buffer.alloc(FRAME_PAYLOAD_BYTES_MAX);
    for (let sent = 0; sent < 2 * WRITE_BUFFER_BYTES_MAX; sent += event.length) connections[0]?.event(1, event);
    await until(() => closedConnections === 1);
    socket.destroy();
  });
});

describe("events", () => {
  it("reach the client in order", async () => {
    await listen((_, payload) => payload);
    const received: string[] = [];
    await connect({ onEvent: (operation, payload) => received.push(`${operation}:${text(payload)}`) });
    await until(() => connections.length === 1);
    for (let index = 0; index < 100; index += 1) connections[0]?.event(index, bytes(`${index}`));
    await until(() => received.length === 100);
    expect(received).toEqual(received.map((_, index) => `${index}:${index}`));
  });

  it("end the connection when the client cannot read them", async () => {
    await listen((_, payload) => payload);
    const reasons: SignerError[] = [];
    await connect({
      onEvent: () => {
        throw new SignerError("protocol_violation", "unknown event");
      },
      onClose: (reason) => reasons.push(reason),
    });
    await until(() => connections.length === 1);
    connections[0]?.event(1, bytes(""));
    await until(() => reasons.length === 1);
    expect(reasons[0]?.detail).toBe("unknown event");
  });
});

describe("a peer that breaks the format", () => {
  const answerFrame = { kind: "answer", operation: 1, requestId: 1, payload: bytes("") } as const;
  it.each([
    ["garbage", Buffer.from("GET / HTTP/1.1\r\n\r\n")],
    ["an answer to a server", Buffer.from(encodeFrame(answerFrame))],
  ])("loses its connection after %s while another lives", async (_, garbage) => {
    await listen((_operation, payload) => payload);
    const bystander = await connect();
    const attacker = await connectUnix(folder.path("s"), TIMEOUT);
    const ended = once(attacker, "close");
    attacker.resume();
    attacker.write(garbage);
    await ended;
    expect(violations.map((error) => error.code)).toEqual(["protocol_violation"]);
    expect(text(await bystander.request(1, bytes("alive"), TIMEOUT))).toBe("alive");
    expect(violations).toHaveLength(1);
  });

  it("is reported when its stream ends inside a frame", async () => {
    await listen((_, payload) => payload);
    const socket = await connectUnix(folder.path("s"), TIMEOUT);
    socket.end(encodeFrameHeader({ kind: "request", operation: 1, requestId: 1 }, 50));
    await until(() => violations.length === 1);
    expect(violations[0]?.detail).toBe("stream ended inside a frame");
  });

  it("is left by a client that is sent a request", async () => {
    listener = await listenUnix(folder.path("s"), (socket) => {
      socket.write(encodeFrame({ kind: "request", operation: 1, requestId: 1, payload: bytes("") }));
    });
    const reasons: SignerError[] = [];
    const client = await connect({ onClose: (reason) => reasons.push(reason) });
    await until(() => client.closed);
    expect(reasons[0]?.code).toBe("protocol_violation");
  });

  it("cannot hurt a client by answers to nothing or by a broken failure", async () => {
    listener = await listenUnix(folder.path("s"), (socket) => {
      socket.write(encodeFrame({ kind: "answer", operation: 1, requestId: 99, payload: bytes("?") }));
      socket.once("data", () =>
        socket.write(encodeFrame({ kind: "failure", operation: 1, requestId: 1, payload: bytes("") })),
      );
    });
    const client = await connect();
    await sleep(5);
    expect(await code(client.request(1, bytes(""), TIMEOUT))).toBe("protocol_violation");
    expect(client.closed).toBe(false);
    client.close();
  });
});
