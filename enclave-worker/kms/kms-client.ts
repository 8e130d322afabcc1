/**
 * Data keys from AWS KMS for this enclave alone: `Decrypt` and `GenerateDataKey` with `Recipient`, so that KMS answers
 * with a blob for this boot's key pair instead of a plaintext, and only after it has judged the attestation document by
 * the key's policy.
 *
 * What is not believed: the parent, which relays the connection (TLS ends here and the server proves its name) and
 * brings the credentials (they buy a call, not a key: the answer must name the configured key, so that another account's
 * KMS opens nothing), and a data key by itself (`cms.ts`: the ciphertexts under it authenticate it).
 */

import type { Duplex } from "node:stream";
import { DecryptCommand, GenerateDataKeyCommand } from "@aws-sdk/client-kms";
import { quote } from "#protocol/bytes.ts";
import { SignerError } from "#protocol/errors.ts";
import { type KeyArn, parseKeyArn } from "#protocol/sealed/key-arn.ts";
import { openAnswer } from "./answer.ts";
import { kmsError } from "./kms-errors.ts";
import type { Recipient } from "./recipient.ts";
import { type RetryBounds, type RetryModules, withRetries } from "./retry.ts";
import { type AwsCredentials, createSdkClient } from "./sdk.ts";
import { TlsAgent } from "./tls-agent.ts";

/** Settings that come from the sealed configuration, and from nowhere else. */
export interface KmsClientOptions {
  /** ARN of the KMS key; names region and account. */
  readonly keyArn: string;
  /** `https://host[:port]` instead of AWS's own endpoint of the region: a simulator, or a VPC endpoint. */
  readonly endpoint?: string | undefined;
  /** CA certificates in PEM instead of Node's roots, for a simulator. */
  readonly ca?: string | undefined;
  readonly bounds?: Partial<RetryBounds> | undefined;
}

/** What the client works with. */
export interface KmsClientModules extends RetryModules {
  readonly recipient: Recipient;
  /** A stream to the endpoint through the parent. */
  readonly connect: () => Promise<Duplex>;
}

/** Names that KMS authenticates with the ciphertext; it writes them to the account's audit log, so nothing secret. */
export type EncryptionContext = Readonly<Record<string, string>>;

/** Calls with the credentials of one unseal. */
export interface KmsSession {
  /**
   * Opens a wrapped data key; the caller zeroises it.
   * @throws KmsError; SignerError `bad_request` for an impossible argument, `protocol_violation` for an answer that is
   *   not KMS's
   */
  decryptDataKey(wrapped: Uint8Array, context: EncryptionContext): Promise<Uint8Array>;
  /** A new data key and its wrapped form; the caller zeroises the key. Errors as above. */
  generateDataKey(context: EncryptionContext): Promise<{ readonly dataKey: Uint8Array; readonly wrapped: Uint8Array }>;
  /** Ends calls and connections and forgets the credentials. */
  close(): void;
}

/** See the top of the file. */
export interface KmsClient {
  readonly keyArn: string;
  /** Where the parent must relay to. */
  readonly host: string;
  readonly port: number;
  session(credentials: AwsCredentials): KmsSession;
}

/** Longest `CiphertextBlob` in bytes (AWS KMS API reference, Decrypt). */
export const WRAPPED_KEY_BYTES_MAX = 6144;

/**
 * A call takes tens of milliseconds. Five attempts within 15 s outlast a second of throttling and a proxy that is being
 * restarted; more would hide a fault from the parent, which begins anew by itself.
 */
const BOUNDS: RetryBounds = { attemptsMax: 5, attemptTimeoutMs: 4_000, deadlineMs: 15_000 };
const CONNECT_TIMEOUT_MS = 3_000;
const PORT_HTTPS = 443;
const RECIPIENT_ALGORITHM = "RSAES_OAEP_SHA_256";

/**
 * Makes the client.
 * @throws SignerError `bad_request` when the key ARN or the endpoint is not one
 */
export const createKmsClient = (options: KmsClientOptions, modules: KmsClientModules): KmsClient => {
  const key = parseKeyArn(options.keyArn);
  const endpoint = endpointOf(key, options.endpoint);
  return {
    keyArn: key.arn,
    host: hostOf(endpoint),
    port: endpoint.port === "" ? PORT_HTTPS : Number(endpoint.port),
    session: (credentials) => openSession({ key, endpoint, credentials, options }, modules),
  };
};

/** An IPv6 address without its brackets. */
const hostOf = ({ hostname }: URL): string => hostname.replace(/^\[(.*)\]$/, "$1");

const endpointOf = (key: KeyArn, given: string | undefined): URL => {
  if (given === undefined) {
    if (key.host !== undefined) return new URL(`https://${key.host}`);
    throw new SignerError("bad_request", `KMS key ${key.arn}: its partition is not known here, name the endpoint`);
  }
  const url = URL.canParse(given) ? new URL(given) : undefined;
  if (
    url?.protocol !== "https:" ||
    url.username !== "" ||
    url.search !== "" ||
    url.hash !== "" ||
    url.pathname !== "/"
  ) {
    throw new SignerError("bad_request", `KMS endpoint: expected https://host[:port], got ${quote(given)}`);
  }
  return url;
};

interface SessionOptions {
  readonly key: KeyArn;
  readonly endpoint: URL;
  readonly credentials: AwsCredentials;
  readonly options: KmsClientOptions;
}

const openSession = (
  { key, endpoint, credentials, options }: SessionOptions,
  { recipient, connect, now, random }: KmsClientModules,
): KmsSession => {
  const connectTimeoutMs = CONNECT_TIMEOUT_MS;
  const agent = new TlsAgent({ host: hostOf(endpoint), ca: options.ca, connect, connectTimeoutMs });
  const client = createSdkClient({ region: key.region, endpoint: endpoint.origin, credentials, agent });
  const closing = new AbortController();
  const retry = {
    bounds: { ...BOUNDS, ...options.bounds },
    closed: closing.signal,
    modules: { now, random },
  };
  const attest = async () =>
    ({
      KeyEncryptionAlgorithm: RECIPIENT_ALGORITHM,
      AttestationDocument: await recipient.attestation(),
    }) as const;
  const common = (context: EncryptionContext) => ({ KeyId: key.arn, EncryptionContext: { ...context } });

  return {
    decryptDataKey: async (wrapped, context) => {
      if (wrapped.length === 0 || wrapped.length > WRAPPED_KEY_BYTES_MAX) {
        const expected = `expected 1..${WRAPPED_KEY_BYTES_MAX} bytes`;
        throw new SignerError("bad_request", `wrapped data key: ${expected}, got ${wrapped.length}`);
      }
      return withRetries(async (abortSignal) => {
        const command = new DecryptCommand({ ...common(context), CiphertextBlob: wrapped, Recipient: await attest() });
        const answer = await client.send(command, { abortSignal });
        return openAnswer(answer, { keyArn: key.arn, recipient });
      }, retry);
    },
    generateDataKey: (context) =>
      withRetries(async (abortSignal) => {
        const command = new GenerateDataKeyCommand({
          ...common(context),
          KeySpec: "AES_256",
          Recipient: await attest(),
        });
        const answer = await client.send(command, { abortSignal });
        const dataKey = openAnswer(answer, { keyArn: key.arn, recipient });
        const wrapped = answer.CiphertextBlob;
        if (wrapped instanceof Uint8Array && wrapped.length > 0 && wrapped.length <= WRAPPED_KEY_BYTES_MAX) {
          return { dataKey, wrapped };
        }
        dataKey.fill(0);
        throw kmsError("bad_answer", `expected a wrapped data key of 1..${WRAPPED_KEY_BYTES_MAX} bytes`);
      }, retry),
    close: () => {
      closing.abort();
      client.destroy();
    },
  };
};
