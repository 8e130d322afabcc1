/** A local KMS and DynamoDB for tests, and the credentials that the SDK's default chain finds. */

import { afterAll, beforeAll } from "vitest";
import {
  type DynamoBounds,
  type DynamoOptions,
  type DynamoSession,
  openDynamo,
} from "#pool-manager/keys/dynamo-client.ts";
import { CREDENTIALS } from "./kms.ts";

/** Environment of a process with credentials, and without any other place to look for them. */
export const AWS_ENVIRONMENT = {
  AWS_ACCESS_KEY_ID: CREDENTIALS.accessKeyId,
  AWS_SECRET_ACCESS_KEY: CREDENTIALS.secretAccessKey,
  AWS_SESSION_TOKEN: CREDENTIALS.sessionToken as string,
  AWS_EC2_METADATA_DISABLED: "true",
  AWS_CONFIG_FILE: "/nonexistent",
  AWS_SHARED_CREDENTIALS_FILE: "/nonexistent",
} as const;

/** Gives this test file's process the credentials, and takes them away at its end. */
export const useAwsEnvironment = (): void => {
  const before = Object.keys(AWS_ENVIRONMENT).map((name) => [name, process.env[name]] as const);
  beforeAll(() => void Object.assign(process.env, AWS_ENVIRONMENT));
  afterAll(() => {
    for (const [name, value] of before) {
      if (value === undefined) delete process.env[name];
      else process.env[name] = value;
    }
  });
};

/** A session that gives up soon. */
export const openTestDynamo = (
  options: Pick<DynamoOptions, "table" | "endpoint"> & Partial<DynamoOptions>,
  bounds: Partial<DynamoBounds> = {},
): DynamoSession =>
  openDynamo({ region: "eu-central-1", group: "main", ...options }, { attemptsMax: 2, deadlineMs: 5_000, ...bounds });
