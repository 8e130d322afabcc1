/**
 * The key table of AWS's "Guidance for Secure Blockchain Validation using AWS Nitro Enclaves": partition key
 * `web3signer_uuid`, sort key `pubkey` (hex without 0x), `active`, and `encrypted_key_password_mnemonic_b64`, which is a
 * KMS ciphertext (no encryption context) in Base64 of JSON with `keystore_b64`, `password_b64` and `mnemonic_b64`.
 * The mnemonic is not taken over, and nothing in that table is changed.
 */

import { type AttributeValue, QueryCommand } from "@aws-sdk/client-dynamodb";
import { KmsError } from "#enclave/kms/kms-errors.ts";
import type { DynamoSession } from "#pool-manager/keys/dynamo-client.ts";
import { fromHex, PUBKEY_BYTES, quote, toHex } from "#protocol/bytes.ts";
import { SignerError, toSignerError } from "#protocol/errors.ts";
import { KEYS_MAX, KEYSTORE_BYTES_MAX, PASSWORD_BYTES_MAX } from "#protocol/limits.ts";
import { FatalFailure, type ImportListing, type ImportSource } from "./import-keystores.ts";
import type { OperatorKms } from "./operator-kms.ts";

/** Which rows. */
export interface GuidanceOptions {
  /** The `web3signer_uuid` that the keys are assigned to. */
  readonly uuid: string;
  /** Whether rows come too whose `active` is not true. */
  readonly inactive: boolean;
}

/** What was found. */
export interface GuidanceListing extends ImportListing {
  /** Rows that were left out because they are not active. */
  readonly inactive: number;
}

/** A row of some 3 KB: a page of 1 MB has three hundred. */
const PAGES_MAX = Math.ceil(KEYS_MAX / 100);
/** Longest ciphertext of KMS (AWS KMS API reference, `Decrypt`). */
const CIPHERTEXT_BYTES_MAX = 6144;

/** Lists the rows; each is opened when it is read. @throws SignerError when the table cannot be read, or holds none */
export const listGuidanceKeys = async (
  { uuid, inactive }: GuidanceOptions,
  { session, kms }: { readonly session: DynamoSession; readonly kms: Pick<OperatorKms, "decrypt"> },
): Promise<GuidanceListing> => {
  const sources: ImportSource[] = [];
  const failures: { name: string; reason: string }[] = [];
  let leftOut = 0;
  for await (const row of readRows(session, uuid)) {
    const name = row.pubkey?.S ?? "a row without a pubkey";
    if (!inactive && row.active?.BOOL !== true) {
      leftOut += 1;
      continue;
    }
    try {
      sources.push(readRow(name, row, kms));
    } catch (error) {
      failures.push({ name, reason: toSignerError(error).detail });
    }
  }
  if (sources.length + failures.length + leftOut > 0) return { sources, failures, inactive: leftOut };
  throw new SignerError("bad_request", `table ${session.options.table}: there is no web3signer_uuid ${quote(uuid)}`);
};

type Row = Record<string, AttributeValue>;

async function* readRows(session: DynamoSession, uuid: string): AsyncGenerator<Row> {
  let after: Row | undefined;
  for (let page = 1; page <= PAGES_MAX; page += 1) {
    const command = new QueryCommand({
      TableName: session.options.table,
      KeyConditionExpression: "web3signer_uuid = :uuid",
      ExpressionAttributeValues: { ":uuid": { S: uuid } },
      ConsistentRead: true,
      ...(after !== undefined && { ExclusiveStartKey: after }),
    });
    const answer = await session.call(`reading page ${page}`, (call) => session.client.send(command, call));
    yield* answer.Items ?? [];
    after = answer.LastEvaluatedKey;
    if (after === undefined) return;
  }
  throw new SignerError("unavailable", `table ${session.options.table}: expected at most ${PAGES_MAX} pages`);
}

const readRow = (name: string, row: Row, kms: Pick<OperatorKms, "decrypt">): ImportSource => {
  const pubkeyHex = toHex(fromHex(name, PUBKEY_BYTES, "pubkey"));
  const text = row.encrypted_key_password_mnemonic_b64?.S;
  const ciphertext = fromBase64(text, "encrypted_key_password_mnemonic_b64", CIPHERTEXT_BYTES_MAX);
  return {
    name,
    pubkeyHex,
    read: async () => {
      const plaintext = await open(kms, ciphertext);
      try {
        return readPlaintext(plaintext);
      } finally {
        plaintext.fill(0);
      }
    },
  };
};

const open = async (kms: Pick<OperatorKms, "decrypt">, ciphertext: Uint8Array): Promise<Uint8Array> => {
  try {
    return await kms.decrypt(ciphertext);
  } catch (cause) {
    const { reason = undefined } = cause instanceof KmsError ? cause : {};
    if (reason === "invalid_ciphertext" || reason === "incorrect_key") {
      throw new SignerError("bad_request", "expected a ciphertext of the guidance's KMS key: altered, or of another", {
        cause,
      });
    }
    throw new FatalFailure("decrypt", { cause });
  }
};

/** Quotes nothing: it is all secret. */
const readPlaintext = (plaintext: Uint8Array): { keystore: Uint8Array; password: Uint8Array } => {
  let json: { keystore_b64?: unknown; password_b64?: unknown };
  try {
    json = (JSON.parse(Buffer.from(plaintext).toString("utf8")) ?? {}) as typeof json;
  } catch {
    throw new SignerError("bad_request", "expected JSON with keystore_b64 and password_b64");
  }
  return {
    keystore: fromBase64(json.keystore_b64, "keystore_b64", KEYSTORE_BYTES_MAX),
    password: fromBase64(json.password_b64, "password_b64", PASSWORD_BYTES_MAX),
  };
};

const fromBase64 = (text: unknown, name: string, bytesMax: number): Uint8Array => {
  const isBase64 = typeof text === "string" && /^[A-Za-z0-9+/]+={0,2}$/.test(text) && text.length <= bytesMax * 2;
  const bytes = isBase64 ? new Uint8Array(Buffer.from(text, "base64")) : new Uint8Array();
  if (bytes.length > 0 && bytes.length <= bytesMax) return bytes;
  throw new SignerError("bad_request", `${name}: expected 1..${bytesMax} bytes in Base64`);
};
