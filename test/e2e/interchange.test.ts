/** Histories that move in and out (EIP-3076), and a chain that is pinned by its first request. */

import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import {
  attestation,
  block,
  MAINNET_ROOT,
  randao,
  registration,
  rootOf,
  sign,
  signVerified,
} from "../helpers/duties.ts";
import { keyLines, makeKey } from "../helpers/key-files.ts";
import { type RedisServer, startRedisServer } from "../helpers/redis-server.ts";
import { createTestbed, freePort, type Testudo } from "../helpers/testudo.ts";

const bed = createTestbed();
afterAll(() => bed.close());

const expectDenied = async (url: string, pubkey: string, body: unknown, rule: string): Promise<void> => {
  const answer = await sign(url, pubkey, body);
  expect({ status: answer.status, body: answer.body }).toEqual({ status: 412, body: expect.stringContaining(rule) });
};
const interchange = (
  root: string,
  validators: readonly { pubkey: string; slot: number; source: number; target: number }[],
) =>
  JSON.stringify({
    metadata: { interchange_format_version: "5", genesis_validators_root: root },
    data: validators.map(({ pubkey, slot, source, target }) => ({
      pubkey,
      signed_blocks: [{ slot: String(slot) }],
      signed_attestations: [{ source_epoch: String(source), target_epoch: String(target) }],
    })),
  });

describe.each(["sqlite", "redis"] as const)("slashing export and import, store %s", (kind) => {
  it("while running and while stopped; what was signed there is refused here", async () => {
    const keys = [makeKey(), makeKey()];
    const [first, second] = keys.map(({ pubkey }) => pubkey) as [string, string];
    const startStore = async (): Promise<RedisServer | undefined> => {
      if (kind === "sqlite") return undefined;
      const server = await startRedisServer({ port: await freePort() });
      bed.owns(server);
      return server;
    };
    const redis = await startStore();
    const other = await startStore();
    const storeOf = async (server: RedisServer | undefined): Promise<string[]> => {
      const port = (await server?.command("CONFIG", "GET", "port"))?.trim().split("\r\n").at(-1);
      return server === undefined ? [] : ["--store", `redis://127.0.0.1:${port}`];
    };
    const [from, to] = [bed.folder(), bed.folder()];
    const [fromStore, toStore] = [await storeOf(redis), await storeOf(other)];
    const keysFile = bed.file("keys.txt", keyLines(keys));
    const up = (dataPath: string, store: string[]) =>
      bed.up(["--enclaves", "2", "--keys", keysFile, ...store], { dataPath });
    const slashing = (verb: string, dataPath: string, store: string[], ...files: string[]) =>
      bed.run("slashing", verb, ...files, "--data", dataPath, ...store);

    const source = await up(from, fromStore);
    for (const pubkey of [first, second]) {
      await signVerified(source.url, pubkey, attestation({ source: 9, target: 10 }));
      await signVerified(source.url, pubkey, block(700));
    }
    const printed = await slashing("export", from, fromStore);
    expect(printed.code).toBe(0);
    expect(printed.stderr).toMatch(
      /2 validators exported\. 2 of them are enabled.*may go on signing.*testudo slashing disable/,
    );
    await signVerified(source.url, first, attestation({ source: 10, target: 11 }));
    await source.stop();
    const file = join(bed.folder(), "out.json");
    expect((await slashing("export", from, fromStore, file)).code).toBe(0);
    const written = JSON.parse(readFileSync(file, "utf8"));
    expect(written.metadata).toEqual({ interchange_format_version: "5", genesis_validators_root: MAINNET_ROOT });
    expect(JSON.parse(printed.stdout).metadata).toEqual(written.metadata);
    const attested = (document: typeof written) =>
      document.data.find((it: { pubkey: string }) => it.pubkey === first).signed_attestations.at(-1).target_epoch;
    expect([attested(JSON.parse(printed.stdout)), attested(written)]).toEqual(["10", "11"]);

    // Before the other installation's first start, and once more, which changes nothing.
    for (let time = 0; time < 2; time += 1) {
      const imported = await slashing("import", to, toStore, file);
      expect(imported).toMatchObject({ code: 0, stdout: "2 validators imported, 0 failed\n" });
    }
    const target = await up(to, toStore);
    await expectDenied(target.url, first, attestation({ source: 10, target: 11 }, { head: 0xcc }).body, "double_vote");
    await expectDenied(target.url, first, attestation({ source: 8, target: 12 }).body, "source_below_watermark");
    await expectDenied(target.url, second, block(700, { body: 0xcc }).body, "double_block_proposal");
    await expectDenied(target.url, second, block(699).body, "block_slot_below_watermark");
    await signVerified(target.url, first, attestation({ source: 11, target: 12 }));
    await signVerified(target.url, second, block(701));

    // Into the running one: enclaves that hold older records must notice.
    const raised = bed.file(
      "raise.json",
      interchange(MAINNET_ROOT, [{ pubkey: second, slot: 900, source: 20, target: 21 }]),
    );
    expect(await slashing("import", to, toStore, raised)).toMatchObject({ code: 0 });
    await expectDenied(target.url, second, block(800).body, "block_slot_below_watermark");
    await expectDenied(target.url, second, attestation({ source: 19, target: 22 }).body, "source_below_watermark");
    await signVerified(target.url, second, block(901));
    // A lower history lowers nothing.
    expect(await slashing("import", to, toStore, file)).toMatchObject({ code: 0 });
    await expectDenied(target.url, second, block(800).body, "block_slot_below_watermark");

    const foreign = bed.file(
      "foreign.json",
      interchange(rootOf(0x66), [{ pubkey: second, slot: 9999, source: 98, target: 99 }]),
    );
    const refused = await slashing("import", to, toStore, foreign);
    expect(refused.code).toBe(2);
    expect(refused.stderr).toMatch(/genesis_validators_root/);

    // Only what is disabled may be moved, and the file then holds everything it ever signed.
    const none = await slashing("export", to, toStore, "--only-disabled");
    expect(none).toMatchObject({
      code: 0,
      stderr: expect.stringMatching(/^0 validators exported, 2 enabled ones left/m),
    });
    expect(await bed.run("slashing", "disable", "--pubkeys", first, "--data", to)).toMatchObject({ code: 0 });
    const movable = await slashing("export", to, toStore, "--only-disabled");
    expect(movable.stderr).toMatch(
      /1 validators exported, 1 enabled ones left out\. All of them are disabled: .* be used to move/,
    );
    expect(JSON.parse(movable.stdout).data).toMatchObject([
      { pubkey: first, signed_attestations: [{ source_epoch: "11", target_epoch: "12" }] },
    ]);
    await signVerified(target.url, second, block(902));
    await target.stop();
  });
});

it("files that are no interchange are refused with the reason, and a bad validator is named", async () => {
  const dataPath = bed.folder();
  const run = (file: string) => bed.run("slashing", "import", file, "--data", dataPath);
  for (const [text, reason] of [
    ["{", /at byte 1: not JSON/],
    ["{}", /metadata/],
    [interchange(rootOf(0x66), []), /genesis_validators_root: expected 0x4b36/],
    [interchange(MAINNET_ROOT, []).slice(0, -1), /not JSON, it ends too early/],
    [interchange(MAINNET_ROOT, []).replace('"5"', '"4"'), /interchange_format_version/],
  ] as const) {
    const ended = await run(bed.file("bad.json", text));
    expect(ended.code).toBe(2);
    expect(ended.stderr).toMatch(reason);
  }
  expect(readdirSync(dataPath), "nothing was written").toEqual([]);
  expect(await run(dataPath)).toMatchObject({ code: 2, stderr: expect.stringContaining("expected a regular file") });
  expect(await run("/no/such/file.json")).toMatchObject({ code: 2, stderr: expect.stringContaining("cannot be read") });
  const good = { pubkey: makeKey().pubkey, slot: 1, source: 1, target: 2 };
  const mixed = await run(bed.file("mixed.json", interchange(MAINNET_ROOT, [good, { ...good, pubkey: "0x12" }])));
  expect(mixed).toMatchObject({ code: 1, stdout: "1 validators imported, 1 failed\n" });
  expect(mixed.stderr).toMatch(/not imported: .*0x12/);
});

it("there is nothing to export from a folder that was never used, and none is made", async () => {
  const dataPath = join(bed.folder(), "mistyped");
  const ended = await bed.run("slashing", "export", "--data", dataPath);
  expect(ended).toMatchObject({ code: 2, stdout: "", stderr: expect.stringMatching(/mistyped.*nothing to export/) });
  expect(existsSync(dataPath)).toBe(false);
});

describe("a custom network without a root", () => {
  const config = bed.file(
    "config.yaml",
    ["PRESET_BASE: mainnet", "CONFIG_NAME: pinned", "SECONDS_PER_SLOT: 12"]
      .concat(
        ["GENESIS", "ALTAIR", "BELLATRIX", "CAPELLA"].map((fork, index) => `${fork}_FORK_VERSION: 0x0000009${index}`),
      )
      .join("\n"),
  );
  const dataPath = bed.folder();
  const up = (): Promise<Testudo> => bed.up(["--enclaves", "2", "--network", config], { dataPath });
  const [chain, other] = [rootOf(0x21), rootOf(0x22)];

  it("says so, pins the first root, refuses another one, and remembers it over a restart", async () => {
    const first = await up();
    const [key, second] = first.publicKeys as [string, string];
    expect(first.command.stdout()).toContain("unknown: the first one that a request carries is pinned");
    expect(first.command.stdout()).toContain("off: the genesis time is not known");
    expect(/^curl .*$/m.exec(first.command.stdout())?.[0]).toContain("VALIDATOR_REGISTRATION");
    await signVerified(first.url, key, registration(key, "0x00000090"));
    await signVerified(first.url, key, attestation({ source: 1, target: 2 }, { chain }));
    // By every enclave: keys live on both.
    for (const pubkey of first.publicKeys) {
      await expectDenied(first.url, pubkey, randao(1, { chain: other }).body, "genesis_validators_root_mismatch");
      await signVerified(first.url, pubkey, randao(1, { chain }));
    }
    await first.stop();
    const again = await up();
    await expectDenied(
      again.url,
      second,
      attestation({ source: 1, target: 2 }, { chain: other }).body,
      "genesis_validators_root_mismatch",
    );
    await expectDenied(
      again.url,
      key,
      attestation({ source: 1, target: 2 }, { chain, head: 0xcc }).body,
      "double_vote",
    );
    await signVerified(again.url, key, attestation({ source: 2, target: 3 }, { chain }));
    await again.stop();
  });

  it("does not pin again when the store of the first run is lost", async () => {
    const folder = bed.folder();
    const start = () => [
      "--data",
      folder,
      "--port",
      "0",
      "--metrics-port",
      "0",
      "--enclaves",
      "1",
      "--network",
      config,
    ];
    const first = await bed.up(["--enclaves", "1", "--network", config], { dataPath: folder });
    await signVerified(first.url, first.publicKeys[0] as string, attestation({ source: 1, target: 2 }, { chain }));
    // The pool-manager hears of the pin by its next look at the enclave.
    await expect
      .poll(() => readFileSync(join(folder, "installation.json"), "utf8"), { timeout: 5_000 })
      .toContain(chain);
    await first.killAll();
    for (const end of ["", "-wal", "-shm"]) rmSync(join(folder, `slashing.sqlite${end}`), { force: true });
    const up = bed.start("up", ...start());
    await up.waitFor(/store is empty, but this data folder has used it before/, { stream: "stderr" });
    up.signal("SIGINT");
    expect((await up.ended).code).toBe(0);
  });

  it("two enclaves asked at once for two chains agree on one", async () => {
    const testudo = await bed.up(["--enclaves", "2", "--network", config]);
    const answers = await Promise.all(
      testudo.publicKeys.flatMap((pubkey) =>
        [chain, other].map(async (root) => ({
          root,
          ...(await sign(testudo.url, pubkey, randao(1, { chain: root }).body)),
        })),
      ),
    );
    const signed = new Set(answers.filter(({ status }) => status === 200).map(({ root }) => root));
    expect(signed.size).toBe(1);
    expect(answers.filter(({ status }) => status === 200).length).toBe(testudo.publicKeys.length);
    expect(answers.filter(({ status }) => status === 412).length).toBe(testudo.publicKeys.length);
    await testudo.stop();
  });

  it("a data folder of one network refuses to serve another", async () => {
    const folder = bed.folder();
    await (await bed.up(["--enclaves", "1", "--network", "hoodi"], { dataPath: folder })).stop();
    const ended = await bed.run("up", "--data", folder, "--port", "0", "--metrics-port", "0", "--network", "mainnet");
    expect(ended.code).not.toBe(0);
    expect(ended.stderr).toMatch(/protects the chain 0x212f.*one data folder a network/);
    writeFileSync(join(folder, "installation.json"), "{}");
    const broken = await bed.run("slashing", "export", "--data", folder, "--network", "hoodi");
    expect(broken).toMatchObject({ code: 2, stderr: expect.stringMatching(/installation.json: cannot be read/) });
  });
});
