/**
 * New data keys on an operator's own machine: KMS `GenerateDataKey`, without attestation. The key policy lets operators
 * make data keys and nobody but an attested enclave open them again.
 */

import { DecryptCommand, GenerateDataKeyCommand, KMSClient } from "@aws-sdk/client-kms";
import { toAttemptFailure } from "#enclave/kms/kms-errors.ts";
import { SignerError } from "#protocol/errors.ts";
import type { EncryptionContext } from "#protocol/sealed/header.ts";
import { parseKeyArn } from "#protocol/sealed/key-arn.ts";
import { DATA_KEY_BYTES, WRAPPED_KEY_BYTES_MAX } from "#protocol/sealed/limits.ts";

/** Which KMS key, and where. */
export interface OperatorKmsOptions {
  readonly keyArn: string;
  /** Instead of AWS's own endpoint of the key's region. */
  readonly endpoint?: string | undefined;
  /** CA certificates in PEM instead of Node's roots. */
  readonly ca?: string | undefined;
}

/** Makes data keys. */
export interface OperatorKms {
  /** A new data key (32 bytes; the caller wipes it) and its wrapped form. @throws SignerError */
  newDataKey(context: EncryptionContext): Promise<{ readonly dataKey: Uint8Array; readonly wrapped: Uint8Array }>;
  /**
   * The plaintext of what was encrypted under the key without attestation or context, as the AWS guidance did; the caller
   * wipes it. Nothing that Testudo seals can be opened so.
   * @throws SignerError; KmsError with its reason
   */
  decrypt(ciphertext: Uint8Array): Promise<Uint8Array>;
  close(): void;
}

/** KMS answers within some tens of ms; five attempts of the SDK outlast seconds of throttling. */
const ATTEMPTS_MAX = 5;
const DEADLINE_MS = 20_000;
const CONNECTION_TIMEOUT_MS = 3_000;
const ATTEMPT_TIMEOUT_MS = 5_000;

/** @throws SignerError `bad_request` when the ARN is none */
export const createOperatorKms = ({ keyArn, endpoint, ca }: OperatorKmsOptions): OperatorKms => {
  const { region, arn } = parseKeyArn(keyArn);
  const client = new KMSClient({
    region,
    ...(endpoint !== undefined && { endpoint }),
    maxAttempts: ATTEMPTS_MAX,
    requestHandler: {
      connectionTimeout: CONNECTION_TIMEOUT_MS,
      requestTimeout: ATTEMPT_TIMEOUT_MS,
      throwOnRequestTimeout: true,
      ...(ca !== undefined && { httpsAgent: { ca } }),
    },
  });
  return {
    newDataKey: async (context) => {
      const command = new GenerateDataKeyCommand({
        KeyId: arn,
        KeySpec: "AES_256",
        EncryptionContext: { ...context },
      });
      const answer = await underDeadline((abortSignal) => client.send(command, { abortSignal }));
      const dataKey = answer.Plaintext ?? new Uint8Array();
      const wrapped = answer.CiphertextBlob ?? new Uint8Array();
      const whole = dataKey.length === DATA_KEY_BYTES && wrapped.length > 0 && wrapped.length <= WRAPPED_KEY_BYTES_MAX;
      if (whole && answer.KeyId === arn) return { dataKey, wrapped };
      dataKey.fill(0);
      throw new SignerError("protocol_violation", `KMS: expected a data key under ${arn}, got something else`);
    },
    decrypt: async (ciphertext) => {
      const command = new DecryptCommand({ KeyId: arn, CiphertextBlob: ciphertext });
      const { Plaintext, KeyId } = await underDeadline((abortSignal) => client.send(command, { abortSignal }));
      if (Plaintext !== undefined && KeyId === arn) return Plaintext;
      Plaintext?.fill(0);
      throw new SignerError("protocol_violation", `KMS: expected a plaintext under ${arn}, got something else`);
    },
    close: () => client.destroy(),
  };
};

const underDeadline = async <Answer>(send: (abortSignal: AbortSignal) => Promise<Answer>): Promise<Answer> => {
  const abortSignal = AbortSignal.timeout(DEADLINE_MS);
  try {
    return await send(abortSignal);
  } catch (thrown) {
    if (abortSignal.aborted) {
      throw new SignerError("unavailable", `KMS: no answer within ${DEADLINE_MS} ms; check the route to it`);
    }
    if ((thrown as Error).name === "CredentialsProviderError") {
      throw new SignerError("unavailable", "KMS: no AWS credentials were found: role, profile or environment");
    }
    throw toAttemptFailure(thrown).error;
  }
};
