/** How the Redis store behaves when Redis is not what it should be: weak, gone, stuck, or back again. */

import { randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { connect, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { createRedisStore, type RedisSlashingStore, type RedisStoreOptions } from "#enclave/slashing/redis-store.ts";
import { SignerError } from "#protocol/errors.ts";
import { type RedisServer, type RedisServerOptions, startRedisServer } from "../helpers/redis-server.ts";

const cleanups: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const startServer = async (options?: RedisServerOptions): Promise<RedisServer> => {
  const server = await startRedisServer(options);
  cleanups.push(() => server.close());
  return server;
};

const openStore = (
  connectTo: RedisStoreOptions["connect"],
  options: Partial<RedisStoreOptions> = {},
): RedisSlashingStore => {
  const store = createRedisStore({ connect: connectTo, keyPrefix: "test", durability: "aof-always", ...options });
  cleanups.push(() => store.close());
  return store;
};

const key = (): Buffer => randomBytes(48);
const value = (): Buffer => randomBytes(136);

const untilOk = async (store: RedisSlashingStore): Promise<void> => {
  for (let attempt = 0; attempt < 100; attempt += 1) {
    if ((await store.durability()).ok) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`still not durable: ${JSON.stringify(await store.durability())}`);
};

describe("weak settings", () => {
  const ROWS: [setting: string, weak: string, mend: string, ...words: string[]][] = [
    ["appendfsync", "everysec", "redis-cli CONFIG SET appendfsync always", "appendfsync", "always"],
    ["appendonly", "no", "redis-cli CONFIG SET appendonly yes", "appendonly", "yes"],
    [
      "maxmemory-policy",
      "allkeys-lru",
      "redis-cli CONFIG SET maxmemory-policy noeviction",
      "maxmemory-policy",
      "noeviction",
    ],
    [
      "no-appendfsync-on-rewrite",
      "yes",
      "redis-cli CONFIG SET no-appendfsync-on-rewrite no",
      "no-appendfsync-on-rewrite",
      "no",
    ],
  ];
  it.each(ROWS)("of %s (%s) are refused, with the command that mends them", async (setting, weak, mend, ...words) => {
    const server = await startServer({ settings: { [setting]: weak } });
    const store = openStore({ path: server.path });
    const durability = await store.ready(300);
    expect(durability).toMatchObject({ ok: false });
    expect(durability.ok ? "" : durability.reason).toContain(mend);
    expect(await store.compareAndSet(key(), undefined, value())).toMatchObject({ kind: "unknown" });
    await expect(store.getMany([key()])).rejects.toMatchObject({ code: "unavailable" });
    expect(await server.command("DBSIZE")).toBe(":0\r\n");
    expect(store.roundTrips).toBe(0);
    await server.command("CONFIG", "SET", ...words);
    expect(await store.ready(5_000)).toEqual({ ok: true });
    expect(await store.compareAndSet(key(), undefined, value())).toEqual({ kind: "stored" });
  });

  it("that appear later stop the store at its next check", async () => {
    const server = await startServer();
    const store = openStore({ path: server.path }, { checkIntervalMs: 50 });
    await store.ready(5_000);
    expect(await store.compareAndSet(key(), undefined, value())).toEqual({ kind: "stored" });
    await server.command("CONFIG", "SET", "appendfsync", "everysec");
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect(await store.compareAndSet(key(), undefined, value())).toMatchObject({ kind: "unknown" });
    expect(await server.command("DBSIZE")).toBe(":1\r\n");
  });

  it("are noticed at once by durability()", async () => {
    const server = await startServer();
    const store = openStore({ path: server.path });
    await store.ready(5_000);
    await server.command("CONFIG", "SET", "maxmemory-policy", "volatile-ttl");
    expect(await store.durability()).toMatchObject({ ok: false });
  });

  it("include a replica, and include being one", async () => {
    const port = await freePort();
    const primary = await startServer({ port });
    const replica = await startServer({ settings: { replicaof: `127.0.0.1 ${port}` } });
    await expect
      .poll(() => primary.command("INFO", "replication"), { timeout: 10_000 })
      .toContain("connected_slaves:1");
    const onPrimary = await openStore({ path: primary.path }).ready(300);
    expect(onPrimary.ok ? "" : onPrimary.reason).toMatch(
      /connected_slaves: expected 0, got 1; .* -h 127.0.0.1 -p \d+ REPLICAOF NO ONE/,
    );
    const onReplica = await openStore({ path: replica.path }).ready(300);
    expect(onReplica.ok ? "" : onReplica.reason).toContain("role: expected master, got slave");
  });
});

describe("a broken connection", () => {
  it("makes what was in flight unknown, and the store recovers when the server is back", async () => {
    const server = await startServer();
    const store = openStore({ path: server.path });
    await store.ready(5_000);
    server.signal("SIGSTOP");
    const inFlight = Array.from({ length: 10 }, () => store.compareAndSet(key(), undefined, value()));
    const read = expect(store.getMany([key()])).rejects.toMatchObject({ code: "unavailable" });
    await new Promise((resolve) => setTimeout(resolve, 50));
    await server.kill();
    for (const result of await Promise.all(inFlight)) expect(result).toMatchObject({ kind: "unknown" });
    await read;
    expect(await store.compareAndSet(key(), undefined, value())).toMatchObject({ kind: "unknown" });
    expect(await store.durability()).toMatchObject({ ok: false });
    await server.start();
    expect(await store.ready(10_000)).toEqual({ ok: true });
    expect(await server.command("DBSIZE")).toBe(":0\r\n");
    expect(await store.compareAndSet(key(), undefined, value())).toEqual({ kind: "stored" });
  });

  it("never has its commands sent again, whether they were done or not", async () => {
    const server = await startServer();
    const proxy = await startProxy(server.path);
    const store = openStore({ path: proxy.path });
    await store.ready(5_000);
    const [name, first] = [key(), value()];
    proxy.dropReplies();
    const lost = store.compareAndSet(name, undefined, first);
    await expect.poll(() => server.command("DBSIZE")).toBe(":1\r\n");
    proxy.breakAll();
    expect(await lost).toMatchObject({ kind: "unknown" });
    expect(await store.ready(5_000)).toEqual({ ok: true });
    const calls = await server.command("INFO", "commandstats");
    expect(/cmdstat_eval:calls=(\d+)/.exec(calls)?.[1]).toBe("1");
    expect(await store.compareAndSet(name, first, value())).toEqual({ kind: "stored" });
  });

  it("is tried again for ever when there is no server at first", async () => {
    const server = await startServer();
    await server.kill();
    const store = openStore({ path: server.path });
    expect(await store.ready(200)).toMatchObject({ ok: false });
    expect(await store.compareAndSet(key(), undefined, value())).toMatchObject({ kind: "unknown" });
    await server.start();
    expect(await store.ready(10_000)).toEqual({ ok: true });
  });
});

describe("a stuck server", () => {
  it("gives unknown within the deadline, and works again when it goes on", async () => {
    const server = await startServer();
    const store = openStore({ path: server.path }, { deadlineMs: 300 });
    await store.ready(5_000);
    server.signal("SIGSTOP");
    try {
      const start = performance.now();
      expect(await store.compareAndSet(key(), undefined, value())).toMatchObject({ kind: "unknown" });
      expect(performance.now() - start).toBeLessThan(1_500);
      expect(await store.durability()).toMatchObject({ ok: false });
    } finally {
      server.signal("SIGCONT");
    }
    await untilOk(store);
    expect(await store.compareAndSet(key(), undefined, value())).toEqual({ kind: "stored" });
  });
});

describe("the store", () => {
  it("shares round trips among operations of the same moment", async () => {
    const server = await startServer();
    const store = openStore({ path: server.path });
    await store.ready(5_000);
    await Promise.all(Array.from({ length: 200 }, () => store.compareAndSet(key(), undefined, value())));
    expect(store.operations).toBe(200);
    expect(store.roundTrips).toBe(1);
  });

  it("bounds what may wait", async () => {
    const server = await startServer();
    const store = openStore({ path: server.path });
    await store.ready(5_000);
    const results = await Promise.all(
      Array.from({ length: 16_484 }, () => store.compareAndSet(key(), undefined, value())),
    );
    expect(results.filter(({ kind }) => kind === "stored")).toHaveLength(16_384);
    expect(results.filter(({ kind }) => kind === "unknown")).toHaveLength(100);
  });

  it("takes any stream for a connection, a password and a database", async () => {
    const server = await startServer({ settings: { requirepass: "secret" } });
    const connector = async (): Promise<Socket> => connect({ path: server.path });
    const store = openStore({ connector, password: "secret", db: 3 });
    expect(await store.ready(5_000)).toEqual({ ok: true });
    expect(await store.compareAndSet(key(), undefined, value())).toEqual({ kind: "stored" });
    const wrong = await openStore({ connector, password: "wrong" }).ready(300);
    expect(wrong.ok ? "" : wrong.reason).toContain("WRONGPASS");
    const noDatabase = await openStore({ connector, password: "secret", db: 99 }).ready(300);
    expect(noDatabase.ok ? "" : noDatabase.reason).toContain("out of range");
  });

  it.each(["", "a{b", "a*", "a b", "x".repeat(65)])("refuses the key prefix %j", (keyPrefix) => {
    expect(() => createRedisStore({ connect: {}, keyPrefix, durability: "aof-always" })).toThrow(SignerError);
  });
});

const freePort = async (): Promise<number> => {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === "string") throw new Error("no port");
  return address.port;
};

/** Relays to a unix socket, and can swallow replies and break connections. */
const startProxy = async (target: string) => {
  const folder = await mkdtemp(join(tmpdir(), "testudo-proxy-"));
  const path = join(folder, "proxy.sock");
  const sockets = new Set<Socket>();
  let dropping = false;
  const server: Server = createServer((client) => {
    const upstream = connect({ path: target });
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.on("error", () => undefined);
      socket.on("close", () => {
        sockets.delete(socket);
        client.destroy();
        upstream.destroy();
      });
    }
    client.on("data", (data) => upstream.write(data));
    upstream.on("data", (data) => {
      if (!dropping) client.write(data);
    });
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  cleanups.push(async () => {
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
    await rm(folder, { recursive: true, force: true });
  });
  return {
    path,
    dropReplies: () => {
      dropping = true;
    },
    breakAll: () => {
      dropping = false;
      for (const socket of sockets) socket.destroy();
    },
  };
};
