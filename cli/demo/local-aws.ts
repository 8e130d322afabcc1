/** AWS on this machine for a demonstration: KMS, DynamoDB, and credentials that are good for nothing else. */

import { randomBytes } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { startLocalDynamo } from "#infra/local/dynamodb.ts";
import type { AttestationVerifier } from "#infra/local/kms/attestation.ts";
import { createDocumentVerifier } from "#infra/local/kms/document-verifier.ts";
import type { LocalCredentials } from "#infra/local/kms/sigv4.ts";
import { type LocalKms, startLocalKms } from "#infra/local/kms/start.ts";
import { openDevelopmentAuthority } from "#infra/local/nsm/authority.ts";

/** What runs. */
export interface LocalAws {
  readonly kms: LocalKms;
  readonly dynamoUrl: string;
  /** Options that lead commands to the table, and to KMS. */
  readonly tableOptions: readonly string[];
  readonly kmsOptions: readonly string[];
  /** Environment of commands: the credentials, and no other way to find some. */
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** The last attestation document that KMS found genuine. @throws Error when there was none */
  lastDocument(): Uint8Array;
  close(): Promise<void>;
}

/** Where it keeps what others read, and whom it lets in. */
export interface LocalAwsOptions {
  /** For KMS's certificate. */
  readonly folder: string;
  /** Of the software NSM's root; made when there is none. */
  readonly nsmFolder: string;
  readonly group: string;
  /** 48 bytes. */
  readonly pcr0: Uint8Array;
}

const REGION = "eu-central-1";
const TABLE = "testudo-keys";

/** Starts KMS with one key, and DynamoDB without a table, both on loopback and free ports. */
export const startLocalAws = async ({ folder, nsmFolder, group, pcr0 }: LocalAwsOptions): Promise<LocalAws> => {
  const credentials: LocalCredentials = {
    accessKeyId: `AKIADEMO${randomBytes(6).toString("hex").toUpperCase()}`,
    secretAccessKey: randomBytes(30).toString("base64"),
    sessionToken: randomBytes(30).toString("base64"),
    principal: "arn:aws:sts::000000000000:assumed-role/demo/operator-and-parent",
  };
  const { root } = openDevelopmentAuthority(nsmFolder, Date.now());
  const genuine = createDocumentVerifier(root);
  let last: Uint8Array | undefined;
  const verifyAttestation: AttestationVerifier = (document, nowMs) => {
    const verdict = genuine(document, nowMs);
    if (verdict.ok) last = document.slice();
    return verdict;
  };
  const dynamo = await startLocalDynamo();
  const kms = await startLocalKms({
    credentials: [credentials],
    region: REGION,
    keyPolicy: { Statement: [...policyStatements({ group, pcr0 })] },
    verifyAttestation,
  }).catch(async (error: unknown) => {
    await dynamo.close();
    throw error;
  });
  const caFile = join(folder, "kms-ca.pem");
  writeFileSync(caFile, kms.caPem);
  return {
    kms,
    dynamoUrl: dynamo.url,
    tableOptions: ["--table", TABLE, "--region", REGION, "--dynamodb-endpoint", dynamo.url],
    kmsOptions: ["--kms-endpoint", kms.url, "--kms-ca", caFile],
    environment: environmentWith(credentials),
    lastDocument: () => {
      if (last === undefined) throw new Error("KMS has seen no genuine attestation document");
      return last;
    },
    close: async () => {
      await kms.close();
      await dynamo.close();
    },
  };
};

/** As docs/keys.md has them: operators make data keys, enclaves with this PCR0 alone open them. */
const policyStatements = ({ group, pcr0 }: Pick<LocalAwsOptions, "group" | "pcr0">) => {
  const inGroup = { "kms:EncryptionContext:testudo:group": group };
  return [
    {
      Sid: "OperatorsSeal",
      Effect: "Allow",
      Principal: "*",
      Action: "kms:GenerateDataKey",
      Resource: "*",
      Condition: { StringEquals: inGroup },
    },
    {
      Sid: "GenuineEnclavesOpen",
      Effect: "Allow",
      Principal: "*",
      Action: "kms:Decrypt",
      Resource: "*",
      Condition: {
        StringEqualsIgnoreCase: { "kms:RecipientAttestation:ImageSha384": Buffer.from(pcr0).toString("hex") },
        StringEquals: inGroup,
      },
    },
  ] as const;
};

/** Whoever runs this may have real credentials: nothing here sees them. */
const environmentWith = ({
  accessKeyId,
  secretAccessKey,
  sessionToken,
}: LocalCredentials): LocalAws["environment"] => ({
  ...Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(AWS_|LODESTAR_PRESET$)/.test(name))),
  AWS_ACCESS_KEY_ID: accessKeyId,
  AWS_SECRET_ACCESS_KEY: secretAccessKey,
  AWS_SESSION_TOKEN: sessionToken,
  AWS_EC2_METADATA_DISABLED: "true",
  AWS_CONFIG_FILE: "/nonexistent",
  AWS_SHARED_CREDENTIALS_FILE: "/nonexistent",
  NO_COLOR: "1",
  FORCE_COLOR: undefined,
});
