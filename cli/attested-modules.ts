/** What an attested pool works with: the table, credentials, and in development the security module. */

import { dirname, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { openDevelopmentAuthority } from "#infra/local/nsm/authority.ts";
import { measureWorker, pcrsOfWorker } from "#infra/local/nsm/measure.ts";
import { createSoftwareNsm, serveSoftwareNsm } from "#infra/local/nsm/software-nsm.ts";
import type { AttestedModules } from "#pool-manager/attested.ts";
import { type DynamoSession, openDynamo } from "#pool-manager/keys/dynamo-client.ts";
import { createDynamoKeyTable } from "#pool-manager/keys/dynamo-key-table.ts";
import { SignerError } from "#protocol/errors.ts";
import type { Logger } from "#protocol/log.ts";
import { type AttestedOptionValues, tableOf } from "./attested-options.ts";

const ROOT_FOLDER = dirname(dirname(fileURLToPath(import.meta.url)));

/** Opens them; `close` ends the connections to the table. @throws SignerError `bad_request` naming the option */
export const openAttestedModules = (
  values: AttestedOptionValues,
  logger: Logger,
): AttestedModules & { close(): void } => {
  const { dynamodbEndpoint, softwareNsm } = values;
  const session = openDynamo({ ...tableOf(values), endpoint: dynamodbEndpoint });
  const onProblem = ({ item, reason }: { item: string; reason: string }): void =>
    logger.error("item of the table not used", { item, reason });
  return {
    table: createDynamoKeyTable(session, { onProblem }),
    credentials: () => resolveCredentials(session),
    ...(softwareNsm !== undefined && { softwareNsm: openSoftwareNsm(resolve(softwareNsm)) }),
    close: () => session.close(),
  };
};

/** The SDK's default chain, which remembers them and refreshes them before they expire. */
const resolveCredentials = async ({ client }: DynamoSession) => {
  try {
    const { accessKeyId, secretAccessKey, sessionToken } = await client.config.credentials();
    return { accessKeyId, secretAccessKey, ...(sessionToken !== undefined && { sessionToken }) };
  } catch (cause) {
    throw new SignerError("unavailable", "no AWS credentials were found: role, profile or environment", { cause });
  }
};

/** Measured anew at each start: another program has another PCR0. */
const openSoftwareNsm = (folder: string): NonNullable<AttestedModules["softwareNsm"]> => {
  const authority = openDevelopmentAuthority(folder, Date.now());
  const instanceId = "i-development";
  const pcrs = pcrsOfWorker(measureWorker(ROOT_FOLDER), { instanceId });
  return (cid) =>
    serveSoftwareNsm(createSoftwareNsm({ authority, moduleId: `${instanceId}-enc${cid}`, pcrs, now: Date.now }));
};
