import { createServer, type Server, type Socket } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import { type Answer, BROKEN, type Connection, openConnection, parseAnswer } from "../../../bench/load/connection.ts";

const answerOf = (status: number, body: string): string =>
  `HTTP/1.1 ${status} Whatever\r\ncontent-type: text/plain\r\ncontent-length: ${body.length}\r\n\r\n${body}`;

describe("an answer", () => {
  it("is read when it is there in full", () => {
    const text = answerOf(200, "0xab");
    expect(parseAnswer(text)).toEqual({ status: 200, body: "0xab" });
    for (let length = 0; length < text.length; length += 1) expect(parseAnswer(text.slice(0, length))).toBeUndefined();
    expect(parseAnswer(answerOf(503, ""))).toEqual({ status: 503, body: "" });
  });

  it("without a length is broken, even when the body speaks of one", () => {
    expect(parseAnswer("HTTP/1.1 200 OK\r\n\r\ncontent-length: 3\r\n\r\nabc")?.status).toBe(BROKEN);
  });
});

describe("a connection", () => {
  let server: Server | undefined;
  let connection: Connection | undefined;
  afterEach(() => {
    connection?.close();
    server?.close();
  });
  const connectTo = async (onRequest: (socket: Socket, text: string) => void): Promise<Connection> => {
    server = createServer((socket) => socket.on("data", (data) => onRequest(socket, data.toString())));
    await new Promise<void>((resolve) => server?.listen(0, "127.0.0.1", resolve));
    const address = server.address();
    if (address === null || typeof address === "string") throw new Error("no port");
    connection = await openConnection("127.0.0.1", address.port);
    return connection;
  };
  const ask = (to: Connection, request: string): Promise<Answer> => new Promise((resolve) => to.send(request, resolve));

  it("sends one request after the other and puts answers together", async () => {
    const opened = await connectTo((socket, text) => {
      const answer = answerOf(200, `you said ${text}`);
      socket.write(answer.slice(0, 20));
      setTimeout(() => socket.write(answer.slice(20)), 5);
    });
    expect(await ask(opened, "one")).toEqual({ status: 200, body: "you said one" });
    expect(await ask(opened, "two")).toEqual({ status: 200, body: "you said two" });
  });

  it("answers for a server that closed, now and from then on", async () => {
    const opened = await connectTo((socket) => socket.destroy());
    expect((await ask(opened, "one")).status).toBe(BROKEN);
    expect((await ask(opened, "two")).status).toBe(BROKEN);
  });
});
