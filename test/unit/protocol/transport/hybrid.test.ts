import { once } from "node:events";
import { existsSync, mkdirSync, statSync, writeFileSync } from "node:fs";
import type { Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { dial } from "#protocol/transport/address.ts";
import {
  CONNECTIONS_PER_SOCKET_MAX,
  checkSocketPath,
  connectGuest,
  connectHost,
  connectUnix,
  hostSocketPath,
  type Listener,
  listenGuest,
  listenHost,
  listenUnix,
  SOCKET_PATH_BYTES_MAX,
} from "#protocol/transport/hybrid.ts";
import { makeSocketFolder, until } from "../../../helpers/socket-folder.ts";

const TIMEOUT = { timeoutMs: 2_000 };
const PORT = 5000;

let folder: ReturnType<typeof makeSocketFolder>;
let listeners: Listener[];

beforeEach(() => {
  folder = makeSocketFolder();
  listeners = [];
});

afterEach(async () => {
  await Promise.all(listeners.map((listener) => listener.close()));
  folder.remove();
});

const keep = async (listening: Promise<Listener>): Promise<Listener> => {
  const listener = await listening;
  listeners.push(listener);
  return listener;
};

/** Collects everything that a socket receives. */
const collect = (socket: Socket): { text: () => string } => {
  let received = "";
  socket.on("data", (chunk: Buffer) => {
    received += chunk.toString();
  });
  socket.resume();
  return { text: () => received };
};

/** A server that answers the handshake in its own way. */
const fakeGuest = async (path: string, onSocket: (socket: Socket) => void): Promise<void> => {
  await keep(listenUnix(path, onSocket));
};

describe("parent to guest", () => {
  it("reaches the port that was asked for", async () => {
    const ports = new Map([
      [PORT, (socket: Socket) => void socket.end("data port")],
      [5001, (socket: Socket) => void socket.end("control port")],
    ]);
    await keep(listenGuest(folder.path("v"), ports));
    for (const [port, greeting] of [
      [PORT, "data port"],
      [5001, "control port"],
    ] as const) {
      const socket = await dial({ kind: "hybrid", path: folder.path("v"), cid: 16, port }, TIMEOUT);
      const received = collect(socket);
      await once(socket, "close");
      expect(received.text()).toBe(greeting);
    }
  });

  it("speaks Firecracker's words", async () => {
    let line = "";
    await fakeGuest(folder.path("v"), (socket) => {
      socket.once("data", (chunk: Buffer) => {
        line = chunk.toString();
        socket.write("OK 1073741824\n");
      });
    });
    (await connectGuest({ path: folder.path("v"), port: PORT }, TIMEOUT)).destroy();
    expect(line).toBe("CONNECT 5000\n");
  });

  it("says unavailable when nobody listens on the port", async () => {
    await keep(listenGuest(folder.path("v"), new Map()));
    await expect(connectGuest({ path: folder.path("v"), port: PORT }, TIMEOUT)).rejects.toMatchObject({
      code: "unavailable",
      detail: "vsock handshake: nobody listens on that port",
    });
  });

  it("says unavailable when there is no guest", async () => {
    await expect(connectGuest({ path: folder.path("v"), port: PORT }, TIMEOUT)).rejects.toMatchObject({
      code: "unavailable",
      detail: expect.stringContaining("ENOENT"),
    });
  });

  it("says unavailable when the guest does not answer in time", async () => {
    await fakeGuest(folder.path("v"), () => undefined);
    await expect(connectGuest({ path: folder.path("v"), port: PORT }, { timeoutMs: 30 })).rejects.toMatchObject({
      code: "unavailable",
      detail: "vsock handshake: no line within 30 ms",
    });
  });

  it.each([
    ["junk", "NO\n"],
    ["no number", "OK \n"],
    ["too many digits", "OK 12345678901\n"],
    ["a carriage return", "OK 1\r\n"],
    ["a line without end", "OK 1".padEnd(64, "1")],
  ])("says unavailable when the guest answers %s", async (_, answer) => {
    await fakeGuest(folder.path("v"), (socket) => void socket.write(answer));
    await expect(connectGuest({ path: folder.path("v"), port: PORT }, TIMEOUT)).rejects.toMatchObject({
      code: "unavailable",
    });
  });

  it("reads an answer that comes in pieces", async () => {
    await fakeGuest(folder.path("v"), (socket) => {
      void (async () => {
        for (const character of "OK 7\nhello") {
          socket.write(character);
          await sleep(2);
        }
      })();
    });
    const socket = await connectGuest({ path: folder.path("v"), port: PORT }, TIMEOUT);
    const received = collect(socket);
    await until(() => received.text() === "hello");
    socket.destroy();
  });

  it("keeps the bytes right behind the answer for whoever reads next", async () => {
    await fakeGuest(folder.path("v"), (socket) => void socket.write("OK 7\nhello"));
    const socket = await connectGuest({ path: folder.path("v"), port: PORT }, TIMEOUT);
    await sleep(10); // no reader yet
    const received = collect(socket);
    await until(() => received.text() === "hello");
    socket.destroy();
  });
});

describe("the guest's handshake", () => {
  let greeted: string[];

  beforeEach(async () => {
    greeted = [];
    const echo = (socket: Socket): void => {
      greeted.push("");
      socket.on("data", (chunk: Buffer) => {
        greeted[greeted.length - 1] += chunk.toString();
      });
      socket.resume();
    };
    await keep(listenGuest(folder.path("v"), new Map([[PORT, echo]])));
  });

  it("takes a line in pieces and the bytes right behind it", async () => {
    const socket = await connectUnix(folder.path("v"), TIMEOUT);
    const received = collect(socket);
    for (const piece of ["CONN", "ECT 50", "00\nfirst ", "second"]) {
      socket.write(piece);
      await sleep(2);
    }
    await until(() => greeted[0] === "first second");
    expect(received.text()).toBe("OK 5000\n");
    socket.destroy();
  });

  it.each([
    "HELLO\n",
    "CONNECT\n",
    "CONNECT abc\n",
    "connect 5000\n",
    "CONNECT 5000\r\n",
    "CONNECT -1\n",
    "CONNECT 5001\n",
    "x".repeat(100),
  ])("closes without an answer after %j", async (line) => {
    const socket = await connectUnix(folder.path("v"), TIMEOUT);
    const received = collect(socket);
    socket.write(line);
    await once(socket, "close");
    expect(received.text()).toBe("");
    expect(greeted).toEqual([]);
  });

  it("serves others after a peer left in the middle of it", async () => {
    const rude = await connectUnix(folder.path("v"), TIMEOUT);
    rude.write("CONN");
    rude.destroy();
    const socket = await connectGuest({ path: folder.path("v"), port: PORT }, TIMEOUT);
    socket.write("hello");
    await until(() => greeted[0] === "hello");
    socket.destroy();
  });
});

describe("guest to parent", () => {
  it("arrives at the path with the port behind it, without a handshake", async () => {
    let received: { text: () => string } | undefined;
    await keep(
      listenHost(folder.path("v"), 8000, (socket) => {
        received = collect(socket);
      }),
    );
    expect(hostSocketPath(folder.path("v"), 8000)).toBe(`${folder.path("v")}_8000`);
    expect(existsSync(`${folder.path("v")}_8000`)).toBe(true);
    const socket = await connectHost(folder.path("v"), 8000, TIMEOUT);
    socket.write("hello");
    await until(() => received?.text() === "hello");
    socket.destroy();
  });

  it("is unavailable on a port without a listener", async () => {
    await expect(connectHost(folder.path("v"), 8001, TIMEOUT)).rejects.toMatchObject({ code: "unavailable" });
  });
});

describe("listening", () => {
  it("replaces the socket file of a process that died", async () => {
    writeFileSync(folder.path("v"), "stale");
    await keep(listenUnix(folder.path("v"), (socket) => void socket.end("fresh")));
    const socket = await connectUnix(folder.path("v"), TIMEOUT);
    const received = collect(socket);
    await once(socket, "close");
    expect(received.text()).toBe("fresh");
  });

  it("lets only this user connect", async () => {
    await keep(listenUnix(folder.path("v"), () => undefined));
    expect(statSync(folder.path("v")).mode & 0o777).toBe(0o600);
  });

  it("ends its connections and its file on close", async () => {
    const listener = await listenUnix(folder.path("v"), () => undefined);
    const socket = await connectUnix(folder.path("v"), TIMEOUT);
    const ended = once(socket, "close");
    socket.resume();
    await listener.close();
    await ended;
    expect(existsSync(folder.path("v"))).toBe(false);
  });

  it("closes a connection above its bound and takes one again afterwards", async () => {
    let taken = 0;
    await keep(
      listenUnix(folder.path("v"), (socket) => {
        taken += 1;
        socket.resume();
      }),
    );
    const peers: Socket[] = [];
    for (let index = 0; index < CONNECTIONS_PER_SOCKET_MAX; index += 1) {
      peers.push(await connectUnix(folder.path("v"), TIMEOUT));
    }
    await until(() => taken === CONNECTIONS_PER_SOCKET_MAX);
    const refused = await connectUnix(folder.path("v"), TIMEOUT);
    refused.resume();
    await once(refused, "close");
    expect(taken).toBe(CONNECTIONS_PER_SOCKET_MAX);

    peers.pop()?.destroy();
    await sleep(20);
    peers.push(await connectUnix(folder.path("v"), TIMEOUT));
    await until(() => taken === CONNECTIONS_PER_SOCKET_MAX + 1);
    for (const peer of peers) peer.destroy();
  });

  it("survives a peer that resets", async () => {
    await keep(listenUnix(folder.path("v"), (socket) => void socket.write(Buffer.alloc(1 << 20))));
    const rude = await connectUnix(folder.path("v"), TIMEOUT);
    rude.destroy();
    await sleep(10);
    (await connectUnix(folder.path("v"), TIMEOUT)).destroy();
  });

  it("fails when the folder is missing or a folder is in the way", async () => {
    await expect(listenUnix(folder.path("no/v"), () => undefined)).rejects.toMatchObject({ code: "unavailable" });
    mkdirSync(folder.path("dir"));
    await expect(listenUnix(folder.path("dir"), () => undefined)).rejects.toThrow();
  });

  it.each([
    ["a guest path that leaves room for any port", 96, true],
    ["a guest path that does not", 97, false],
  ])("judges %s", async (_, length, valid) => {
    const path = folder.path("v").padEnd(length, "v");
    if (valid) {
      checkSocketPath(path);
      await keep(listenGuest(path, new Map()));
      await keep(listenHost(path, 4_294_967_295, () => undefined));
    } else {
      expect(() => checkSocketPath(path)).toThrow(path);
      await expect(listenGuest(path, new Map())).rejects.toThrow(`socket path ${path}: too long for the kernel`);
    }
  });

  it("names any path that the kernel would not take", async () => {
    const path = folder.path("v").padEnd(SOCKET_PATH_BYTES_MAX + 1, "v");
    await expect(listenUnix(path, () => undefined)).rejects.toMatchObject({ code: "bad_request" });
  });
});
