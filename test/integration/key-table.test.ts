/** The table in a real dynalite, by the unmodified AWS SDK; faults by a relay between them. */

import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BatchWriteItemCommand, PutItemCommand } from "@aws-sdk/client-dynamodb";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { type LocalDynamo, startLocalDynamo } from "#infra/local/dynamodb.ts";
import type { DynamoSession } from "#pool-manager/keys/dynamo-client.ts";
import { createTable } from "#pool-manager/keys/dynamo-create-table.ts";
import type { KeyEntry } from "#pool-manager/keys/dynamo-items.ts";
import { createDynamoKeyTable } from "#pool-manager/keys/dynamo-key-table.ts";
import { createOperatorTable, type NewKey, type OperatorTable } from "#pool-manager/keys/dynamo-operator-table.ts";
import type { StoredBundle, StoredConfiguration, TableProblem } from "#pool-manager/keys/key-table.ts";
import { toHex } from "#protocol/bytes.ts";
import type { ErrorCode } from "#protocol/errors.ts";
import { encodeBundleHeader } from "#protocol/sealed/header.ts";
import { openTestDynamo, useAwsEnvironment } from "../helpers/aws-local.ts";
import { type DynamoProxy, dynamoError, startDynamoProxy } from "../helpers/dynamo-proxy.ts";

useAwsEnvironment();

let dynamo: LocalDynamo;
let proxy: DynamoProxy;
let tables = 0;

beforeAll(async () => {
  dynamo = await startLocalDynamo();
  proxy = await startDynamoProxy(dynamo.url);
});
afterAll(async () => {
  await proxy.close();
  await dynamo.close();
});

const fresh = async ({ group = "main" } = {}): Promise<{ session: DynamoSession; operator: OperatorTable }> => {
  proxy.judge(() => "pass");
  tables += 1;
  const session = openTestDynamo({ table: `table-${tables}`, endpoint: proxy.url, group });
  onTestFinished(() => session.close());
  await createTable(session);
  return { session, operator: operatorOf(session) };
};
const operatorOf = (session: DynamoSession): OperatorTable =>
  createOperatorTable(session, { wallClock: () => 1_700_000_000_000, random: () => 0.5 });

const newHeader = (bundleId: Uint8Array = randomBytes(16)): { header: Uint8Array; bundleId: Uint8Array } => ({
  bundleId,
  header: encodeBundleHeader({
    kind: "keys",
    authority: new Uint8Array(32).fill(1),
    group: "main",
    storeId: new Uint8Array(16).fill(2),
    generation: 1,
    bundleId,
    kmsKeyArn: "arn:aws:kms:eu-central-1:000000000000:key/1234",
    wrappedDataKey: new Uint8Array(184).fill(3),
  }),
});
const newKey = (bundleId: Uint8Array): NewKey => ({
  pubkey: new Uint8Array(randomBytes(48)),
  bundleId,
  sealed: new Uint8Array(randomBytes(60)),
});

const read = async (
  session: DynamoSession,
  { pageItems }: { pageItems?: number } = {},
): Promise<{ bundles: StoredBundle[]; problems: TableProblem[] }> => {
  const [bundles, problems]: [StoredBundle[], TableProblem[]] = [[], []];
  const table = createDynamoKeyTable(session, { onProblem: (problem) => problems.push(problem), pageItems });
  for await (const bundle of table.bundles()) bundles.push(bundle);
  return { bundles, problems };
};
const pubkeysOf = (bundles: readonly StoredBundle[]): string[] =>
  bundles.flatMap(({ keys }) => keys.map(({ pubkey }) => toHex(pubkey))).sort();
const expectFailure = async (work: Promise<unknown>, code: ErrorCode, text: RegExp): Promise<void> => {
  const error = await work.then(
    () => expect.fail("expected a failure"),
    (thrown: unknown) => thrown,
  );
  expect(error).toMatchObject({ code, detail: expect.stringMatching(text) });
};

describe("bundles", () => {
  test("come back whole, each key under its header, however the pages fall", async () => {
    const { session, operator } = await fresh();
    const bundles = [newHeader(), newHeader(), newHeader()];
    await operator.addHeaders(bundles.map(({ header }) => header));
    const keys = Array.from({ length: 60 }, (_, index) => newKey((bundles[index % 2] as (typeof bundles)[0]).bundleId));
    for (const key of keys) expect(await operator.addKey(key, { restore: false })).toBe("added");
    for (const pageItems of [1, 7, 60, undefined]) {
      const { bundles: got, problems } = await read(session, pageItems === undefined ? {} : { pageItems });
      expect(problems).toEqual([]);
      expect(got.length, "the bundle without keys is not asked for").toBe(2);
      expect(pubkeysOf(got)).toEqual(keys.map(({ pubkey }) => toHex(pubkey)).sort());
      for (const { header, keys: stored } of got) {
        const { bundleId } = bundles.find(
          (bundle) => Buffer.compare(bundle.header, header) === 0,
        ) as (typeof bundles)[0];
        for (const { pubkey, sealed } of stored) {
          const key = keys.find((each) => Buffer.compare(each.pubkey, pubkey) === 0) as NewKey;
          expect(Buffer.from(key.sealed).equals(sealed)).toBe(true);
          expect(Buffer.from(key.bundleId).equals(bundleId)).toBe(true);
        }
      }
    }
  });

  test("are paged at DynamoDB's own megabyte, and cut into pieces of 1000", async () => {
    const { session, operator } = await fresh();
    const { header, bundleId } = newHeader();
    await operator.addHeaders([header]);
    const keys = Array.from({ length: 6_500 }, () => newKey(bundleId));
    await fill(session, keys);
    const { bundles, problems } = await read(session);
    expect(problems).toEqual([]);
    expect(bundles.map((bundle) => bundle.keys.length)).toEqual([...Array(6).fill(1000), 500]);
    expect(pubkeysOf(bundles)).toEqual(keys.map(({ pubkey }) => toHex(pubkey)).sort());
    expect(proxy.calls("Query")).toBeGreaterThan(2);
  });

  test("of another group are not seen", async () => {
    const { session, operator } = await fresh();
    const { header, bundleId } = newHeader();
    await operator.addHeaders([header]);
    await operator.addKey(newKey(bundleId), { restore: false });
    const other = openTestDynamo({ table: session.options.table, endpoint: proxy.url, group: "other" });
    onTestFinished(() => other.close());
    expect(await read(other)).toEqual({ bundles: [], problems: [] });
    expect((await read(session)).bundles.length).toBe(1);
  });

  test("a page that fails midway gives nothing and says where", async () => {
    const { session, operator } = await fresh();
    const { header, bundleId } = newHeader();
    await operator.addHeaders([header]);
    for (let made = 0; made < 5; made += 1) await operator.addKey(newKey(bundleId), { restore: false });
    proxy.judge(({ operation, number }) =>
      operation === "Query" && number >= 4 ? dynamoError("InternalServerError", 500) : "pass",
    );
    const given: StoredBundle[] = [];
    const reading = (async () => {
      const table = createDynamoKeyTable(session, { onProblem: () => {}, pageItems: 1 });
      for await (const bundle of table.bundles()) given.push(bundle);
    })();
    await expectFailure(reading, "unavailable", /reading page \d of 0x… in group main: failed \(InternalServerError\)/);
    expect(given).toEqual([]);
    proxy.judge(() => "pass");
    expect((await read(session)).bundles.length).toBe(1);
  });

  test("a header that is newer than the reading of headers is found", async () => {
    const { session, operator } = await fresh();
    const { header, bundleId } = newHeader();
    await operator.addHeaders([header]);
    const key = newKey(bundleId);
    await operator.addKey(key, { restore: false });
    // What a reader saw that began before the import did.
    proxy.judge(({ operation, number }) =>
      operation === "Query" && number === 1 ? { status: 200, body: { Items: [], Count: 0, ScannedCount: 0 } } : "pass",
    );
    const { bundles, problems } = await read(session);
    expect(problems).toEqual([]);
    expect(pubkeysOf(bundles)).toEqual([toHex(key.pubkey)]);
  });
});

describe("an item that cannot be used is named, and the others are given", () => {
  const pubkey = `0x${"ab".repeat(48)}`;
  const bytes = (length: number) => ({ B: new Uint8Array(length) });
  test.each<[string, Record<string, unknown>, RegExp]>([
    ["no ciphertext", { bundle: bytes(16) }, /sealed: expected 60 bytes, got none/],
    ["a short ciphertext", { bundle: bytes(16), sealed: bytes(59) }, /sealed: expected 60 bytes, got 59/],
    ["text for bytes", { bundle: bytes(16), sealed: { S: "x" } }, /sealed: expected 60 bytes, got type S/],
    ["no bundle", { sealed: bytes(60) }, /bundle: expected 16 bytes, got none/],
    ["an unknown bundle", { bundle: bytes(16), sealed: bytes(60) }, /bundle header bundle#0+ is missing/],
    ["both live and removed", { removedAt: { N: "1" }, sealed: bytes(60) }, /expected sealed or removedAt, got both/],
    ["a wrong time", { removedAt: { N: "-1" } }, /removedAt: expected a number/],
    ["a short name", { pubkey: { S: "0x12" }, bundle: bytes(16), sealed: bytes(60) }, /expected 48 bytes of hex/],
    ["upper case", { pubkey: { S: `0x${"AB".repeat(48)}` }, bundle: bytes(16), sealed: bytes(60) }, /lower-case/],
    [
      "a broken header",
      { pubkey: { S: `bundle#${"00".repeat(16)}` }, header: bytes(40) },
      /version: expected 1, got 0/,
    ],
    [
      "a header under another's name",
      { pubkey: { S: `bundle#${"00".repeat(16)}` }, header: { B: newHeader(randomBytes(16)).header } },
      /it is that of bundle#/,
    ],
  ])("%s", async (_what, attributes, reason) => {
    const { session, operator } = await fresh();
    const { header, bundleId } = newHeader();
    await operator.addHeaders([header]);
    const good = newKey(bundleId);
    await operator.addKey(good, { restore: false });
    const item = { group: { S: "main" }, pubkey: { S: pubkey }, ...attributes } as never;
    await session.client.send(new PutItemCommand({ TableName: session.options.table, Item: item }));
    const { bundles, problems } = await read(session);
    expect(pubkeysOf(bundles)).toEqual([toHex(good.pubkey)]);
    const name = (item as { pubkey: { S: string } }).pubkey.S;
    expect(problems).toEqual([{ item: name, reason: expect.stringMatching(reason) }]);
  });
});

describe("a key", () => {
  const prepare = async () => {
    const table = await fresh();
    const { header, bundleId } = newHeader();
    await table.operator.addHeaders([header]);
    return { ...table, key: newKey(bundleId), bundleId };
  };

  test("is never overwritten, by nobody", async () => {
    const { session, operator, key } = await prepare();
    expect(await operator.addKey(key, { restore: false })).toBe("added");
    const rival = { ...newKey(key.bundleId), pubkey: key.pubkey };
    for (const restore of [false, true]) expect(await operator.addKey(rival, { restore })).toBe("present");
    const { bundles } = await read(session);
    expect(Buffer.from(bundles[0]?.keys[0]?.sealed as Uint8Array).equals(key.sealed)).toBe(true);
  });

  test("of twenty who race is one's", async () => {
    const { session, operator, key } = await prepare();
    const rivals = Array.from({ length: 20 }, () => ({ ...newKey(key.bundleId), pubkey: key.pubkey }));
    const outcomes = await Promise.all(rivals.map((rival) => operator.addKey(rival, { restore: true })));
    expect(outcomes.filter((outcome) => outcome === "added").length).toBe(1);
    const winner = rivals[outcomes.indexOf("added")] as NewKey;
    const { bundles } = await read(session);
    expect(Buffer.from(bundles[0]?.keys[0]?.sealed as Uint8Array).equals(winner.sealed)).toBe(true);
  });

  test("whose first answer was lost counts as added", async () => {
    const { operator, key } = await prepare();
    proxy.judge(({ operation, number }) => (operation === "PutItem" && number === 1 ? "cut" : "pass"));
    expect(await operator.addKey(key, { restore: false })).toBe("added");
    expect(proxy.calls("PutItem")).toBe(2);
  });

  test("that was removed is gone for readers, stays removed, and comes back by restore alone", async () => {
    const { session, operator, key } = await prepare();
    await operator.addKey(key, { restore: false });
    expect(await operator.removeKey(key.pubkey)).toBe("removed");
    expect((await read(session)).bundles).toEqual([]);
    const entries: KeyEntry[] = [];
    for await (const entry of operator.entries(() => expect.fail("no problem"))) entries.push(entry);
    expect(entries).toEqual([{ kind: "removed", pubkey: key.pubkey, removedAtSeconds: 1_700_000_000 }]);
    expect(await operator.addKey(key, { restore: false })).toBe("removed");
    expect((await read(session)).bundles).toEqual([]);
    expect(await operator.addKey(key, { restore: true })).toBe("added");
    expect(pubkeysOf((await read(session)).bundles)).toEqual([toHex(key.pubkey)]);
  });

  test("that is removed twice, or was never there, is said to be", async () => {
    const { session, operator, key } = await prepare();
    expect(await operator.removeKey(key.pubkey)).toBe("absent");
    await operator.addKey(key, { restore: false });
    await operator.removeKey(key.pubkey);
    const later = createOperatorTable(session, { wallClock: () => 1_800_000_000_000, random: () => 0.5 });
    expect(await later.removeKey(key.pubkey)).toBe("already removed");
    expect(await later.removeKey(new Uint8Array(48))).toBe("absent");
  });
});

test("an item that cannot be read is mended by removing it and adding the key again", async () => {
  const { session, operator } = await fresh();
  const { header, bundleId } = newHeader();
  await operator.addHeaders([header]);
  const key = newKey(bundleId);
  const item = { group: { S: "main" }, pubkey: { S: toHex(key.pubkey) }, bundle: { S: "?" } };
  await session.client.send(new PutItemCommand({ TableName: session.options.table, Item: item }));
  expect((await read(session)).problems.length).toBe(1);
  expect(await operator.removeKey(key.pubkey)).toBe("removed");
  expect(await operator.addKey(key, { restore: true })).toBe("added");
  const { bundles, problems } = await read(session);
  expect([pubkeysOf(bundles), problems]).toEqual([[toHex(key.pubkey)], []]);
});

describe("headers", () => {
  test("go in batches, and what was left undone is written again", async () => {
    const { session, operator } = await fresh();
    const headers = Array.from({ length: 30 }, () => newHeader());
    proxy.judge(({ operation, number, input }) => {
      if (operation !== "BatchWriteItem" || number > 2) return "pass";
      return { status: 200, body: { UnprocessedItems: input.RequestItems } };
    });
    await operator.addHeaders(headers.map(({ header }) => header));
    expect(proxy.calls("BatchWriteItem")).toBe(4);
    for (const { bundleId } of headers) await operator.addKey(newKey(bundleId), { restore: false });
    const { bundles, problems } = await read(session);
    expect([bundles.length, problems]).toEqual([30, []]);
  });

  test("that are left undone for ever end in a failure", async () => {
    const { session } = await fresh();
    const operator = createOperatorTable(session, { wallClock: Date.now, random: () => 1 });
    proxy.judge(({ operation, input }) =>
      operation === "BatchWriteItem" ? { status: 200, body: { UnprocessedItems: input.RequestItems } } : "pass",
    );
    await expectFailure(
      operator.addHeaders([newHeader().header]),
      "unavailable",
      /1 of 1 headers were left out 10 times/,
    );
    expect(proxy.calls("BatchWriteItem")).toBe(10);
  });
});

describe("the configuration", () => {
  const stored = (mark: number): StoredConfiguration => ({
    document: new Uint8Array(1_000).fill(mark),
    signature: new Uint8Array(64).fill(mark),
    secretsHeader: new Uint8Array(300).fill(mark),
    sealedSecrets: new Uint8Array(100).fill(mark),
  });
  const configurationOf = (session: DynamoSession) =>
    createDynamoKeyTable(session, { onProblem: () => expect.fail("no problem") }).configuration();

  test("is none at first, then the newest, and never an older one", async () => {
    const { session, operator } = await fresh();
    expect(await configurationOf(session)).toBeUndefined();
    await operator.putConfiguration(2, stored(2));
    expect(await configurationOf(session)).toEqual(stored(2));
    for (const version of [1, 2]) {
      await expectFailure(
        operator.putConfiguration(version, stored(9)),
        "bad_request",
        /expected a higher one, got \d, and 2/,
      );
    }
    await operator.putConfiguration(10, stored(3));
    expect(await configurationOf(session)).toEqual(stored(3));
    expect((await operator.configuration())?.version).toBe(10);
  });

  test("whose first answer was lost is there", async () => {
    const { session, operator } = await fresh();
    proxy.judge(({ operation, number }) => (operation === "PutItem" && number === 1 ? "cut" : "pass"));
    await operator.putConfiguration(1, stored(1));
    expect(await configurationOf(session)).toEqual(stored(1));
  });

  test("that is too large for an item is refused before it is sent", async () => {
    const { operator } = await fresh();
    const large = { ...stored(1), document: new Uint8Array(400 * 1024) };
    await expectFailure(
      operator.putConfiguration(1, large),
      "bad_request",
      /config#current: expected at most 409600 bytes/,
    );
    expect(proxy.calls("PutItem")).toBe(0);
  });

  test("of which a part is missing is refused", async () => {
    const { session } = await fresh();
    const item = { group: { S: "main" }, pubkey: { S: "config#current" }, version: { N: "1" } };
    await session.client.send(new PutItemCommand({ TableName: session.options.table, Item: item }));
    await expectFailure(configurationOf(session), "bad_request", /config#current: document: expected .* got none/);
  });
});

describe("calls that fail", () => {
  test.each<[string, ErrorCode, RegExp]>([
    ["ResourceNotFoundException", "bad_request", /no such table.*--create-table/],
    ["AccessDeniedException", "unavailable", /docs\/keys\.md/],
    ["ExpiredTokenException", "unavailable", /credentials have expired/],
    ["ProvisionedThroughputExceededException", "unavailable", /throttled/],
    ["SomethingNewException", "unavailable", /failed \(SomethingNewException\)/],
  ])("%s", async (name, code, text) => {
    const { session } = await fresh();
    proxy.judge(() => dynamoError(name));
    await expectFailure(read(session), code, text);
  });

  test("a throttled call is asked again", async () => {
    const { session } = await fresh();
    proxy.judge(({ number }) => (number === 1 ? dynamoError("ThrottlingException") : "pass"));
    expect(await read(session)).toEqual({ bundles: [], problems: [] });
  });

  test("no answer is not waited for", async () => {
    const { session } = await fresh();
    proxy.judge(() => "hang");
    const hasty = openTestDynamo({ table: session.options.table, endpoint: proxy.url }, { deadlineMs: 200 });
    onTestFinished(() => hasty.close());
    await expectFailure(read(hasty), "unavailable", /no answer within 200 ms/);
  });

  test("nobody there", async () => {
    const session = openTestDynamo({ table: "nowhere", endpoint: "http://127.0.0.1:1" });
    onTestFinished(() => session.close());
    await expectFailure(read(session), "unavailable", /ECONNREFUSED/);
  });

  test("pages that go in circles end", async () => {
    const { session } = await fresh();
    const key = { group: { S: "main" }, pubkey: { S: `0x${"00".repeat(48)}` } };
    proxy.judge(() => ({ status: 200, body: { Items: [], Count: 0, ScannedCount: 0, LastEvaluatedKey: key } }));
    await expectFailure(read(session), "unavailable", /a page that goes back/);
  });
});

test("a local DynamoDB with a folder keeps its tables", async () => {
  const folder = mkdtempSync(join(tmpdir(), "dynamo-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const { header, bundleId } = newHeader();
  const key = newKey(bundleId);
  for (const outcome of ["added", "present"]) {
    const local = await startLocalDynamo({ folder });
    const session = openTestDynamo({ table: "kept", endpoint: local.url });
    expect(await createTable(session)).toBe(outcome === "added" ? "made" : "present");
    const operator = operatorOf(session);
    await operator.addHeaders([header]);
    expect(await operator.addKey({ ...key, sealed: randomBytes(60) }, { restore: false })).toBe(outcome);
    expect(pubkeysOf((await read(session)).bundles)).toEqual([toHex(key.pubkey)]);
    session.close();
    await local.close();
  }
});

/** Twenty-five at a time: no condition is needed in a table that nobody else writes. */
const fill = async (session: DynamoSession, keys: readonly NewKey[]): Promise<void> => {
  const { table } = session.options;
  for (let start = 0; start < keys.length; start += 25) {
    const puts = keys.slice(start, start + 25).map(({ pubkey, bundleId, sealed }) => ({
      PutRequest: {
        Item: { group: { S: "main" }, pubkey: { S: toHex(pubkey) }, bundle: { B: bundleId }, sealed: { B: sealed } },
      },
    }));
    await session.client.send(new BatchWriteItemCommand({ RequestItems: { [table]: puts } }));
  }
};
