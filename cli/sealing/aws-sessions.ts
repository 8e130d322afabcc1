/** Opens the table and KMS as command lines name them. */

import { readFileSync } from "node:fs";
import { type DynamoSession, openDynamo } from "#pool-manager/keys/dynamo-client.ts";
import { createOperatorTable, type OperatorTable } from "#pool-manager/keys/dynamo-operator-table.ts";
import { SignerError } from "#protocol/errors.ts";
import { checkGroup } from "#protocol/sealed/header.ts";
import type { KmsValues, TableValues } from "./aws-options.ts";
import { createOperatorKms, type OperatorKms } from "./operator-kms.ts";

/** An opened table; the caller closes the session. */
export interface OpenedTable {
  readonly session: DynamoSession;
  readonly table: OperatorTable;
}

/**
 * @param group instead of `--group`, where a document names it
 * @throws SignerError `bad_request` naming the option that is missing or wrong
 */
export const openTable = (values: TableValues, group?: string): OpenedTable => {
  const session = openDynamo({
    table: required(values.table, "--table <name>"),
    region: required(values.region, "--region <name>"),
    group: checkGroup(group ?? required(values.group, "--group <name>"), "--group"),
    endpoint: values.dynamodbEndpoint,
  });
  return { session, table: createOperatorTable(session, { wallClock: Date.now, random: Math.random }) };
};

/** A client for one KMS key; the caller closes it. @throws SignerError `bad_request` */
export const openKms = (keyArn: string, { kmsEndpoint, kmsCa }: KmsValues): OperatorKms =>
  createOperatorKms({ keyArn, endpoint: kmsEndpoint, ca: kmsCa === undefined ? undefined : readCa(kmsCa) });

/** @throws SignerError `bad_request` when the option was not given */
export const required = <T>(value: T | undefined, option: string): T => {
  if (value !== undefined) return value;
  throw new SignerError("bad_request", `required option '${option}' not specified`);
};

const readCa = (file: string): string => {
  try {
    return readFileSync(file, "utf8");
  } catch (cause) {
    throw new SignerError("bad_request", `--kms-ca ${file}: cannot be read`, { cause });
  }
};
