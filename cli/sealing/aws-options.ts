/** Options of commands that reach the table and KMS from an operator's machine. No SDK is loaded here. */

import type { Command } from "commander";

/** Values of {@link addTableOptions}; `openTable` says which are missing. */
export interface TableValues {
  readonly group?: string;
  readonly table?: string;
  readonly region?: string;
  readonly dynamodbEndpoint?: string;
}

/** Values of {@link addKmsOptions}. */
export interface KmsValues {
  readonly kmsEndpoint?: string;
  readonly kmsCa?: string;
}

/** Which table, and where; credentials come from the AWS SDK's default chain. */
export const addTableOptions = (command: Command): Command =>
  command
    .option("--table <name>", "DynamoDB table of sealed keys")
    .option("--region <name>", "AWS region of the table, such as eu-central-1")
    .option("--group <name>", "the fleet: 1..64 of a-z, 0-9 and -")
    .option("--dynamodb-endpoint <url>", "another endpoint than AWS's own of that region");

/** Where KMS is; which key, other options say. */
export const addKmsOptions = (command: Command): Command =>
  command
    .option("--kms-endpoint <url>", "another endpoint than AWS's own of the KMS key's region")
    .option("--kms-ca <file>", "certificates in PEM that sign that endpoint's (default: public ones)");
