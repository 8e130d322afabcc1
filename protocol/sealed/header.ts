/**
 * The header of a bundle: what is sealed, for whom, and under which data key. A bundle is one KMS data key and all that
 * is sealed with it: at most `BUNDLE_KEYS_MAX` validator keys, or the secrets of one configuration.
 *
 *   0   u8   version, 1
 *   1   u8   kind (index in `BUNDLE_KINDS`)
 *   2   32   authority: the operator's Ed25519 public key
 *   34  16   store id
 *   50  u32  generation
 *   54  16   bundle id, random
 *   70  u8   length of the group, and the group in ASCII
 *       u16  length of the KMS key ARN, and the ARN in ASCII
 *       u16  length of the wrapped data key, and the wrapped data key
 *
 * Everything before the wrapped data key is bound to each ciphertext as associated data. The wrapped key is not: KMS
 * may wrap the same data key anew (ReEncrypt, rotation of the key material) and nothing has to be sealed again; a
 * foreign one gives another data key, which opens nothing.
 *
 * The codec is total and canonical: any bytes give a header or an error that names the field, and a header has one form.
 */

import { ByteReader, ByteWriter, quote, toHex } from "../bytes.ts";
import { SignerError } from "../errors.ts";
import { STORE_ID_BYTES } from "../slashing/record.ts";
import { WRAPPED_KEY_BYTES_MAX } from "./limits.ts";

/** What a bundle holds, in wire order: append only. */
export const BUNDLE_KINDS = ["keys", "configuration-secrets"] as const;
/** One of {@link BUNDLE_KINDS}. */
export type BundleKind = (typeof BUNDLE_KINDS)[number];

/** Length of an authority's Ed25519 public key in bytes (RFC 8032). */
export const AUTHORITY_BYTES = 32;
/** Length of a bundle id in bytes: random, so no two bundles share one. */
export const BUNDLE_ID_BYTES = 16;
/** Largest generation and configuration version; both travel as u32, the first is 1. */
export const U32_MAX = 0xffff_ffff;

/** What a bundle says about itself. */
export interface BundleHeader {
  readonly kind: BundleKind;
  /** 32 bytes. Its keys load only under a configuration that this authority signed. */
  readonly authority: Uint8Array;
  /** The fleet, 1..64 of `[a-z0-9-]`. */
  readonly group: string;
  /** 16 bytes: the slashing store that protects these keys. */
  readonly storeId: Uint8Array;
  /** 1..2^32-1; a new generation retires the encryption context of the old one in the KMS key policy. */
  readonly generation: number;
  /** 16 random bytes. */
  readonly bundleId: Uint8Array;
  /** `arn:aws:kms:<region>:<account>:key/<id>`. */
  readonly kmsKeyArn: string;
  /** KMS `CiphertextBlob` of the data key, 1..6144 bytes. */
  readonly wrappedDataKey: Uint8Array;
}

const VERSION = 1;
const GROUP = /^[a-z0-9-]{1,64}$/;
/** AWS "Amazon resource names (ARNs)" and KMS developer guide "Key ARN"; no alias, for an alias can be moved to another key. */
const KMS_KEY_ARN = /^arn:aws(?:-[a-z]{1,16}){0,3}:kms:[a-z0-9-]{1,32}:[0-9]{12}:key\/[A-Za-z0-9-]{1,128}$/;

/** @throws SignerError `bad_request` naming the field that is out of range */
export const encodeBundleHeader = (header: BundleHeader): Uint8Array => {
  const { wrappedDataKey } = header;
  if (wrappedDataKey.length < 1 || wrappedDataKey.length > WRAPPED_KEY_BYTES_MAX) {
    throw wrong(`wrapped data key: expected 1..${WRAPPED_KEY_BYTES_MAX} bytes, got ${wrappedDataKey.length}`);
  }
  const writer = new ByteWriter().bytes(boundHeaderBytes(header)).u16(wrappedDataKey.length).bytes(wrappedDataKey);
  return new Uint8Array(writer.finish());
};

/** The part of a header that each ciphertext of the bundle is bound to. @throws SignerError `bad_request` */
export const boundHeaderBytes = (header: BundleHeader): Uint8Array => {
  checkHeader(header);
  const writer = new ByteWriter()
    .u8(VERSION)
    .u8(BUNDLE_KINDS.indexOf(header.kind))
    .bytes(header.authority)
    .bytes(header.storeId)
    .u32(header.generation)
    .bytes(header.bundleId)
    .u8(header.group.length)
    .bytes(Buffer.from(header.group, "ascii"))
    .u16(header.kmsKeyArn.length)
    .bytes(Buffer.from(header.kmsKeyArn, "ascii"));
  return new Uint8Array(writer.finish());
};

/** Total. @throws SignerError `bad_request` naming the field and what was expected */
export const decodeBundleHeader = (bytes: Uint8Array): BundleHeader => {
  try {
    return decode(bytes);
  } catch (error) {
    if (error instanceof SignerError) throw new SignerError("bad_request", error.detail, { cause: error });
    throw error;
  }
};

const decode = (bytes: Uint8Array): BundleHeader => {
  const reader = new ByteReader(bytes, "bundle header");
  const version = reader.u8("version");
  if (version !== VERSION) throw wrong(`version: expected ${VERSION}, got ${version}: made by another Testudo`);
  const kindNumber = reader.u8("kind");
  const kind = BUNDLE_KINDS[kindNumber];
  if (kind === undefined) throw wrong(`kind: expected 0..${BUNDLE_KINDS.length - 1}, got ${kindNumber}`);
  const authority = reader.bytes(AUTHORITY_BYTES, "authority").slice();
  const storeId = reader.bytes(STORE_ID_BYTES, "store id").slice();
  const generation = reader.u32("generation");
  const bundleId = reader.bytes(BUNDLE_ID_BYTES, "bundle id").slice();
  // latin1 gives each byte a character of its own, so nothing outside ASCII can pass for something inside.
  const group = Buffer.from(reader.bytes(reader.u8("group length"), "group")).toString("latin1");
  const kmsKeyArn = Buffer.from(reader.bytes(reader.u16("KMS key ARN length"), "KMS key ARN")).toString("latin1");
  const wrappedLength = reader.u16("wrapped data key length");
  if (wrappedLength < 1 || wrappedLength > WRAPPED_KEY_BYTES_MAX) {
    throw wrong(`wrapped data key: expected 1..${WRAPPED_KEY_BYTES_MAX} bytes, got ${wrappedLength}`);
  }
  const wrappedDataKey = reader.bytes(wrappedLength, "wrapped data key").slice();
  reader.end();
  const header = { kind, authority, group, storeId, generation, bundleId, kmsKeyArn, wrappedDataKey };
  checkHeader(header);
  return header;
};

/** The KMS encryption context of a bundle's data key. Key policies name these pairs, and KMS logs them in the clear. */
export type EncryptionContext = Readonly<Record<`testudo:${string}`, string>>;

/** Follows from the header alone, so KMS opens the data key only as what the header says it is. */
export const encryptionContextOf = (header: BundleHeader): EncryptionContext => ({
  "testudo:kind": header.kind,
  "testudo:authority": toHex(header.authority),
  "testudo:group": header.group,
  "testudo:store-id": toHex(header.storeId),
  "testudo:generation": String(header.generation),
});

/** @throws SignerError `bad_request` unless `text` is the name of a group */
export const checkGroup = (text: string, what = "group"): string => {
  if (GROUP.test(text)) return text;
  throw new SignerError("bad_request", `${what}: expected 1..64 of a-z, 0-9 and -, got ${quote(text)}`);
};

/** @throws SignerError `bad_request` unless `text` is the ARN of a KMS key (of no alias) */
export const checkKmsKeyArn = (text: string, what = "KMS key ARN"): string => {
  if (KMS_KEY_ARN.test(text)) return text;
  const expected = "arn:aws:kms:<region>:<account>:key/<id>";
  throw new SignerError("bad_request", `${what}: expected ${expected}, got ${quote(text)}`);
};

const checkHeader = (header: Omit<BundleHeader, "wrappedDataKey">): void => {
  if (!BUNDLE_KINDS.includes(header.kind)) throw wrong(`kind: expected ${BUNDLE_KINDS.join(" or ")}`);
  checkLength(header.authority, { name: "authority", length: AUTHORITY_BYTES });
  checkLength(header.storeId, { name: "store id", length: STORE_ID_BYTES });
  checkLength(header.bundleId, { name: "bundle id", length: BUNDLE_ID_BYTES });
  if (!Number.isInteger(header.generation) || header.generation < 1 || header.generation > U32_MAX) {
    throw wrong(`generation: expected 1..${U32_MAX}, got ${header.generation}`);
  }
  checkGroup(header.group, "bundle header: group");
  checkKmsKeyArn(header.kmsKeyArn, "bundle header: KMS key ARN");
};

const checkLength = (bytes: Uint8Array, { name, length }: { name: string; length: number }): void => {
  if (bytes.length !== length) throw wrong(`${name}: expected ${length} bytes, got ${bytes.length}`);
};

const wrong = (problem: string): SignerError => new SignerError("bad_request", `bundle header: ${problem}`);
