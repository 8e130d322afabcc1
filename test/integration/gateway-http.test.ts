/** The gateway over real sockets: what no well-behaved HTTP client would send, and its life from listen to drain. */

import { connect, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, describe, expect, it } from "vitest";
import { parseGatewayConfig } from "#gateway/config.ts";
import { createGateway } from "#gateway/server.ts";
import type { SignOutcome } from "#protocol/messages/sign.ts";
import { createFakePool, PUBKEY_HEX, SIGNATURE_HEX, SIGNED } from "../unit/gateway/fake-pool.ts";
import { type RunningGateway, runGateway, SIGN_PATH, sendTo } from "../unit/gateway/running-gateway.ts";

const BODY = '{"type":"ATTESTATION"}';
const SIGN_HEAD = `POST ${SIGN_PATH} HTTP/1.1\r\nHost: localhost\r\n`;
const signBytes = (body = BODY): string => `${SIGN_HEAD}Content-Length: ${body.length}\r\n\r\n${body}`;

const opened: { close(): unknown }[] = [];
afterEach(async () => {
  for (const item of opened.splice(0)) await item.close();
});

const run = async (...overrides: Parameters<typeof runGateway>): Promise<RunningGateway> => {
  const gateway = await runGateway(...overrides);
  opened.push(gateway);
  return gateway;
};

/** A raw connection: what arrived so far, and whether the server ended it. */
const open = async (port: number): Promise<{ socket: Socket; text: () => string; ended: () => boolean }> => {
  const socket = connect(port, "127.0.0.1");
  let text = "";
  let ended = false;
  socket.on("data", (chunk) => (text += chunk.toString("latin1")));
  socket.on("close", () => (ended = true));
  socket.on("error", () => (ended = true));
  await new Promise((resolve) => socket.once("connect", resolve));
  opened.push({ close: () => socket.destroy() });
  return { socket, text: () => text, ended: () => ended };
};

const exchange = async (port: number, bytes: string): Promise<string> => {
  const connection = await open(port);
  connection.socket.write(bytes);
  await expect.poll(connection.text, { timeout: 5000 }).toContain("\r\n\r\n");
  return connection.text();
};

describe("raw requests", () => {
  it("signs without Accept and without Content-Type", async () => {
    const { port } = await run();
    const answer = await exchange(port, signBytes());
    expect(answer).toMatch(/^HTTP\/1.1 200 OK\r\n/);
    expect(answer).toMatch(/content-type: text\/plain; charset=utf-8\r\n/);
    expect(answer.endsWith(`\r\n\r\n${SIGNATURE_HEX}`)).toBe(true);
  });

  it("signs for a chunked body", async () => {
    const { port, pool } = await run();
    const chunks = `Transfer-Encoding: chunked\r\n\r\n5\r\n{"typ\r\n11\r\ne":"ATTESTATION"}\r\n0\r\n\r\n`;
    expect(await exchange(port, `${SIGN_HEAD}${chunks}`)).toMatch(/^HTTP\/1.1 200 /);
    expect(Buffer.from(pool.asked[0]?.body ?? []).toString()).toBe(BODY);
  });

  it("answers pipelined requests on one connection in order", async () => {
    const { port, pool } = await run();
    pool.answer = async ({ body }) => {
      await sleep(body.length === 2 ? 50 : 0);
      return { kind: "signed", signature: new Uint8Array(96).fill(body.length) };
    };
    const connection = await open(port);
    connection.socket.write(signBytes("{}") + signBytes("{ }") + signBytes("{  }"));
    await expect.poll(() => connection.text().match(/0x[0-9a-f]{192}/g)?.length).toBe(3);
    expect(connection.text().match(/0x[0-9a-f]{2}/g)).toEqual(["0x02", "0x03", "0x04"]);
    expect(connection.text()).toContain("Keep-Alive: timeout=75");
    expect(connection.ended()).toBe(false);
  });

  it.each([
    ["a foreign host", `POST ${SIGN_PATH} HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 2\r\n\r\n{}`, 403],
    ["no host (HTTP/1.0)", `POST ${SIGN_PATH} HTTP/1.0\r\nContent-Length: 2\r\n\r\n{}`, 403],
    ["no host (HTTP/1.1)", `POST ${SIGN_PATH} HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}`, 400],
    ["an announced body over the limit", `${SIGN_HEAD}Content-Length: 1048577\r\n\r\n`, 413],
    ["a content type that is none", `${SIGN_HEAD}Content-Type: ;;\r\nContent-Length: 2\r\n\r\n{}`, 415],
    ["two lengths", `${SIGN_HEAD}Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}`, 400],
    ["length and chunks", `${SIGN_HEAD}Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`, 400],
    ["no HTTP", "\u0016\u0003\u0001\u0002\u0000\u0001\u0000\r\n\r\n", 400],
    ["headers without end", `${SIGN_HEAD}${"X-Padding: ".padEnd(20_000, "x")}\r\n\r\n`, 431],
    ["an unknown expectation", `${SIGN_HEAD}Expect: magic\r\nContent-Length: 2\r\n\r\n{}`, 417],
  ])("%s", async (_name, bytes, status) => {
    const { port, pool } = await run();
    expect(await exchange(port, bytes)).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
    expect(pool.asked).toEqual([]);
  });

  it("says 400 in JSON to bytes that are no HTTP, and closes", async () => {
    const { port } = await run();
    const connection = await open(port);
    connection.socket.write("nonsense\r\n\r\n");
    await expect.poll(connection.ended).toBe(true);
    expect(connection.text().split("\r\n\r\n")[1]).toBe('{"code":400,"message":"Bad Request","error":"Bad Request"}');
  });

  it("stops reading a chunked body at the limit", async () => {
    const { port, pool } = await run({ bodyBytesMax: 2048 });
    const chunk = `400\r\n${"x".repeat(1024)}\r\n`;
    const connection = await open(port);
    connection.socket.write(`${SIGN_HEAD}Transfer-Encoding: chunked\r\n\r\n${chunk.repeat(3)}`);
    await expect.poll(connection.text).toMatch(/^HTTP\/1.1 413 /);
    expect(connection.text().toLowerCase()).toContain("connection: close");
    expect(pool.asked).toEqual([]);
  });

  it("gives up on a request that arrives too slowly", async () => {
    const { port } = await run({ requestTimeoutMs: 200 });
    const connection = await open(port);
    connection.socket.write(`${SIGN_HEAD}Content-Length: 10\r\n\r\n{`);
    await expect.poll(connection.ended, { timeout: 5000 }).toBe(true);
    expect(connection.text()).toMatch(/^HTTP\/1.1 408 /);
  });

  it("drops the connection past the bound", async () => {
    const { port } = await run({ connectionsMax: 1 });
    await open(port);
    const second = await open(port);
    await expect.poll(second.ended).toBe(true);
  });
});

describe("clients that leave", () => {
  it("frees the place of a client that leaves in the middle of its body", async () => {
    const gateway = await run({ inFlightMax: 1 });
    const connection = await open(gateway.port);
    connection.socket.write(`${SIGN_HEAD}Content-Length: 100\r\n\r\n{`);
    await expect.poll(async () => (await gateway.sign(BODY)).status).toBe(503);
    connection.socket.destroy();
    await expect.poll(async () => (await gateway.sign(BODY)).status).toBe(200);
    expect(gateway.logged.filter(({ level }) => level === "error")).toEqual([]);
  });

  it("keeps the place of a client that leaves while the pool signs, until it has signed", async () => {
    const gateway = await run({ inFlightMax: 1 });
    let release: (outcome: SignOutcome) => void = () => undefined;
    gateway.pool.answer = () => new Promise((resolve) => (release = resolve));
    const connection = await open(gateway.port);
    connection.socket.write(signBytes());
    await expect.poll(() => gateway.pool.asked.length).toBe(1);
    connection.socket.destroy();
    await sleep(50);
    expect((await gateway.sign(BODY)).status).toBe(503);
    gateway.pool.answer = async () => SIGNED;
    release(SIGNED);
    await expect.poll(async () => (await gateway.sign(BODY)).status).toBe(200);
    expect(gateway.logged.filter(({ level }) => level === "error")).toEqual([]);
  });
});

describe("life", () => {
  it("drains: answers what is in flight, refuses what comes, ends idle connections", async () => {
    const gateway = await run();
    let release: (outcome: SignOutcome) => void = () => undefined;
    gateway.pool.answer = () => new Promise((resolve) => (release = resolve));
    const idle = await open(gateway.port);
    idle.socket.write("GET /upcheck HTTP/1.1\r\nHost: localhost\r\n\r\n");
    await expect.poll(idle.text).toContain("OK");
    const waiting = gateway.sign(BODY, { headers: { connection: "keep-alive" } });
    await expect.poll(() => gateway.pool.asked.length).toBe(1);

    const started = performance.now();
    const drained = gateway.drain();
    await expect.poll(idle.ended).toBe(true);
    await expect(gateway.sign(BODY)).rejects.toThrow("ECONNREFUSED");
    release(SIGNED);
    const answer = await waiting;
    expect([answer.status, answer.headers.connection, answer.body]).toEqual([200, "close", SIGNATURE_HEX]);
    await drained;
    expect(performance.now() - started).toBeLessThan(3000);
    await expect(sendTo(`${gateway.metricsUrl}/metrics`)).rejects.toThrow("ECONNREFUSED");
  });

  it("answers a request that was half sent when draining began", async () => {
    const gateway = await run();
    const connection = await open(gateway.port);
    connection.socket.write(`${SIGN_HEAD}Content-Length: ${BODY.length}\r\n\r\n${BODY.slice(0, 5)}`);
    await sleep(50);
    const drained = gateway.drain();
    await sleep(50);
    connection.socket.write(BODY.slice(5));
    await drained;
    await expect.poll(connection.ended).toBe(true);
    expect(connection.text()).toMatch(/^HTTP\/1.1 200 OK\r\n/);
    expect(connection.text().toLowerCase()).toContain("connection: close");
  });

  it("cuts what is not answered within the drain time", async () => {
    const gateway = await run({ drainTimeoutMs: 100 });
    gateway.pool.answer = () => new Promise(() => undefined);
    const waiting = gateway.sign(BODY);
    waiting.catch(() => undefined);
    await expect.poll(() => gateway.pool.asked.length).toBe(1);
    await gateway.drain();
    await expect(waiting).rejects.toThrow();
  });

  it("closes at once, and again, and after a drain", async () => {
    const gateway = await run();
    gateway.pool.answer = () => new Promise(() => undefined);
    const waiting = gateway.sign(BODY);
    waiting.catch(() => undefined);
    await expect.poll(() => gateway.pool.asked.length).toBe(1);
    await Promise.all([gateway.close(), gateway.drain(), gateway.close()]);
    await gateway.close();
    await expect(waiting).rejects.toThrow();
  });

  it("closes a gateway that never listened", async () => {
    const modules = { pool: createFakePool(), now: () => 0, logger: NO_LOG };
    await createGateway(parseGatewayConfig(), modules).close();
  });

  it("leaves nothing open when a port is taken", async () => {
    const first = await run();
    const config = parseGatewayConfig({ port: 0, metricsPort: Number(new URL(first.metricsUrl).port) });
    const second = createGateway(config, { pool: createFakePool(), now: () => 0, logger: NO_LOG });
    await expect(second.listen()).rejects.toThrow("is in use: stop the other program");
    await second.drain();
  });

  it("serves no metrics when they are disabled", async () => {
    expect((await run({ metricsEnabled: false })).metricsUrl).toBe("");
  });

  it("listens on IPv6 loopback under a URL that works", async () => {
    const { url } = await run({ host: "::1" });
    expect(url).toMatch(/^http:\/\/\[::1\]:\d+$/);
    const answer = await fetch(`${url}/api/v1/eth2/sign/${PUBKEY_HEX}`, { method: "POST", body: BODY });
    expect(await answer.json()).toEqual({ signature: SIGNATURE_HEX });
  });
});

const NO_LOG = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };
