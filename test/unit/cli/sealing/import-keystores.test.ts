/** Which keystores are opened, what ends a run, and that no secret is left behind. */

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeEach, describe, expect, onTestFinished, test } from "vitest";
import type { KeyEntry } from "#pool-manager/keys/dynamo-items.ts";
import { toHex } from "#protocol/bytes.ts";
import { SignerError } from "#protocol/errors.ts";
import { importKeystores, keystoresIn } from "../../../../cli/sealing/import-keystores.ts";

const pubkeyOf = (mark: number): Uint8Array => new Uint8Array(48).fill(mark);

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "import-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  mkdirSync(join(folder, "keys"));
  writeFileSync(join(folder, "password.txt"), "password");
});

const place = (name: string, content: object): void =>
  writeFileSync(join(folder, "keys", `${name}.json`), JSON.stringify(content));

const run = async (
  entries: readonly KeyEntry[],
  {
    restore = false,
    write = async () => "added" as const,
    lanes = 1,
  }: Partial<{
    restore: boolean;
    write: () => Promise<"added" | "present">;
    lanes: number;
  }> = {},
) => {
  const opened: string[] = [];
  const secrets: Uint8Array[] = [];
  const progress: string[] = [];
  const work = importKeystores(
    await keystoresIn(join(folder, "keys"), join(folder, "password.txt")),
    { restore, lanes },
    {
      table: {
        entries: async function* () {
          yield* entries;
        },
      },
      opener: {
        open: async (keystore, password) => {
          expect(Buffer.from(password).toString()).toBe("password");
          const { mark } = JSON.parse(Buffer.from(keystore).toString()) as { mark: number | "bad" };
          opened.push(String(mark));
          if (mark === "bad") throw new SignerError("bad_request", "keystore: the password does not open it");
          const secret = new Uint8Array(32).fill(mark);
          secrets.push(secret);
          return { pubkey: pubkeyOf(mark), secret };
        },
      },
      writer: { write },
      onProgress: (done, total) => progress.push(`${done}/${total}`),
      onProblem: () => expect.fail("no problem"),
    },
  );
  return work.then(
    (report) => ({ report, error: undefined, opened, secrets, progress }),
    (error: unknown) => ({ report: undefined, error, opened, secrets, progress }),
  );
};

test("what is in the table is not opened, whatever case its name has; what is unnamed is", async () => {
  place("a", { mark: 1, pubkey: toHex(pubkeyOf(0xab)).slice(2).toUpperCase() });
  place("b", { mark: 2, pubkey: toHex(pubkeyOf(2)).slice(2) });
  place("c", { mark: 3 });
  const known: KeyEntry = { kind: "live", pubkey: pubkeyOf(0xab), bundleHex: "00", sealed: new Uint8Array(60) };
  const { report, opened, progress, secrets } = await run([known]);
  expect(opened).toEqual(["2", "3"]);
  expect(report).toEqual({ counts: { added: 2, present: 1, removed: 0 }, failures: [] });
  expect(progress).toEqual(["1/3", "2/3", "3/3"]);
  for (const secret of secrets) expect(secret).toEqual(new Uint8Array(32));
});

test("a key whose item cannot be read is named with what to do, and the rest goes on", async () => {
  const damaged = toHex(pubkeyOf(1));
  const sources = [damaged, toHex(pubkeyOf(2))].map((pubkeyHex, index) => ({
    name: `row ${index}`,
    pubkeyHex,
    read: async () => ({ keystore: new Uint8Array([index]), password: new Uint8Array() }),
  }));
  const report = await importKeystores(
    { sources, failures: [] },
    { restore: true, lanes: 1 },
    {
      table: {
        // biome-ignore lint/correctness/useYield: the only item is bad
        entries: async function* (onProblem) {
          onProblem({ item: damaged, reason: "bad" });
        },
      },
      opener: { open: async () => ({ pubkey: pubkeyOf(2), secret: new Uint8Array(32) }) },
      writer: { write: async () => "added" },
      onProgress: () => {},
      onProblem: () => {},
    },
  );
  expect(report.counts.added).toBe(1);
  expect(report.failures).toEqual([{ name: "row 0", reason: expect.stringMatching(/0x0101.*testudo keys remove/) }]);
});

test("an unnamed keystore whose key is in the table costs no KMS call", async () => {
  place("a", { mark: 3 });
  const known: KeyEntry = { kind: "live", pubkey: pubkeyOf(3), bundleHex: "00", sealed: new Uint8Array(60) };
  const { report } = await run([known], { write: () => expect.fail("written") });
  expect(report?.counts.present).toBe(1);
});

test("a removed key is opened only to be restored", async () => {
  place("a", { mark: 1, pubkey: toHex(pubkeyOf(1)) });
  const tombstone: KeyEntry = { kind: "removed", pubkey: pubkeyOf(1), removedAtSeconds: 1 };
  const left = await run([tombstone]);
  expect([left.opened, left.report?.counts.removed]).toEqual([[], 1]);
  const restored = await run([tombstone], { restore: true });
  expect([restored.opened, restored.report?.counts.added]).toEqual([["1"], 1]);
});

test("a keystore that does not open is named and the rest goes on", async () => {
  place("a", { mark: "bad" });
  place("b", { mark: 2 });
  const { report } = await run([]);
  expect(report?.counts.added).toBe(1);
  expect(report?.failures).toEqual([{ name: "a.json", reason: "keystore: the password does not open it" }]);
});

describe("a failure of KMS or of the table ends the run at once", () => {
  test.each(["unavailable", "bad_request"] as const)("%s", async (code) => {
    for (let mark = 1; mark <= 5; mark += 1) place(String(mark), { mark });
    const write = (): Promise<never> => Promise.reject(new SignerError(code, "KMS: refused"));
    const { error, opened, secrets } = await run([], { write });
    expect(error).toMatchObject({ code, detail: "KMS: refused" });
    expect(opened.length).toBe(1);
    expect(secrets).toEqual([new Uint8Array(32)]);
  });
});

test("a keystore that is not the one it was announced as is named, even where its own key is in the table", async () => {
  const known: KeyEntry = { kind: "live", pubkey: pubkeyOf(1), bundleHex: "00", sealed: new Uint8Array(60) };
  const keystore = new Uint8Array(Buffer.from(JSON.stringify({ mark: 1, pubkey: toHex(pubkeyOf(1)) })));
  const password = new Uint8Array([1]);
  const report = await importKeystores(
    {
      sources: [{ name: "row", pubkeyHex: toHex(pubkeyOf(2)), read: async () => ({ keystore, password }) }],
      failures: [],
    },
    { restore: false, lanes: 1 },
    {
      table: {
        entries: async function* () {
          yield known;
        },
      },
      opener: { open: async () => ({ pubkey: pubkeyOf(1), secret: new Uint8Array(32) }) },
      writer: { write: () => expect.fail("written") },
      onProgress: () => {},
      onProblem: () => expect.fail("no problem"),
    },
  );
  expect(report.failures).toEqual([
    { name: "row", reason: expect.stringMatching(/expected the keystore of 0x0202.*got that of 0x0101/) },
  ]);
  expect(password).toEqual(new Uint8Array(1));
});

test("one lane's failure stops the others after what they have in hand", async () => {
  for (let mark = 1; mark <= 20; mark += 1) place(String(mark), { mark });
  let writes = 0;
  const write = async (): Promise<"added"> => {
    writes += 1;
    if (writes === 1) throw new SignerError("unavailable", "KMS: refused");
    return "added";
  };
  const { error, opened, secrets } = await run([], { write, lanes: 3 });
  expect(error).toMatchObject({ code: "unavailable" });
  expect(opened.length).toBeLessThanOrEqual(6);
  for (const secret of secrets) expect(secret).toEqual(new Uint8Array(32));
});
