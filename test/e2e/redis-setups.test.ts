/** The whole of Testudo over Redis set-ups: Sentinels, each address behind an egress port of its own; TLS with an ACL user. */

import { afterAll, expect, it } from "vitest";
import { aclCommand } from "#enclave/slashing/redis-advice.ts";
import { attestation, sign, signVerified } from "../helpers/duties.ts";
import { startRedisGroup } from "../helpers/redis-replicated.ts";
import { MASTER_NAME, startSentinel } from "../helpers/redis-sentinel.ts";
import { startRedisServer } from "../helpers/redis-server.ts";
import { makeTlsFiles, tlsProblem } from "../helpers/redis-tls.ts";
import { createTestbed, freePort } from "../helpers/testudo.ts";

const bed = createTestbed();
afterAll(() => bed.close());

const address = ({ address: { host, port } }: { address: { host: string; port: number } }): string => `${host}:${port}`;

it("signs, loses its primary, and signs the same again once the pair is complete", async () => {
  const group = await startRedisGroup(1);
  bed.owns(group);
  const sentinel = await startSentinel(group.primary.address, { replicas: 1 });
  bed.owns(sentinel);
  const testudo = await bed.up([
    ...["--enclaves", "2", "--store", `redis+sentinel://${address(sentinel)}/${MASTER_NAME}`],
    ...[
      "--store-durability",
      "replicated:1",
      "--store-nodes",
      [group.primary, ...group.replicas].map(address).join(","),
    ],
  ]);
  const key = testudo.publicKeys[0] as string;
  await signVerified(testudo.url, key, attestation({ source: 1, target: 2 }));
  await group.primary.kill();
  const duty = attestation({ source: 2, target: 3 });
  expect((await sign(testudo.url, key, duty.body)).status).toBe(503);
  const primary = () => sentinel.command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER_NAME);
  await expect.poll(primary, { timeout: 15_000 }).toContain(String(group.replicas[0]?.address.port));
  await group.primary.start();
  await expect.poll(async () => (await sign(testudo.url, key, duty.body)).status, { timeout: 25_000 }).toBe(200);
  expect((await sign(testudo.url, key, attestation({ source: 2, target: 3 }, { head: 0xab }).body)).status).toBe(412);
  const metrics = await (await fetch(`${testudo.metricsUrl}/metrics`)).text();
  const [, trips] = /store_round_trips_total\{[^}]*\} (\d+)/.exec(metrics) ?? [];
  expect(Number(trips)).toBeGreaterThan(0);
  await testudo.stop();
});

it.skipIf(tlsProblem() !== undefined)("speaks TLS as an ACL user, and so does the command line", async () => {
  const files = makeTlsFiles();
  bed.owns({ close: async () => files.remove() });
  const port = await freePort();
  const redis = await startRedisServer({ settings: { "tls-port": String(port), ...files.settings("DNS:localhost") } });
  bed.owns(redis);
  const advice = {
    username: "signer",
    keyPrefix: "testudo",
    durability: "aof-always",
    isCluster: false,
    db: 0,
  } as const;
  const words = aclCommand(advice).replace("redis-cli ", "").replaceAll("'", "").split(" ");
  await redis.command(...words);
  await redis.command("ACL", "SETUSER", "default", "off");
  const store = [
    ...["--store", `rediss://signer@localhost:${port}`, "--store-ca", bed.file("ca.pem", files.ca)],
    ...["--store-password-file", bed.file("password", "<password>\n")],
  ];
  const testudo = await bed.up(["--enclaves", "1", ...store]);
  await signVerified(testudo.url, testudo.publicKeys[0] as string, attestation({ source: 1, target: 2 }));
  const { code, stdout } = await bed.run("slashing", "export", "--data", testudo.dataPath, ...store);
  expect([code, stdout]).toEqual([0, expect.stringContaining('"target_epoch"')]);
  await testudo.stop();
});
