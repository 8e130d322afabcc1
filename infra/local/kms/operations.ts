/** The operations of AWS KMS that sealing needs, each one as its API reference says. */

import { generateKeyPair, type KeyObject, randomBytes } from "node:crypto";
import { promisify } from "node:util";
import { type AttestationVerifier, type AttestedCaller, verifyCaller } from "./attestation.ts";
import { invalid, KmsFault } from "./errors.ts";
import { type Input, optionalNumber, optionalText, readContext, requiredBytes, requiredText } from "./input.ts";
import { type Context, decryptUnder, encryptUnder, type LocalKey, type LocalKeys } from "./keys.ts";
import { evaluatePolicy } from "./policy.ts";
import { encryptForRecipient } from "./recipient-blob.ts";

/** The operations, as `X-Amz-Target: TrentService.<operation>` names them. */
export const OPERATIONS = ["Encrypt", "Decrypt", "GenerateDataKey", "GenerateDataKeyPair", "DescribeKey"] as const;

/** One of {@link OPERATIONS}. */
export type Operation = (typeof OPERATIONS)[number];

/** A JSON answer. */
export type Answer = Record<string, unknown>;

/** What operations work on. */
export interface OperationModules {
  readonly keys: LocalKeys;
  readonly account: string;
  readonly verify: AttestationVerifier | undefined;
  readonly wallClock: () => number;
}

/** A request whose signature held. */
export interface OperationRequest {
  readonly input: Input;
  /** ARN of the caller. */
  readonly principal: string;
}

// AWS KMS API reference: Encrypt, Decrypt, GenerateDataKey, RecipientInfo.
const PLAINTEXT_BYTES_MAX = 4096;
const CIPHERTEXT_BYTES_MAX = 6144;
const DATA_KEY_BYTES_MAX = 1024;
const DOCUMENT_BYTES_MAX = 262_144;
const SYMMETRIC = "SYMMETRIC_DEFAULT";
const RECIPIENT_ALGORITHM = "RSAES_OAEP_SHA_256";

/**
 * Carries out an operation.
 * @throws KmsFault
 */
export const operate = (operation: Operation, request: OperationRequest, modules: OperationModules): Promise<Answer> =>
  HANDLERS[operation](request, modules);

type Handler = (request: OperationRequest, modules: OperationModules) => Promise<Answer>;

const encrypt: Handler = async (request, modules) => {
  const key = modules.keys.find(requiredText(request.input, "KeyId"));
  const plaintext = requiredBytes(request.input, "Plaintext", PLAINTEXT_BYTES_MAX);
  const context = readContext(request.input);
  authorize("Encrypt", { key, context, caller: undefined, principal: request.principal });
  return {
    KeyId: key.arn,
    CiphertextBlob: encryptUnder(key, context, plaintext).toString("base64"),
    EncryptionAlgorithm: SYMMETRIC,
  };
};

const decrypt: Handler = async (request, modules) => {
  const { input, principal } = request;
  const blob = requiredBytes(input, "CiphertextBlob", CIPHERTEXT_BYTES_MAX);
  const context = readContext(input);
  const caller = callerOf(input, modules);
  const key = modules.keys.ofCiphertext(blob);
  const named = optionalText(input, "KeyId");
  if (named !== undefined && modules.keys.find(named) !== key) {
    throw new KmsFault(
      "IncorrectKeyException",
      "The key ID in the request does not identify a CMK that can perform this operation.",
    );
  }
  authorize("Decrypt", { key, context, caller, principal });
  const plaintext = decryptUnder(key, context, blob);
  return { KeyId: key.arn, EncryptionAlgorithm: SYMMETRIC, ...secretField("Plaintext", plaintext, caller) };
};

const generateDataKey: Handler = async (request, modules) => {
  const { input, principal } = request;
  const key = modules.keys.find(requiredText(input, "KeyId"));
  const context = readContext(input);
  const caller = callerOf(input, modules);
  authorize("GenerateDataKey", { key, context, caller, principal });
  const plaintext = randomBytes(dataKeyBytes(input));
  const CiphertextBlob = encryptUnder(key, context, plaintext).toString("base64");
  return { KeyId: key.arn, CiphertextBlob, ...secretField("Plaintext", plaintext, caller) };
};

const generateDataKeyPair: Handler = async (request, modules) => {
  const { input, principal } = request;
  const key = modules.keys.find(requiredText(input, "KeyId"));
  const spec = requiredText(input, "KeyPairSpec");
  const context = readContext(input);
  const caller = callerOf(input, modules);
  authorize("GenerateDataKeyPair", { key, context, caller, principal });
  const { publicKey, privateKey } = await makePair(spec);
  const secret = privateKey.export({ type: "pkcs8", format: "der" });
  return {
    KeyId: key.arn,
    KeyPairSpec: spec,
    PublicKey: publicKey.export({ type: "spki", format: "der" }).toString("base64"),
    PrivateKeyCiphertextBlob: encryptUnder(key, context, secret).toString("base64"),
    ...secretField("PrivateKeyPlaintext", secret, caller),
  };
};

const describeKey: Handler = async ({ input, principal }, { keys, account }) => {
  const key = keys.find(requiredText(input, "KeyId"));
  assertAllowed("DescribeKey", { key, context: {}, caller: undefined, principal });
  return {
    KeyMetadata: {
      AWSAccountId: account,
      KeyId: key.id,
      Arn: key.arn,
      CreationDate: key.createdAtMs / 1000,
      Enabled: key.enabled,
      Description: "",
      KeyUsage: "ENCRYPT_DECRYPT",
      KeyState: key.enabled ? "Enabled" : "Disabled",
      Origin: "AWS_KMS",
      KeyManager: "CUSTOMER",
      CustomerMasterKeySpec: SYMMETRIC,
      KeySpec: SYMMETRIC,
      EncryptionAlgorithms: [SYMMETRIC],
      MultiRegion: false,
    },
  };
};

const HANDLERS = {
  Encrypt: encrypt,
  Decrypt: decrypt,
  GenerateDataKey: generateDataKey,
  GenerateDataKeyPair: generateDataKeyPair,
  DescribeKey: describeKey,
} as const satisfies Record<Operation, Handler>;

interface Use {
  readonly key: LocalKey;
  readonly context: Context;
  readonly caller: AttestedCaller | undefined;
  readonly principal: string;
}

/** Policy first, so that a caller without a right to the key does not learn its state. */
const authorize = (operation: Operation, use: Use): void => {
  assertAllowed(operation, use);
  if (!use.key.enabled) throw new KmsFault("DisabledException", `${use.key.arn} is disabled.`);
};

const assertAllowed = (operation: Operation, { key, context, caller, principal }: Use): void => {
  const action = `kms:${operation}`;
  const decision = evaluatePolicy(key.policy, { action, principal, encryptionContext: context, pcrs: caller?.pcrs });
  if (decision === "allow") return;
  const why =
    decision === "explicit deny"
      ? "with an explicit deny in a resource-based policy"
      : `because no resource-based policy allows the ${action} action`;
  const what = `User: ${principal} is not authorized to perform: ${action} on resource: ${key.arn}`;
  throw new KmsFault("AccessDeniedException", `${what} ${why}`);
};

const callerOf = (input: Input, { verify, wallClock }: OperationModules): AttestedCaller | undefined => {
  const recipient = input.Recipient;
  if (recipient === undefined || recipient === null) return undefined;
  if (typeof recipient !== "object") throw new KmsFault("SerializationException", "Recipient: expected an object");
  const algorithm = requiredText(recipient as Input, "KeyEncryptionAlgorithm");
  if (algorithm !== RECIPIENT_ALGORITHM) throw invalid(`KeyEncryptionAlgorithm: expected ${RECIPIENT_ALGORITHM}`);
  const document = requiredBytes(recipient as Input, "AttestationDocument", DOCUMENT_BYTES_MAX);
  return verifyCaller(document, { verify, nowMs: wallClock() });
};

/** The secret in clear, or for the attested caller alone. */
const secretField = (name: string, secret: Buffer, caller: AttestedCaller | undefined): Answer =>
  caller === undefined
    ? { [name]: secret.toString("base64") }
    : { [name]: "", CiphertextForRecipient: encryptForRecipient(secret, caller.publicKey).toString("base64") };

const dataKeyBytes = (input: Input): number => {
  const count = optionalNumber(input, "NumberOfBytes", { min: 1, max: DATA_KEY_BYTES_MAX });
  const spec = optionalText(input, "KeySpec");
  if ((count === undefined) === (spec === undefined))
    throw invalid("Please specify either number of bytes or key spec.");
  if (count !== undefined) return count;
  if (spec !== "AES_256" && spec !== "AES_128") throw invalid("KeySpec: expected AES_256 or AES_128");
  return spec === "AES_256" ? 32 : 16;
};

const generatePair = promisify(generateKeyPair);

const CURVES: ReadonlyMap<string, string> = new Map([
  ["ECC_NIST_P256", "P-256"],
  ["ECC_NIST_P384", "P-384"],
  ["ECC_NIST_P521", "P-521"],
  ["ECC_SECG_P256K1", "secp256k1"],
]);

const makePair = async (spec: string): Promise<{ publicKey: KeyObject; privateKey: KeyObject }> => {
  const bits = /^RSA_(2048|3072|4096)$/.exec(spec)?.[1];
  if (bits !== undefined) return generatePair("rsa", { modulusLength: Number(bits) });
  const namedCurve = CURVES.get(spec);
  if (namedCurve === undefined) throw invalid("KeyPairSpec: expected RSA_2048, …_4096 or an ECC_ curve of KMS");
  return generatePair("ec", { namedCurve });
};
