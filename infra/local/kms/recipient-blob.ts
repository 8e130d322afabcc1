/**
 * `CiphertextForRecipient` as AWS KMS encodes it: CMS EnvelopedData (RFC 5652) for one RSA public key, with indefinite
 * lengths outside, definite ones for the recipient, and an encryptedContent in pieces. A real blob is compared with this
 * layout, tag by tag and length by length, in the tests.
 */

import { constants, createCipheriv, createHash, type KeyObject, publicEncrypt, randomBytes } from "node:crypto";
import {
  contextTag,
  definite,
  explicit,
  indefinite,
  nothing,
  octets,
  oid,
  sequence,
  smallInteger,
  TAG,
} from "../der.ts";

/** How the blob is encoded: as AWS does, or the same contents in DER with a primitive encryptedContent. */
export interface BlobEncoding {
  readonly form?: "aws" | "der";
  /** Longest piece of encryptedContent in bytes. */
  readonly pieceBytes?: number;
}

const PIECE_BYTES = 1000;
const CEK_BYTES = 32;
const IV_BYTES = 16;
const OID_ENVELOPED_DATA = "1.2.840.113549.1.7.3";
const OID_DATA = "1.2.840.113549.1.7.1";
const OID_RSAES_OAEP = "1.2.840.113549.1.1.7";
const OID_MGF1 = "1.2.840.113549.1.1.8";
const OID_SHA_256 = "2.16.840.1.101.3.4.2.1";
const OID_AES_256_CBC = "2.16.840.1.101.3.4.1.42";

/** Encrypts `plaintext` for an RSA public key. */
export const encryptForRecipient = (
  plaintext: Uint8Array,
  publicKey: KeyObject,
  { form = "aws", pieceBytes = PIECE_BYTES }: BlobEncoding = {},
): Buffer => {
  const cek = randomBytes(CEK_BYTES);
  const iv = randomBytes(IV_BYTES);
  const cipher = createCipheriv("aes-256-cbc", cek, iv);
  const content = Buffer.concat([cipher.update(plaintext), cipher.final()]);
  const key = { key: publicKey, padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: "sha256" };
  const recipient = recipientInfo(publicKey, publicEncrypt(key, cek));
  const constructed = form === "aws" ? indefinite : definite;
  const encryptedContent =
    form === "aws"
      ? indefinite(contextTag(0, "constructed"), ...pieces(content, pieceBytes).map(octets))
      : definite(contextTag(0, "primitive"), content);
  const algorithm = sequence(oid(OID_AES_256_CBC), octets(iv));
  const contentInfo = constructed(TAG.sequence, oid(OID_DATA), algorithm, encryptedContent);
  const enveloped = constructed(TAG.sequence, smallInteger(2), definite(TAG.set, recipient), contentInfo);
  return constructed(TAG.sequence, oid(OID_ENVELOPED_DATA), constructed(contextTag(0, "constructed"), enveloped));
};

/** KeyTransRecipientInfo; the key is named by the SHA-256 of its SubjectPublicKeyInfo, as AWS does. */
const recipientInfo = (publicKey: KeyObject, encryptedKey: Uint8Array): Buffer => {
  const spki = publicKey.export({ type: "spki", format: "der" });
  const identifier = createHash("sha256").update(spki).digest();
  const sha256 = sequence(oid(OID_SHA_256), nothing());
  const parameters = sequence(explicit(0, sha256), explicit(1, sequence(oid(OID_MGF1), sha256)));
  return sequence(
    smallInteger(2),
    definite(contextTag(0, "primitive"), identifier),
    sequence(oid(OID_RSAES_OAEP), parameters),
    octets(encryptedKey),
  );
};

const pieces = (bytes: Buffer, length: number): Buffer[] =>
  Array.from({ length: Math.ceil(bytes.length / length) }, (_, index) =>
    bytes.subarray(index * length, (index + 1) * length),
  );
