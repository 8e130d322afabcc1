/** Keys from keystores and text files: opened once, kept sealed, listed, reloaded while signing goes on. */

import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { attestation, randao, sign, signVerified } from "../helpers/duties.ts";
import { keyLines, makeKey, type TestKey, writeKeystore } from "../helpers/key-files.ts";
import { createTestbed, type Testudo } from "../helpers/testudo.ts";
import { sendTo } from "../unit/gateway/running-gateway.ts";

const bed = createTestbed();
afterAll(() => bed.close());

const vote = (target: number) => attestation({ source: target - 1, target });

describe("a folder of keystores", () => {
  const keys: readonly TestKey[] = Array.from({ length: 5 }, makeKey);
  const [, , , , bad] = keys as [TestKey, TestKey, TestKey, TestKey, TestKey];
  const good = keys.slice(0, 4);
  const [folder, passwords, dataPath] = [bed.folder(), bed.folder(), bed.folder()];
  let testudo: Testudo;
  const up = () => bed.up(["--enclaves", "2", "--keys", folder, "--keys-password-file", passwords], { dataPath });
  const setPassword = (name: string, text: string) => writeFileSync(join(passwords, `${name}.txt`), text);

  beforeAll(async () => {
    for (const [index, key] of keys.entries()) {
      const password = `correct horse ${index} — bättery`;
      await writeKeystore(folder, `keystore-${index}`, { key, password, kdf: index % 2 === 0 ? "scrypt" : "pbkdf2" });
      // The newline that editors add; the last one is wrong.
      setPassword(`keystore-${index}`, key === bad ? "wrong" : index === 1 ? `${password}\n` : password);
    }
    // What the deposit tool leaves beside them.
    writeFileSync(join(folder, "deposit_data-1700000000.json"), "[]");
    testudo = await up();
  });
  afterAll(() => testudo?.stop());

  const health = async () =>
    (await (await fetch(`${testudo.url}/healthcheck`)).json()) as { status: string; checks: unknown };
  const reload = async (): Promise<{ status: string; lastError?: string; lastOperationTime?: string }> => {
    expect((await sendTo(`${testudo.url}/reload`, { method: "POST" })).status).toBe(202);
    const status = async () => JSON.parse((await sendTo(`${testudo.url}/reload`)).body) as { status: string };
    await expect.poll(async () => (await status()).status, { timeout: 10_000 }).not.toBe("running");
    return status();
  };
  const listed = async () => (await (await fetch(`${testudo.url}/api/v1/eth2/publicKeys`)).json()) as string[];

  it("opens with progress; the one with a wrong password is named and the others sign", async () => {
    const log = testudo.command.stderr();
    expect(log).toMatch(/opening keys: \d of 5/);
    expect(log).toContain("opening keys: 5 of 5");
    expect(log).toMatch(/"key not loaded".*keystore-4\.json.*password/);
    expect(log).not.toContain("correct horse");
    for (const { secret } of keys) expect(log + testudo.command.stdout()).not.toContain(secret.slice(2));
    expect(testudo.publicKeys).toEqual(good.map(({ pubkey }) => pubkey));
    for (const { pubkey } of good) await signVerified(testudo.url, pubkey, vote(2));
    expect((await sign(testudo.url, bad.pubkey, vote(2).body)).status).toBe(404);
    // As Web3Signer: a key that could not be loaded is a problem, but signing goes on.
    expect(await health()).toMatchObject({ status: "DOWN" });
    expect((await fetch(`${testudo.url}/upcheck`)).status).toBe(200);
    expect(JSON.stringify((await health()).checks)).toContain('"keys-loaded":4,"error-count":1');
  });

  it("reloads: the mended and a new key sign, a removed one is 404, the rest goes on", async () => {
    const added = makeKey();
    const removed = good[0] as TestKey;
    await writeKeystore(folder, "keystore-9", { key: added, password: "p", kdf: "pbkdf2" });
    setPassword("keystore-9", "p");
    setPassword("keystore-4", "correct horse 4 — bättery");
    rmSync(join(folder, "keystore-0.json"));
    expect(await reload()).toEqual({ status: "completed", lastOperationTime: expect.stringMatching(/^20.*Z$/) });
    const expected = [...keys.slice(1), added].map(({ pubkey }) => pubkey);
    await expect.poll(listed).toEqual(expected);
    for (const pubkey of expected) await signVerified(testudo.url, pubkey, vote(3));
    expect((await sign(testudo.url, removed.pubkey, vote(3).body)).status).toBe(404);
    expect((await sign(testudo.url, removed.pubkey, randao(3).body)).status).toBe(404);
    await expect.poll(async () => (await health()).status, { timeout: 5_000 }).toBe("UP");

    // Back again, its record still stands.
    await writeKeystore(folder, "keystore-0", { key: removed, password: "q" });
    setPassword("keystore-0", "q");
    expect((await reload()).status).toBe("completed");
    await expect.poll(listed).toContain(removed.pubkey);
    const conflicting = attestation({ source: 1, target: 2 }, { head: 0x99 });
    expect((await sign(testudo.url, removed.pubkey, conflicting.body)).status).toBe(412);
    await signVerified(testudo.url, removed.pubkey, vote(4));
    rmSync(join(folder, "keystore-9.json"));
  });

  it("a reload with a broken file says so and keeps what works", async () => {
    writeFileSync(join(folder, "keystore-8.json"), "{}");
    setPassword("keystore-8", "x");
    expect(await reload()).toMatchObject({
      status: "completed_with_errors",
      lastError: expect.stringMatching(/^1 key/),
    });
    await expect.poll(() => testudo.command.stderr()).toMatch(/"key not loaded".*keystore-8\.json/);
    await expect.poll(async () => (await listed()).length).toBe(5);
    await signVerified(testudo.url, keys[1]?.pubkey as string, vote(5));
    rmSync(join(folder, "keystore-8.json"));
  });

  it("opens the second time from the sealed cache, without the passwords", async () => {
    await testudo.stop();
    for (const index of [1, 2, 3]) setPassword(`keystore-${index}`, "not asked any more");
    testudo = await up();
    expect(testudo.publicKeys.length).toBe(5);
    await signVerified(testudo.url, keys[1]?.pubkey as string, vote(6));
    const conflicting = attestation({ source: 4, target: 5 }, { head: 0x99 });
    expect((await sign(testudo.url, keys[1]?.pubkey as string, conflicting.body)).status).toBe(412);
    expect(testudo.command.stderr()).not.toContain("opening keys");
  });

  it("keys list names them, for people and for programs, while it runs", async () => {
    const people = await bed.run("keys", "list", "--data", dataPath);
    expect(people.code).toBe(0);
    for (const { pubkey } of keys) expect(people.stdout).toContain(pubkey);
    const programs = await bed.run("keys", "list", "--data", dataPath, "--json");
    const rows = JSON.parse(programs.stdout) as { pubkey: string; origin: string; registered: boolean }[];
    expect(rows).toContainEqual({ pubkey: keys[1]?.pubkey, origin: "imported", registered: true });
    const nowhere = await bed.run("keys", "list", "--data", bed.folder());
    expect(nowhere).toMatchObject({ code: 2, stdout: "", stderr: expect.stringContaining("--data") });
  });
});

describe("a text file of keys", () => {
  it("signs with each, ignores blank lines and comments, and names a bad line by its number", async () => {
    const keys = [makeKey(), makeKey()];
    const file = bed.file("keys.txt", `# two keys\n\n${keyLines(keys)}0x1234\n  \n`);
    const testudo = await bed.up(["--enclaves", "1", "--keys", file]);
    expect(testudo.publicKeys).toEqual(keys.map(({ pubkey }) => pubkey));
    for (const { pubkey } of keys) await signVerified(testudo.url, pubkey, vote(2));
    expect(testudo.command.stderr()).toMatch(/"key not loaded".*"line 5"/);
    expect(testudo.command.stderr()).not.toContain("0x1234");
    await testudo.stop();
  });

  it.each([
    [
      "an empty folder",
      () => ["--keys", bed.folder(), "--keys-password-file", bed.file("p", "p")],
      /expected keystore files/,
    ],
    ["an empty file", () => ["--keys", bed.file("keys.txt", "\n# nothing\n")], /lines of 0x keys/],
    ["nothing there", () => ["--keys", "/no/such/keys"], /--keys \/no\/such\/keys: expected a readable/],
    ["no password file", () => ["--keys", bed.folder()], /--keys-password-file/],
    ["only broken lines", () => ["--keys", bed.file("keys.txt", "0x12\n0x34\n")], /none of 2 could be opened/],
  ])("%s stops the start with a word that helps", async (_what, args, text) => {
    const ended = await bed.run(
      "up",
      "--data",
      bed.folder(),
      "--port",
      "0",
      "--metrics-port",
      "0",
      "--enclaves",
      "1",
      ...args(),
    );
    expect(ended.code).not.toBe(0);
    expect(ended.stderr).toMatch(text);
    expect(ended.stdout).toBe("");
  });
});
