/**
 * Items of the table: partition key `group`, sort key `pubkey`, both text; bytes are binary attributes.
 *
 * | `pubkey` | other attributes | |
 * |---|---|---|
 * | `0x…` (48 bytes) | `bundle` 16 bytes, `sealed` 60 bytes | a live key |
 * | `0x…` (48 bytes) | `removedAt` seconds since 1970 | a tombstone: the key was removed and stays so |
 * | `bundle#<32 hex digits>` | `header` | header of a key bundle, encoded |
 * | `config#current` | `version`, `document`, `signature`, `secretsHeader`, `sealedSecrets` | the configuration |
 *
 * Readers are total: an item gives a value or a reason. They look at form alone; what is sealed in it, and for whom, is
 * judged in the enclave.
 */

import type { AttributeValue } from "@aws-sdk/client-dynamodb";
import { bytesEqual, fromHex, PUBKEY_BYTES, quote, toHex } from "#protocol/bytes.ts";
import { SignerError, toSignerError } from "#protocol/errors.ts";
import { CONFIGURATION_SIGNATURE_BYTES } from "#protocol/sealed/configuration.ts";
import { BUNDLE_ID_BYTES, decodeBundleHeader, U32_MAX } from "#protocol/sealed/header.ts";
import { CONFIGURATION_BYTES_MAX } from "#protocol/sealed/limits.ts";
import { SEALED_KEY_BYTES } from "#protocol/sealed/sealed-key.ts";
import { SEALED_SECRETS_BYTES_MAX } from "#protocol/sealed/sealed-secrets.ts";
import type { StoredConfiguration } from "./key-table.ts";

/** An item as the SDK has it. */
export type Item = Record<string, AttributeValue>;

/** The sort key of the configuration. */
export const CONFIGURATION_NAME = "config#current";
/** What sort keys of bundle headers begin with. */
export const BUNDLE_PREFIX = "bundle#";
/** What sort keys of validator keys begin with. */
export const PUBKEY_PREFIX = "0x";
/** Longest item (AWS "Quotas in Amazon DynamoDB": 400 KB, of 1024 bytes). */
export const ITEM_BYTES_MAX = 400 * 1024;
/** Two lengths, two keys, a group, an ARN of at most 2048 characters, a wrapped key of 6144 bytes. */
const HEADER_BYTES_MAX = 8 * 1024 + 512;

/** What stands under a public key. */
export type KeyEntry =
  | { readonly kind: "live"; readonly pubkey: Uint8Array; readonly bundleHex: string; readonly sealed: Uint8Array }
  | { readonly kind: "removed"; readonly pubkey: Uint8Array; readonly removedAtSeconds: number };

/** Both parts of an item's key. */
export const itemKey = (group: string, name: string): Item => ({ group: { S: group }, pubkey: { S: name } });

/** The sort key of a bundle's header. @param bundleId 16 bytes */
export const bundleName = (bundleId: Uint8Array): string => `${BUNDLE_PREFIX}${toHex(bundleId).slice(2)}`;

/** The item of a live key. */
export const keyItem = (
  group: string,
  { pubkey, bundleId, sealed }: { pubkey: Uint8Array; bundleId: Uint8Array; sealed: Uint8Array },
): Item => ({ ...itemKey(group, toHex(pubkey)), bundle: { B: bundleId }, sealed: { B: sealed } });

/** The item of a bundle's header. */
export const headerItem = (group: string, header: Uint8Array): Item => ({
  ...itemKey(group, bundleName(decodeBundleHeader(header).bundleId)),
  header: { B: header },
});

/** The item of the configuration. */
export const configurationItem = (group: string, version: number, stored: StoredConfiguration): Item => ({
  ...itemKey(group, CONFIGURATION_NAME),
  version: { N: String(version) },
  document: { B: stored.document },
  signature: { B: stored.signature },
  secretsHeader: { B: stored.secretsHeader },
  sealedSecrets: { B: stored.sealedSecrets },
});

/** The sort key of an item, for messages; a text that says so when there is none. */
export const nameOf = (item: Item): string => item.pubkey?.S ?? "an item without a sort key";

/** @throws SignerError `bad_request` saying what was expected */
export const readKeyItem = (item: Item): KeyEntry => {
  const name = nameOf(item);
  const pubkey = fromHex(name, PUBKEY_BYTES, "pubkey");
  if (name !== toHex(pubkey)) throw wrong("pubkey: expected lower-case hex");
  if (item.removedAt !== undefined) {
    if (item.sealed !== undefined) throw wrong("expected sealed or removedAt, got both");
    return { kind: "removed", pubkey, removedAtSeconds: readNumber(item, "removedAt", Number.MAX_SAFE_INTEGER) };
  }
  const bundleHex = toHex(readBytes(item, "bundle", { min: BUNDLE_ID_BYTES, max: BUNDLE_ID_BYTES })).slice(2);
  return { kind: "live", pubkey, bundleHex, sealed: readBytes(item, "sealed", SEALED_KEY_LENGTH) };
};

/** The encoded header and its bundle's id. @throws SignerError `bad_request` saying what was expected */
export const readHeaderItem = (item: Item): { readonly bundleHex: string; readonly header: Uint8Array } => {
  const header = readBytes(item, "header", { min: 1, max: HEADER_BYTES_MAX });
  const { bundleId, kind } = decodeBundleHeader(header);
  if (kind !== "keys") throw wrong(`header: expected one of keys, got one of ${kind}`);
  if (nameOf(item) !== bundleName(bundleId)) throw wrong(`header: it is that of ${bundleName(bundleId)}`);
  return { bundleHex: toHex(bundleId).slice(2), header };
};

/** @throws SignerError `bad_request` saying what was expected */
export const readConfigurationItem = (item: Item): StoredConfiguration & { readonly version: number } => {
  try {
    return {
      version: readNumber(item, "version", U32_MAX),
      document: readBytes(item, "document", { min: 1, max: CONFIGURATION_BYTES_MAX }),
      signature: readBytes(item, "signature", {
        min: CONFIGURATION_SIGNATURE_BYTES,
        max: CONFIGURATION_SIGNATURE_BYTES,
      }),
      secretsHeader: readBytes(item, "secretsHeader", { min: 1, max: HEADER_BYTES_MAX }),
      sealedSecrets: readBytes(item, "sealedSecrets", { min: 1, max: SEALED_SECRETS_BYTES_MAX }),
    };
  } catch (error) {
    throw new SignerError("bad_request", `${CONFIGURATION_NAME}: ${toSignerError(error).detail}`, { cause: error });
  }
};

/** Whether two items say the same. */
export const sameItem = (left: Item, right: Item): boolean => {
  const names = Object.keys(left);
  return (
    names.length === Object.keys(right).length &&
    names.every((name) => sameValue(left[name] as AttributeValue, right[name]))
  );
};

/**
 * Refuses what DynamoDB would, with a message that says why.
 * @throws SignerError `bad_request`
 */
export const checkItemSize = (item: Item): void => {
  const bytes = Object.entries(item).reduce((sum, [name, value]) => sum + Buffer.byteLength(name) + sizeOf(value), 0);
  if (bytes <= ITEM_BYTES_MAX) return;
  throw new SignerError("bad_request", `${nameOf(item)}: expected at most ${ITEM_BYTES_MAX} bytes, got ${bytes}`);
};

const SEALED_KEY_LENGTH = { min: SEALED_KEY_BYTES, max: SEALED_KEY_BYTES };
/** A number takes at most 21 bytes (Amazon DynamoDB developer guide, "Item sizes and formats"). */
const NUMBER_BYTES = 21;

const sizeOf = ({ S, B, N }: AttributeValue): number => {
  if (S !== undefined) return Buffer.byteLength(S);
  if (B !== undefined) return B.length;
  return N === undefined ? ITEM_BYTES_MAX : NUMBER_BYTES; // no other type is ours
};

const sameValue = (left: AttributeValue, right: AttributeValue | undefined): boolean => {
  if (left.B !== undefined) return right?.B !== undefined && bytesEqual(left.B, right.B);
  return left.S === right?.S && left.N === right?.N;
};

const readBytes = (item: Item, name: string, { min, max }: { min: number; max: number }): Uint8Array => {
  const bytes = item[name]?.B;
  const expected = `expected ${min === max ? min : `${min}..${max}`} bytes`;
  if (!(bytes instanceof Uint8Array)) throw wrong(`${name}: ${expected}, got ${describe(item[name])}`);
  if (bytes.length < min || bytes.length > max) throw wrong(`${name}: ${expected}, got ${bytes.length}`);
  return bytes;
};

const readNumber = (item: Item, name: string, max: number): number => {
  const text = item[name]?.N;
  const value = text !== undefined && /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN;
  if (value >= 0 && value <= max) return value;
  throw wrong(`${name}: expected a number 0..${max}, got ${text === undefined ? describe(item[name]) : quote(text)}`);
};

const describe = (value: AttributeValue | undefined): string =>
  value === undefined ? "none" : `type ${Object.keys(value)[0] ?? "unknown"}`;

const wrong = (problem: string): SignerError => new SignerError("bad_request", problem);
