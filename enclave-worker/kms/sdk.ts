/**
 * The AWS SDK's KMS client, made so that everything it knows was handed to it: no profile files, no environment, no
 * instance metadata, no proxy, no retries of its own. Each setting below that looks like a default is there because the
 * SDK would otherwise ask a file or a variable for it.
 */

import { KMSClient } from "@aws-sdk/client-kms";
import { SignerError } from "#protocol/errors.ts";
import { kmsError } from "./kms-errors.ts";
import type { TlsAgent } from "./tls-agent.ts";

/** Credentials for one unseal, as the parent got them for its role. They are text because the SDK takes no bytes. */
export interface AwsCredentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken?: string | undefined;
}

/** Settings of a client. */
export interface SdkOptions {
  readonly region: string;
  /** `https://host[:port]`. */
  readonly endpoint: string;
  readonly credentials: AwsCredentials;
  readonly agent: TlsAgent;
}

/**
 * Longest answer in bytes: the largest has a ciphertext blob and a blob for the recipient of 6144 bytes each, in Base64,
 * and a kilobyte of names.
 */
export const ANSWER_BYTES_MAX = 32 * 1024;

const SILENT = { trace: () => {}, debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };

/** Makes the client; `destroy()` ends its connections. */
export const createSdkClient = ({ region, endpoint, credentials, agent }: SdkOptions): KMSClient => {
  const { accessKeyId, secretAccessKey, sessionToken } = credentials;
  const client = new KMSClient({
    region,
    endpoint,
    credentials: { accessKeyId, secretAccessKey, ...(sessionToken !== undefined && { sessionToken }) },
    credentialDefaultProvider: () => async () => {
      throw new SignerError("internal", "KMS: the SDK looked for credentials of its own");
    },
    authSchemePreference: ["aws.auth#sigv4"],
    defaultsMode: "standard",
    maxAttempts: 1,
    retryMode: "standard",
    useDualstackEndpoint: false,
    useFipsEndpoint: false,
    ignoreConfiguredEndpointUrls: true,
    disableClockSkewCorrection: false,
    // Who asks is KMS's to know from the credentials; Node's version and the platform are nobody's.
    defaultUserAgentProvider: async () => [["testudo-enclave"]],
    userAgentAppId: async () => undefined,
    logger: SILENT,
    requestHandler: { httpsAgent: agent, logger: SILENT },
    streamCollector: collectAnswer,
  });
  // It would copy a trace id from the environment into a header.
  client.middlewareStack.remove("recursionDetectionMiddleware");
  return client;
};

/** Reads an answer's body, and no more of it than an answer can have. */
const collectAnswer = async (stream: AsyncIterable<Uint8Array> & { destroy?(): void }): Promise<Uint8Array> => {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of stream) {
    length += chunk.length;
    if (length > ANSWER_BYTES_MAX) {
      throw kmsError("bad_answer", `expected an answer of at most ${ANSWER_BYTES_MAX} bytes`);
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks, length);
};
