/**
 * The table as operators change it, from their own machines. A live key is never overwritten: each key is a conditional
 * put of its own, because DynamoDB's batch write takes no conditions. Bundle headers have random names that nobody else
 * has, so they go in batches.
 */

import { setTimeout as sleep } from "node:timers/promises";
import {
  BatchWriteItemCommand,
  type BatchWriteItemCommandOutput,
  PutItemCommand,
  UpdateItemCommand,
} from "@aws-sdk/client-dynamodb";
import { toHex } from "#protocol/bytes.ts";
import { SignerError, toSignerError } from "#protocol/errors.ts";
import { ConditionFailed, type DynamoSession } from "./dynamo-client.ts";
import {
  CONFIGURATION_NAME,
  checkItemSize,
  configurationItem,
  headerItem,
  type Item,
  itemKey,
  type KeyEntry,
  keyItem,
  nameOf,
  PUBKEY_PREFIX,
  readConfigurationItem,
  readKeyItem,
  sameItem,
} from "./dynamo-items.ts";
import { readItem, readPages } from "./dynamo-read.ts";
import type { StoredConfiguration, TableProblem } from "./key-table.ts";

/** A key to add. */
export interface NewKey {
  /** 48 bytes. */
  readonly pubkey: Uint8Array;
  /** 16 bytes, of a bundle whose header was added. */
  readonly bundleId: Uint8Array;
  /** 60 bytes. */
  readonly sealed: Uint8Array;
}

/** What became of a key: now there, there before, or removed once and left so. */
export type AddOutcome = "added" | "present" | "removed";

/** One group's part of the table. */
export interface OperatorTable {
  /** The configuration with its version; undefined: none. @throws SignerError */
  configuration(): Promise<(StoredConfiguration & { readonly version: number }) | undefined>;
  /** Writes the configuration if its version is higher than that of the one there. @throws SignerError `bad_request` */
  putConfiguration(version: number, stored: StoredConfiguration): Promise<void>;
  /** All keys and tombstones, in the order of their public keys. @throws SignerError */
  entries(onProblem: (problem: TableProblem) => void): AsyncGenerator<KeyEntry>;
  /** Adds encoded headers of new bundles; before their keys. @throws SignerError `unavailable` */
  addHeaders(headers: readonly Uint8Array[]): Promise<void>;
  /** @param restore whether a tombstone gives way @throws SignerError `unavailable` */
  addKey(key: NewKey, options: { readonly restore: boolean }): Promise<AddOutcome>;
  /** Puts a tombstone in the place of a live key. @throws SignerError `unavailable` */
  removeKey(pubkey: Uint8Array): Promise<"removed" | "already removed" | "absent">;
}

/** What the writers need of the world. */
export interface OperatorTableModules {
  /** Wall clock in ms since 1970. */
  readonly wallClock: () => number;
  /** 0 ≤ random() < 1, for delays. */
  readonly random: () => number;
}

/** Items of one batch write (Amazon DynamoDB API reference, `BatchWriteItem`). */
const BATCH_ITEMS_MAX = 25;
/** DynamoDB leaves items undone when it is throttled, without an error: asked again ten times, over some 15 s. */
const BATCH_ATTEMPTS_MAX = 10;
const BATCH_DELAY_MS_MIN = 50;
const BATCH_DELAY_MS_MAX = 3_000;

/** Makes the table's writer; the session stays the caller's to close. */
export const createOperatorTable = (session: DynamoSession, modules: OperatorTableModules): OperatorTable => {
  const { table, group } = session.options;
  const put = async (item: Item, condition: Condition): Promise<boolean> => {
    checkItemSize(item);
    const command = new PutItemCommand({ TableName: table, Item: item, ...condition });
    try {
      await session.call(`writing ${nameOf(item)}`, (call) => session.client.send(command, call));
      return true;
    } catch (error) {
      if (error instanceof ConditionFailed) return false;
      throw error;
    }
  };
  return {
    configuration: async () => {
      const item = await readItem(session, CONFIGURATION_NAME);
      return item === undefined ? undefined : readConfigurationItem(item);
    },
    putConfiguration: async (version, stored) => {
      const item = configurationItem(group, version, stored);
      if (await put(item, newerThanStored(version))) return;
      const actual = await readItem(session, CONFIGURATION_NAME);
      if (actual !== undefined && sameItem(item, actual)) return; // ours, whose first answer was lost
      const got = `${version}, and ${String(actual?.version?.N)} is in the table`;
      throw new SignerError("bad_request", `configuration: version: expected a higher one, got ${got}`);
    },
    entries: (onProblem) => readEntries(session, onProblem),
    addHeaders: async (headers) => {
      const items = headers.map((header) => headerItem(group, header));
      for (const item of items) checkItemSize(item);
      for (let start = 0; start < items.length; start += BATCH_ITEMS_MAX) {
        await writeBatch(session, items.slice(start, start + BATCH_ITEMS_MAX), modules);
      }
    },
    addKey: async (key, { restore }) => {
      const item = keyItem(group, key);
      if (await put(item, restore ? ABSENT_OR_REMOVED : ABSENT)) return "added";
      const actual = await readItem(session, toHex(key.pubkey));
      if (actual === undefined) throw changed(key.pubkey);
      if (sameItem(item, actual)) return "added"; // ours, whose first answer was lost
      return readKeyItem(actual).kind === "live" ? "present" : "removed";
    },
    removeKey: (pubkey) => removeKey(session, pubkey, modules),
  };
};

interface Condition {
  readonly ConditionExpression: string;
  readonly ExpressionAttributeNames: Record<string, string>;
  readonly ExpressionAttributeValues?: Record<string, { N: string }>;
}

const ABSENT: Condition = {
  ConditionExpression: "attribute_not_exists(#name)",
  ExpressionAttributeNames: { "#name": "pubkey" },
};
const ABSENT_OR_REMOVED: Condition = {
  ConditionExpression: "attribute_not_exists(#name) OR attribute_exists(#removed)",
  ExpressionAttributeNames: { "#name": "pubkey", "#removed": "removedAt" },
};
const newerThanStored = (version: number): Condition => ({
  ConditionExpression: "attribute_not_exists(#name) OR #version < :version",
  ExpressionAttributeNames: { "#name": "pubkey", "#version": "version" },
  ExpressionAttributeValues: { ":version": { N: String(version) } },
});

async function* readEntries(
  session: DynamoSession,
  onProblem: (problem: TableProblem) => void,
): AsyncGenerator<KeyEntry> {
  for await (const page of readPages(session, { prefix: PUBKEY_PREFIX })) {
    for (const item of page) {
      let entry: KeyEntry;
      try {
        entry = readKeyItem(item);
      } catch (error) {
        onProblem({ item: nameOf(item), reason: toSignerError(error).detail });
        continue;
      }
      yield entry;
    }
  }
}

const writeBatch = async (
  session: DynamoSession,
  items: readonly Item[],
  { random }: OperatorTableModules,
): Promise<void> => {
  const { table } = session.options;
  type Requests = NonNullable<BatchWriteItemCommandOutput["UnprocessedItems"]>[string];
  let left: Requests = items.map((Item) => ({ PutRequest: { Item } }));
  for (let attempts = 1; ; attempts += 1) {
    const command = new BatchWriteItemCommand({ RequestItems: { [table]: left } });
    const answer = await session.call("writing bundle headers", (call) => session.client.send(command, call));
    left = answer.UnprocessedItems?.[table] ?? [];
    if (left.length === 0) return;
    if (attempts >= BATCH_ATTEMPTS_MAX) break;
    const delayMs = Math.min(BATCH_DELAY_MS_MAX, BATCH_DELAY_MS_MIN * 2 ** attempts);
    await sleep(delayMs * (1 - random() / 2));
  }
  const detail = `DynamoDB table ${table}: ${left.length} of ${items.length} headers were left out ${BATCH_ATTEMPTS_MAX} times`;
  throw new SignerError("unavailable", `${detail}; raise the table's capacity and run it again`);
};

const removeKey = async (
  session: DynamoSession,
  pubkey: Uint8Array,
  { wallClock }: OperatorTableModules,
): ReturnType<OperatorTable["removeKey"]> => {
  const { table, group } = session.options;
  const name = toHex(pubkey);
  const removedAt = String(Math.floor(wallClock() / 1000));
  const command = new UpdateItemCommand({
    TableName: table,
    Key: itemKey(group, name),
    UpdateExpression: "SET #removed = :now REMOVE #sealed, #bundle",
    // Whatever is no tombstone: an item that cannot be read is mended by removing it and importing the key again.
    ConditionExpression: "attribute_exists(#name) AND (attribute_exists(#sealed) OR attribute_not_exists(#removed))",
    ExpressionAttributeNames: { "#name": "pubkey", "#removed": "removedAt", "#sealed": "sealed", "#bundle": "bundle" },
    ExpressionAttributeValues: { ":now": { N: removedAt } },
  });
  try {
    await session.call(`removing ${name}`, (call) => session.client.send(command, call));
    return "removed";
  } catch (error) {
    if (!(error instanceof ConditionFailed)) throw error;
  }
  const actual = await readItem(session, name);
  if (actual === undefined) return "absent";
  if (actual.sealed !== undefined) throw changed(pubkey);
  return actual.removedAt?.N === removedAt ? "removed" : "already removed";
};

const changed = (pubkey: Uint8Array): SignerError =>
  new SignerError("unavailable", `${toHex(pubkey)}: somebody else changes this key at the same moment; run it again`);
