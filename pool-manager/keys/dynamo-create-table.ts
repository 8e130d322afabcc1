/** Makes the table, where an operator has the right to: on demand, encrypted by AWS, protected against deletion. */

import { setTimeout as sleep } from "node:timers/promises";
import { CreateTableCommand, DescribeTableCommand } from "@aws-sdk/client-dynamodb";
import { SignerError } from "#protocol/errors.ts";
import type { DynamoSession } from "./dynamo-client.ts";

/** A new table takes some ten seconds. */
const ACTIVE_TIMEOUT_MS = 120_000;
const POLL_MS = 100;

/** Makes the table unless it is there, and waits until it can be used. @throws SignerError */
export const createTable = async (session: DynamoSession): Promise<"made" | "present"> => {
  const { table } = session.options;
  const status = await statusOf(session);
  if (status === undefined) {
    const command = new CreateTableCommand({
      TableName: table,
      KeySchema: [
        { AttributeName: "group", KeyType: "HASH" },
        { AttributeName: "pubkey", KeyType: "RANGE" },
      ],
      AttributeDefinitions: [
        { AttributeName: "group", AttributeType: "S" },
        { AttributeName: "pubkey", AttributeType: "S" },
      ],
      BillingMode: "PAY_PER_REQUEST",
      DeletionProtectionEnabled: true,
    });
    await session.call("making the table", (call) => session.client.send(command, call));
  }
  const endsAt = performance.now() + ACTIVE_TIMEOUT_MS;
  while ((await statusOf(session)) !== "ACTIVE") {
    if (performance.now() > endsAt) {
      throw new SignerError("unavailable", `DynamoDB table ${table}: not active after ${ACTIVE_TIMEOUT_MS} ms`);
    }
    await sleep(POLL_MS);
  }
  return status === undefined ? "made" : "present";
};

const statusOf = async (session: DynamoSession): Promise<string | undefined> => {
  const command = new DescribeTableCommand({ TableName: session.options.table });
  return session.call("looking for the table", async (call) => {
    try {
      return (await session.client.send(command, call)).Table?.TableStatus;
    } catch (error) {
      if ((error as { name?: string }).name === "ResourceNotFoundException") return undefined;
      throw error;
    }
  });
};
