import { once } from "node:events";
import type { Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { ERROR_CODES, SignerError } from "#protocol/errors.ts";
import {
  FRAME_PAYLOAD_BYTES_MAX,
  FRAME_TIMEOUT_MS,
  IN_FLIGHT_PER_CONNECTION_MAX,
  REQUEST_BYTES_IN_FLIGHT_MAX,
  WRITE_BUFFER_BYTES_MAX,
} from "#protocol/limits.ts";
import {
  createRpcClient,
  type RpcClient,
  type RpcClientOptions,
  type RpcHandler,
  type RpcServerConnection,
  serveRpc,
} from "#protocol/rpc.ts";
import { connectUnix, type Listener, listenUnix } from "#protocol/transport/hybrid.ts";
import { encodeFrame, encodeFrameHeader } from "../../helpers/encode-frame.ts";
import { makeSocketFolder, until } from "../../helpers/socket-folder.ts";

const TIMEOUT = { timeoutMs: 5_000 };
const bytes = (text: string): Uint8Array => Buffer.from(text);
const text = (payload: Uint8Array): string => Buffer.from(payload).toString();

let folder: ReturnType<typeof makeSocketFolder>;
let listener: Listener | undefined;
let connections: RpcServerConnection[];
let sockets: Socket[];
let violations: SignerError[];
/** One entry for each connection that ended. */
let closedConnections: true[];

beforeEach(() => {
  folder = makeSocketFolder();
  connections = [];
  sockets = [];
  violations = [];
  closedConnections = [];
});

afterEach(async () => {
  await listener?.close();
  folder.remove();
});

const listen = async (handler: RpcHandler): Promise<void> => {
  // This test's own: a connection may end after the test did.
  const [ownViolations, ownClosed] = [violations, closedConnections];
  listener = await listenUnix(folder.path("s"), (socket) => {
    sockets.push(socket);
    connections.push(
      serveRpc(socket, {
        handler,
        onViolation: (error) => ownViolations.push(error),
        onClose: () => ownClosed.push(true),
      }),
    );
  });
};

const connect = async (options?: RpcClientOptions): Promise<RpcClient> =>
  createRpcClient(await connectUnix(folder.path("s"), TIMEOUT), options);

const ASKED = { kind: "request", operation: 1, requestId: 1 } as const;
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

  it("leave no copy of a payload behind once it was sent, however slowly the peer reads", async () => {
    await listen((_, payload) => payload);
    const socket = await connectUnix(folder.path("s"), TIMEOUT);
    const write = vi.spyOn(socket, "write");
    const client = createRpcClient(socket);
    await until(() => sockets.length === 1);
    sockets[0]?.pause();
    const payload = Buffer.alloc(FRAME_PAYLOAD_BYTES_MAX, 7);
    const answer = client.request(1, payload, TIMEOUT);
    await until(() => write.mock.calls.length === 1);
    const sent = write.mock.calls[0]?.[0] as Buffer;
    expect(sent.includes(7)).toBe(true);
    sockets[0]?.resume();
    expect(Buffer.compare(await answer, payload)).toBe(0);
    expect(sent.every((byte) => byte === 0)).toBe(true);
    client.close();
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

  it.each([
    ["empty answers", () => new Uint8Array(0)],
    ["large answers", () => Buffer.alloc(FRAME_PAYLOAD_BYTES_MAX)],
    ["refusals", () => new Promise<never>(() => undefined)],
  ])("drops a peer that asks on and does not read its %s", async (_, handler) => {
    await listen(handler);
    const socket = await connectUnix(folder.path("s"), TIMEOUT);
    socket.pause();
    let ended = false;
    socket.once("close", () => {
      ended = true;
    });
    const requests = Buffer.concat(
      Array.from({ length: 1_000 }, (_value, index) => encodeFrameHeader({ ...ASKED, requestId: index }, 0)),
    );
    let asked = 0;
    let unsent = 0;
    while (!ended && closedConnections.length === 0 && asked < 1_000_000) {
      asked += 1_000;
      unsent += 1;
      socket.write(requests, () => {
        unsent -= 1;
      });
      await until(() => unsent < 10 || ended || closedConnections.length === 1);
      await sleep(0);
    }
    expect(closedConnections.length).toBe(1);
    // Four times the requests in flight may wait unsent, and some more in the sockets' own buffers.
    expect(asked).toBeLessThan(20 * IN_FLIGHT_PER_CONNECTION_MAX);
    expect(violations).toEqual([]);
    socket.destroy();
  });

  it("answers overloaded above the bytes of requests in flight", async () => {
    const release: (() => void)[] = [];
    await listen(async () => {
      await new Promise<void>((resolve) => release.push(resolve));
      return new Uint8Array(0);
    });
    const client = await connect();
    const largest = Buffer.alloc(FRAME_PAYLOAD_BYTES_MAX);
    const fitting = Math.floor(REQUEST_BYTES_IN_FLIGHT_MAX / largest.length);
    const answers: Promise<string>[] = [];
    for (let index = 0; index < fitting; index += 1) {
      answers.push(code(client.request(1, largest, TIMEOUT)));
      await until(() => release.length === index + 1); // the client's own bound on unsent bytes is lower
    }
    expect(await code(client.request(1, largest, TIMEOUT))).toBe("overloaded");
    const small = code(client.request(1, bytes("still fits"), TIMEOUT));
    await until(() => release.length === fitting + 1);
    for (const resolve of release.splice(0)) resolve();
    expect(new Set(await Promise.all([...answers, small]))).toEqual(new Set(["resolved"]));
    const later = code(client.request(1, largest, TIMEOUT));
    await until(() => release.length === 1);
    release[0]?.();
    expect(await later).toBe("resolved");
  });

  it("keeps no frame while its handler works", async () => {
    setFlagsFromString("--expose-gc");
    const collectGarbage = runInNewContext("gc") as () => void;
    const payloads: WeakRef<ArrayBufferLike>[] = [];
    const working: ((payload: Uint8Array) => void)[] = [];
    await listen((_, payload) => {
      payloads.push(new WeakRef(payload.buffer));
      return new Promise((resolve) => working.push(resolve));
    });
    const client = await connect();
    const answer = code(client.request(1, Buffer.alloc(100_000), TIMEOUT)); // larger than a chunk: has its own buffer
    await until(() => payloads.length === 1);
    for (let attempt = 0; attempt < 50 && payloads[0]?.deref() !== undefined; attempt += 1) {
      await sleep(5);
      collectGarbage();
    }
    expect(payloads[0]?.deref()).toBeUndefined();
    working[0]?.(new Uint8Array(0));
    expect(await answer).toBe("resolved");
  });

  it("drops a peer that does not read events", async () => {
    await listen((_, payload) => payload);
    const socket = await connectUnix(folder.path("s"), TIMEOUT);
    socket.pause();
    await until(() => connections.length === 1);
    const event = Buffer.alloc(FRAME_PAYLOAD_BYTES_MAX);
    for (let sent = 0; sent < 2 * WRITE_BUFFER_BYTES_MAX; sent += event.length) connections[0]?.event(1, event);
    await until(() => closedConnections.length === 1);
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

  it.each([
    ["header", encodeFrameHeader(ASKED, 50).subarray(0, 3), [new Uint8Array([50 + 8])]],
    ["payload", encodeFrameHeader(ASKED, 50), [new Uint8Array(20), new Uint8Array(20)]],
  ])("is left when it stays in a frame's %s, however it drips", async (_, start, drops) => {
    await listen((_operation, payload) => payload);
    const socket = await connectUnix(folder.path("s"), TIMEOUT);
    await until(() => connections.length === 1);
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    try {
      for (const piece of [start, ...drops]) {
        const seen = sockets[0]?.bytesRead ?? 0;
        socket.write(piece);
        await vi.waitUntil(() => (sockets[0]?.bytesRead ?? 0) > seen, { interval: 0 });
        expect(closedConnections.length).toBe(0);
        vi.advanceTimersByTime(Math.ceil(FRAME_TIMEOUT_MS / (drops.length + 1)));
      }
      expect(closedConnections.length).toBe(1);
    } finally {
      vi.useRealTimers();
    }
    expect(violations.map(({ detail }) => detail)).toEqual([`frame: not whole within ${FRAME_TIMEOUT_MS} ms`]);
    socket.destroy();
  });

  it("is not one whose frames overlap its writes, nor one that rests between frames", async () => {
    await listen((_operation, payload) => payload);
    const socket = await connectUnix(folder.path("s"), TIMEOUT);
    socket.resume();
    await until(() => connections.length === 1);
    const frame = encodeFrame({ ...ASKED, payload: bytes("x") });
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    const write = async (piece: Uint8Array): Promise<void> => {
      const seen = sockets[0]?.bytesRead ?? 0;
      socket.write(piece);
      await vi.waitUntil(() => (sockets[0]?.bytesRead ?? 0) > seen, { interval: 0 });
    };
    try {
      await write(frame.subarray(0, 5));
      for (let round = 0; round < 4; round += 1) {
        vi.advanceTimersByTime(FRAME_TIMEOUT_MS - 1);
        await write(Buffer.concat([frame.subarray(5), frame.subarray(0, 5)])); // one ends, the next begins
      }
      await write(frame.subarray(5));
      vi.advanceTimersByTime(10 * FRAME_TIMEOUT_MS);
    } finally {
      vi.useRealTimers();
    }
    expect(closedConnections.length).toBe(0);
    socket.destroy();
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
