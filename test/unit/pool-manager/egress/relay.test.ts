import { once } from "node:events";
import { connect, createServer, type Server, type Socket } from "node:net";
import { afterEach, beforeEach, expect, it } from "vitest";
import { createRelay } from "#pool-manager/egress/relay.ts";
import type { LogFields, Logger } from "#protocol/log.ts";
import { connectUnix, type Listener, listenUnix } from "#protocol/transport/hybrid.ts";
import { makeSocketFolder, until } from "../../../helpers/socket-folder.ts";

let folder: ReturnType<typeof makeSocketFolder>;
let listener: Listener;
let target: Server | undefined;
let accepted: Socket[];
let port: number;
let logged: [level: string, event: string, fields: LogFields][];

const openTarget = async (at: number): Promise<void> => {
  target = createServer((socket) => {
    accepted.push(socket);
    socket.on("error", () => undefined);
    socket.pipe(socket);
  });
  target.listen(at, "127.0.0.1");
  await once(target, "listening");
  port = (target.address() as { port: number }).port;
};

const closeTarget = async (): Promise<void> => {
  const closed = once(target as Server, "close");
  target?.close();
  for (const socket of accepted.splice(0)) socket.destroy();
  await closed;
};

const recordingLogger = (): Logger => {
  const at =
    (level: string) =>
    (event: string, fields: LogFields = {}) =>
      void logged.push([level, event, fields]);
  return { debug: at("debug"), info: at("info"), warn: at("warn"), error: at("error") };
};

beforeEach(async () => {
  folder = makeSocketFolder();
  accepted = [];
  logged = [];
  await openTarget(0);
  listener = await listenUnix(folder.path("e"), createRelay({ host: "127.0.0.1", port }, recordingLogger()));
});

afterEach(async () => {
  await listener.close();
  target?.close();
  for (const socket of accepted) socket.destroy();
  folder.remove();
});

const dial = (): Promise<Socket> => connectUnix(folder.path("e"), { timeoutMs: 1_000 });

const fails = async (): Promise<void> => {
  const socket = await dial();
  socket.resume();
  await once(socket, "close");
};

const echoes = async (): Promise<Socket> => {
  const socket = await dial();
  socket.write("hello");
  const [answer] = (await once(socket, "data")) as [Buffer];
  expect(answer.toString()).toBe("hello");
  return socket;
};

it("passes bytes both ways, and one end's close to the other", async () => {
  const socket = await echoes();
  socket.destroy();
  await until(() => accepted[0]?.destroyed === true);
  const another = await echoes();
  accepted[1]?.destroy();
  await once(another, "close");
  expect(logged).toEqual([]);
});

it("reports an outage once and its end once, each time", async () => {
  for (let outage = 1; outage <= 2; outage += 1) {
    (await echoes()).destroy();
    await closeTarget();
    for (let attempt = 0; attempt < 20; attempt += 1) await fails();
    await openTarget(port);
    for (let attempt = 0; attempt < 5; attempt += 1) (await echoes()).destroy();
    const target = { host: "127.0.0.1", port };
    expect(logged.splice(0)).toEqual([
      ["warn", "egress down", { ...target, reason: expect.stringContaining("ECONNREFUSED") }],
      ["info", "egress up again", { ...target, failures: 20 }],
    ]);
  }
});

it("keeps quiet about a connection that breaks after it was made", async () => {
  const socket = await echoes();
  const ended = once(socket, "close");
  accepted[0]?.resetAndDestroy();
  await ended;
  expect(logged).toEqual([]);
});

it("reports a target that does not answer before the enclave gives up", async () => {
  const silent = await listenUnix(folder.path("s"), createRelay({ host: "192.0.2.1", port }, recordingLogger())); // RFC 5737
  const socket = connect(folder.path("s"));
  await once(socket, "connect");
  setTimeout(() => socket.destroy(), 50);
  await until(() => logged.length === 1);
  expect(logged[0]?.slice(0, 2)).toEqual(["warn", "egress down"]);
  await silent.close();
});
