/** TLS that ends in the store, and ACL users with no permission too many. */

import { randomBytes } from "node:crypto";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { aclCommand } from "#enclave/slashing/redis-advice.ts";
import { createRedisStore, type RedisSlashingStore, type RedisStoreOptions } from "#enclave/slashing/redis-store.ts";
import type { RedisAddress } from "#protocol/messages/control.ts";
import { startRedisCluster } from "../helpers/redis-cluster.ts";
import { freePort } from "../helpers/redis-ports.ts";
import { startRedisGroup } from "../helpers/redis-replicated.ts";
import { type RedisServer, startRedisServer } from "../helpers/redis-server.ts";
import { makeTlsFiles, type TlsFiles, tlsProblem } from "../helpers/redis-tls.ts";

const cleanups: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const openStore = (options: Partial<RedisStoreOptions>): RedisSlashingStore => {
  const store = createRedisStore({ connect: {}, keyPrefix: "test", durability: "aof-always", ...options });
  cleanups.push(() => store.close());
  return store;
};
const key = (): Buffer => randomBytes(48);
const value = (): Buffer => randomBytes(136);
const reasonAtFirst = async (store: RedisSlashingStore): Promise<string> => {
  const durability = await store.ready(400);
  return durability.ok ? "ok" : durability.reason;
};

const missing = tlsProblem();
describe.skipIf(missing !== undefined)(`TLS${missing === undefined ? "" : ` (skipped: ${missing})`}`, () => {
  let files: TlsFiles;
  let stranger: TlsFiles;
  beforeAll(() => {
    files = makeTlsFiles();
    stranger = makeTlsFiles();
  });
  afterAll(() => {
    files?.remove();
    stranger?.remove();
  });

  const startTlsServer = async (names: string): Promise<RedisAddress> => {
    const port = await freePort();
    const server = await startRedisServer({ settings: { "tls-port": String(port), ...files.settings(names) } });
    cleanups.push(() => server.close());
    return { host: "127.0.0.1", port };
  };

  it("works with the authority's certificate, by address and by name", async () => {
    const byAddress = await startTlsServer("IP:127.0.0.1");
    const store = openStore({ connect: { ...byAddress, tls: { ca: files.ca } } });
    expect(await store.ready(5_000)).toEqual({ ok: true });
    expect(await store.compareAndSet(key(), undefined, value())).toEqual({ kind: "stored" });
    const byName = await startTlsServer("DNS:localhost");
    const named = openStore({ connect: { host: "localhost", port: byName.port, tls: { ca: files.ca } } });
    expect(await named.ready(5_000)).toEqual({ ok: true });
  });

  it("refuses another authority, public ones, another name, and a server without TLS", async () => {
    const address = await startTlsServer("DNS:redis.example");
    const to = (tls: object): RedisSlashingStore => openStore({ connect: { ...address, tls } });
    expect(await reasonAtFirst(to({ ca: stranger.ca }))).toMatch(/TLS to 127\.0\.0\.1:\d+: .*(certificate|signature)/);
    expect(await reasonAtFirst(to({}))).toMatch(/TLS to 127\.0\.0\.1:\d+: .*certificate/);
    expect(await reasonAtFirst(to({ ca: files.ca }))).toMatch(/TLS to .*127\.0\.0\.1 is not in the cert/);
    expect(await reasonAtFirst(openStore({ connect: address }))).not.toBe("ok");
    const plain = await startRedisGroup(0);
    cleanups.push(() => plain.close());
    const { primary } = plain;
    expect(await reasonAtFirst(openStore({ connect: { ...primary.address, tls: {} }, deadlineMs: 200 }))).toMatch(
      /TLS to /,
    );
  });
});

describe("an ACL user", () => {
  const USER = "signer";
  const PASSWORD = "open sesame";
  const ADVICE = { username: USER, keyPrefix: "test", durability: "aof-always", isCluster: false, db: 0 } as const;

  /** Types the line of the docs, with the password filled in. */
  const grant = async (server: RedisServer, advice: Parameters<typeof aclCommand>[0], without = ""): Promise<void> => {
    const line = aclCommand(advice).replace("<password>", PASSWORD).replace("redis-cli ", "");
    const words = (line.match(/'[^']*'|\S+/g) ?? []).map((word) => word.replaceAll("'", ""));
    expect(await server.command(...words.filter((word) => word !== without))).toBe("+OK\r\n");
  };

  const works = async (store: RedisSlashingStore): Promise<void> => {
    expect(await store.ready(10_000)).toEqual({ ok: true });
    const [name, first] = [key(), value()];
    expect(await store.compareAndSet(name, undefined, first)).toEqual({ kind: "stored" });
    expect(await store.compareAndSet(name, first, value())).toEqual({ kind: "stored" });
    expect(await store.getMany([name])).toHaveLength(1);
    expect(await store.compareAndSetMarker(undefined, value())).toMatchObject({ kind: "stored" });
    for await (const entry of store.scan()) expect(entry.value).toHaveLength(136);
  };

  it.each([0, 3])("with exactly the permissions of the advice can do everything, in database %i", async (db) => {
    const server = await startRedisServer();
    cleanups.push(() => server.close());
    await grant(server, { ...ADVICE, db });
    await server.command("ACL", "SETUSER", "default", "off");
    await works(openStore({ connect: { path: server.path, username: USER, password: PASSWORD, db } }));
  });

  it("can do everything at replicated:N, too", async () => {
    const group = await startRedisGroup(1);
    cleanups.push(() => group.close());
    for (const server of [group.primary, ...group.replicas]) {
      await grant(server, { ...ADVICE, durability: "replicated:1" });
    }
    const nodes = group.replicas.map(({ address }) => address);
    const connect = { ...group.primary.address, nodes, username: USER, password: PASSWORD };
    await works(openStore({ connect, durability: "replicated:1" }));
    // A replica is asked as the same user.
    await group.replicas[0]?.command("ACL", "SETUSER", USER, "-info");
    const store = openStore({ connect, durability: "replicated:1" });
    expect(await reasonAtFirst(store)).toMatch(/replica .*NOPERM.*missing permission: \+info; .*ACL SETUSER signer/);
  });

  it("can do everything on a managed cluster without CONFIG", async () => {
    const cluster = await startRedisCluster();
    cleanups.push(() => cluster.close());
    for (const server of cluster.servers) await grant(server, { ...ADVICE, durability: "managed", isCluster: true });
    const connect = { cluster: cluster.addresses, username: USER, password: PASSWORD };
    await works(openStore({ connect, durability: "managed" }));
  });

  it.each(["+info", "+config|get"])("without %s is refused, and the permission is named", async (permission) => {
    const server = await startRedisServer();
    cleanups.push(() => server.close());
    await grant(server, ADVICE, permission);
    const reason = await reasonAtFirst(
      openStore({ connect: { path: server.path, username: USER, password: PASSWORD } }),
    );
    expect(reason).toContain(`missing permission: ${permission};`);
    expect(reason).toContain(aclCommand(ADVICE));
    expect(reason).not.toContain(PASSWORD);
  });

  it.each([
    ["+eval", "+eval"],
    ["+get", "+get and +set"],
    ["+set", "+get and +set"],
    ["+mget", "+mget"],
    ["+scan", "+scan"],
    ["~test:*", "~test:*"],
  ])("without %s fails at first use, and the permission is named", async (permission, named) => {
    const server = await startRedisServer();
    cleanups.push(() => server.close());
    await grant(server, ADVICE, permission);
    const store = openStore({ connect: { path: server.path, username: USER, password: PASSWORD } });
    expect(await store.ready(5_000)).toEqual({ ok: true });
    const results = [
      (await store.compareAndSet(key(), undefined, value())) as { detail?: string },
      await store.getMany([key()]).catch((error: { detail: string }) => error),
      await store
        .scan()
        [Symbol.asyncIterator]()
        .next()
        .catch((error: { detail: string }) => error),
    ];
    const details = results.flatMap((result) => ("detail" in result ? [String(result.detail)] : []));
    expect(details.join("\n")).toContain(`missing permission: ${named};`);
  });

  it("with a wrong password, or nobody where a password is asked for, is told which option to use", async () => {
    const server = await startRedisServer({ settings: { requirepass: "secret" } });
    cleanups.push(() => server.close());
    const wrong = openStore({ connect: { path: server.path, password: "wrong" } });
    expect(await reasonAtFirst(wrong)).toMatch(/WRONGPASS .*--store-password-file/);
    expect(await reasonAtFirst(openStore({ connect: { path: server.path } }))).toMatch(
      /NOAUTH .*--store-password-file/,
    );
  });
});
