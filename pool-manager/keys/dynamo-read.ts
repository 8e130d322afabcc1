/** Reads items of one group, consistently, page by page. */

import { GetItemCommand, QueryCommand } from "@aws-sdk/client-dynamodb";
import { SignerError } from "#protocol/errors.ts";
import type { DynamoSession } from "./dynamo-client.ts";
import { type Item, itemKey, nameOf } from "./dynamo-items.ts";

/**
 * Pages of one query: at 1 MB each (Amazon DynamoDB developer guide, "Paginating table query results") and some 300
 * bytes a key, a million keys take 300; a server that always has one more is no DynamoDB.
 */
const PAGES_MAX = 4_096;

/** The item of that sort key; undefined: there is none. @throws SignerError `unavailable` | `bad_request` */
export const readItem = async (session: DynamoSession, name: string): Promise<Item | undefined> => {
  const { table, group } = session.options;
  const command = new GetItemCommand({ TableName: table, Key: itemKey(group, name), ConsistentRead: true });
  const { Item } = await session.call(`reading ${name}`, (call) => session.client.send(command, call));
  return Item;
};

/**
 * Items whose sort keys begin with `prefix`, a page at a time, in the order of their keys.
 * @param pageItems at most, for tests: a page has up to 1 MB otherwise
 * @throws SignerError `unavailable` | `bad_request`
 */
export async function* readPages(
  session: DynamoSession,
  { prefix, pageItems }: { prefix: string; pageItems?: number | undefined },
): AsyncGenerator<readonly Item[]> {
  const { table, group } = session.options;
  let after: Item | undefined;
  for (let page = 1; page <= PAGES_MAX; page += 1) {
    const command = new QueryCommand({
      TableName: table,
      KeyConditionExpression: "#group = :group AND begins_with(#name, :prefix)",
      ExpressionAttributeNames: { "#group": "group", "#name": "pubkey" },
      ExpressionAttributeValues: { ":group": { S: group }, ":prefix": { S: prefix } },
      ConsistentRead: true,
      ...(pageItems !== undefined && { Limit: pageItems }),
      ...(after !== undefined && { ExclusiveStartKey: after }),
    });
    const what = `reading page ${page} of ${prefix}… in group ${group}`;
    const answer = await session.call(what, (call) => session.client.send(command, call));
    yield answer.Items ?? [];
    const next = answer.LastEvaluatedKey;
    if (next === undefined) return;
    // In order, or some would come twice and others never.
    if (after !== undefined && nameOf(next) <= nameOf(after)) throw wrongPages(table, "a page that goes back");
    after = next;
  }
  throw wrongPages(table, `more than ${PAGES_MAX} pages`);
}

const wrongPages = (table: string, got: string): SignerError =>
  new SignerError("unavailable", `DynamoDB table ${table}: expected pages in order, got ${got}`);
