/** Options of a pool whose keys lie sealed in DynamoDB and are opened by attestation. */

import { readFileSync } from "node:fs";
import { type Command, Option } from "commander";
import type { KmsLocation } from "#pool-manager/config.ts";
import { SignerError } from "#protocol/errors.ts";
import { checkGroup } from "#protocol/sealed/header.ts";
import { integerBetween } from "./integers.ts";
import { addKmsOptions, addTableOptions, type KmsValues, type TableValues } from "./sealing/aws-options.ts";

/** Values of {@link addAttestedOptions}. */
export interface AttestedOptionValues extends TableValues, KmsValues {
  readonly keysFrom?: "aws";
  readonly keysPoll?: number;
  readonly softwareNsm?: string;
}

/** Seconds: a day is no polling any more. */
const POLL_SECONDS_MAX = 86_400;

/** Where sealed keys and configuration are. */
export const addAttestedOptions = (command: Command): Command =>
  addKmsOptions(
    addTableOptions(
      command.addOption(
        new Option(
          "--keys-from <source>",
          "aws: sealed keys and configuration of a DynamoDB table, opened by attestation (docs/keys.md)",
        ).choices(["aws"]),
      ),
    ),
  )
    .option(
      "--keys-poll <seconds>",
      "pause between two readings of the table (default: 60)",
      integerBetween(1, POLL_SECONDS_MAX),
    )
    .option("--software-nsm <dir>", "be the enclaves' security module, with the root in this folder (development)");

/** Names of {@link addAttestedOptions} with their values, for the arguments of a child. */
export const attestedArguments = (values: AttestedOptionValues): Record<string, string | number | undefined> => ({
  "keys-from": values.keysFrom,
  group: values.group,
  table: values.table,
  region: values.region,
  "keys-poll": values.keysPoll,
  "kms-endpoint": values.kmsEndpoint,
  "kms-ca": values.kmsCa,
  "dynamodb-endpoint": values.dynamodbEndpoint,
  "software-nsm": values.softwareNsm,
});

/** Settings of an attested pool; empty in development mode. @throws SignerError `bad_request` naming the option */
export const attestedConfigOf = (
  values: AttestedOptionValues,
): { readonly kms?: KmsLocation; readonly keysPollSeconds?: number } => {
  const { keysFrom, keysPoll, kmsEndpoint, kmsCa } = values;
  if (keysFrom === undefined) {
    const stray = Object.entries(attestedArguments(values)).find(([, value]) => value !== undefined);
    if (stray !== undefined) throw new SignerError("bad_request", `--${stray[0]}: belongs to --keys-from aws`);
    return {};
  }
  tableOf(values);
  const kms = {
    ...(kmsEndpoint !== undefined && { endpoint: checkEndpoint(kmsEndpoint) }),
    ...(kmsCa !== undefined && { ca: readCa(kmsCa) }),
  };
  return { kms, ...(keysPoll !== undefined && { keysPollSeconds: keysPoll }) };
};

/** The three that name a fleet's table. @throws SignerError `bad_request` */
export const tableOf = ({ group, table, region }: TableValues): { group: string; table: string; region: string } => {
  if (group === undefined || table === undefined || region === undefined) {
    throw new SignerError("bad_request", "--keys-from aws: expected --group, --table and --region with it");
  }
  return { group: checkGroup(group, "--group"), table, region };
};

const checkEndpoint = (text: string): string => {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url?.protocol === "https:" && url.pathname === "/" && url.username === "" && url.search === "") return url.origin;
  throw new SignerError("bad_request", "--kms-endpoint: expected https://host[:port]");
};

const readCa = (file: string): string => {
  try {
    return readFileSync(file, "utf8");
  } catch (cause) {
    throw new SignerError("bad_request", `--kms-ca ${file}: cannot be read`, { cause });
  }
};
