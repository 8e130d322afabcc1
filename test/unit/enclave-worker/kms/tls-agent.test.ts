/** The agent ends what it began: streams whose handshake fails, takes too long, or is not wanted any more. */

import { Duplex } from "node:stream";
import { afterEach, describe, expect, test } from "vitest";
import { KmsConnectionError } from "#enclave/kms/kms-errors.ts";
import { type Connect, TlsAgent } from "#enclave/kms/tls-agent.ts";

/** Takes everything and says nothing. */
const silentStream = (): Duplex => new Duplex({ read() {}, write: (_chunk, _encoding, done) => done() });

const agents: TlsAgent[] = [];
afterEach(() => {
  for (const agent of agents.splice(0)) agent.destroy();
});

const open = (connect: Connect, connectTimeoutMs = 5_000) => {
  const agent = new TlsAgent({ host: "kms.test", connect, connectTimeoutMs });
  agents.push(agent);
  const result = new Promise<KmsConnectionError>((resolve, reject) => {
    agent.createConnection({}, (error) =>
      error === null ? reject(new Error("connected")) : resolve(error as KmsConnectionError),
    );
  });
  return { agent, result };
};

describe("a handshake", () => {
  test("that takes too long ends with its stream", async () => {
    const stream = silentStream();
    const { result } = open(async () => stream, 50);
    expect(await result).toMatchObject({ reason: "timed_out", message: "no TLS session with kms.test within 50 ms" });
    expect(stream.destroyed).toBe(true);
  });

  test("that the session's end meets ends at once", async () => {
    const stream = silentStream();
    const { agent, result } = open(async () => stream);
    await new Promise((resolve) => setImmediate(resolve));
    agent.destroy();
    expect(await result).toMatchObject({ reason: "unreachable", message: "the session was closed" });
    expect(stream.destroyed).toBe(true);
  });

  test("whose stream breaks ends with the code alone", async () => {
    const stream = silentStream();
    const { result } = open(async () => stream);
    await new Promise((resolve) => setImmediate(resolve));
    stream.destroy(Object.assign(new Error("secret place"), { code: "EPIPE" }));
    const error = await result;
    expect(error).toBeInstanceOf(KmsConnectionError);
    expect(error).toMatchObject({ reason: "unreachable", message: expect.stringMatching(/\(EPIPE\)$/) });
  });

  test("with somebody who speaks no TLS fails", async () => {
    const stream = silentStream();
    const { result } = open(async () => stream);
    await new Promise((resolve) => setImmediate(resolve));
    stream.push("HTTP/1.1 400 Bad Request\r\n\r\n");
    expect(await result).toMatchObject({ reason: "unreachable" });
    expect(stream.destroyed).toBe(true);
  });
});

describe("a stream", () => {
  test("that comes too late is ended", async () => {
    const late = Promise.withResolvers<Duplex>();
    const { result } = open(() => late.promise, 20);
    expect(await result).toMatchObject({ reason: "timed_out" });
    const stream = silentStream();
    late.resolve(stream);
    await new Promise((resolve) => setImmediate(resolve));
    expect(stream.destroyed).toBe(true);
  });

  test("that does not come is not waited for once the session ends, and none is asked for after", async () => {
    let asked = 0;
    const { agent, result } = open(() => {
      asked += 1;
      return new Promise<Duplex>(() => {});
    });
    agent.destroy();
    expect(await result).toMatchObject({ message: "the session was closed" });
    const after = new Promise((resolve) => agent.createConnection({}, resolve));
    expect(await after).toMatchObject({ reason: "unreachable", message: "the session was closed" });
    expect(asked).toBe(1);
  });
});
