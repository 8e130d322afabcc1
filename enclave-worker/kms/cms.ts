/**
 * Opens what KMS returns to an attested caller as `CiphertextForRecipient`: CMS EnvelopedData (RFC 5652 §6) in BER with
 * indefinite lengths and a constructed encryptedContent, as AWS encodes it. One recipient, RSA-OAEP with SHA-256
 * (RFC 8017 §7.1), content in AES-256-CBC (RFC 3565).
 *
 * CBC is not authenticated and the recipient's public key is no secret, so whoever can answer in KMS's place can make
 * such a blob. What opens here is therefore believed for nothing but as a key of authenticated encryption, whose
 * ciphertexts say the rest. How opening fails is not told: one code, one text, and the same work whether RSA, the
 * padding or the length was wrong.
 */

import { constants, createDecipheriv, type KeyObject, privateDecrypt, randomBytes } from "node:crypto";
import { ContentInfo, EnvelopedData, type KeyTransRecipientInfo } from "@peculiar/asn1-cms";
import { AsnParser } from "@peculiar/asn1-schema";
import { bytesEqual } from "#protocol/bytes.ts";
import { SignerError } from "#protocol/errors.ts";
import { assertOneBerValue } from "./ber.ts";

/** The key pair that the blob must be for, and what it must hold. */
export interface RecipientKey {
  readonly privateKey: KeyObject;
  /** SHA-256 of the public key's SubjectPublicKeyInfo in DER; KMS names the recipient by it. */
  readonly keyIdentifier: Uint8Array;
}

/**
 * Longest accepted blob in bytes (AWS KMS API reference, Decrypt: `CiphertextForRecipient`, at most 6144). A real one of
 * a 32-byte data key has 493.
 */
export const RECIPIENT_CIPHERTEXT_BYTES_MAX = 6144;

/** A real blob has 30 values, 11 deep; the pieces of a longer encryptedContent are more. */
const BOUNDS = { depthMax: 16, valuesMax: 64, what: "CiphertextForRecipient" } as const;

const OID_ENVELOPED_DATA = "1.2.840.113549.1.7.3";
const OID_DATA = "1.2.840.113549.1.7.1";
const OID_RSAES_OAEP = "1.2.840.113549.1.1.7";
const OID_AES_256_CBC = "2.16.840.1.101.3.4.1.42";
/** RFC 5652 §6.1, §6.2.1: 2 where the recipient is named by a key identifier. */
const VERSION = 2;

/**
 * RSAES-OAEP-params (RFC 8017 §A.2.1) in DER: SHA-256, MGF1 with SHA-256, no label. The NULL parameters of SHA-256 may
 * be there, as KMS writes them, or not (RFC 5754 §2).
 */
const OAEP_SHA_256 = [
  "302fa00f300d06096086480165030402010500a11c301a06092a864886f70d010108300d06096086480165030402010500",
  "302ba00d300b0609608648016503040201a11a301806092a864886f70d010108300b0609608648016503040201",
].map((hex) => Buffer.from(hex, "hex"));

const CEK_BYTES = 32;
const BLOCK_BYTES = 16;
/** The initialisation vector is an OCTET STRING of one block (RFC 3565 §2.2): two bytes, then it. */
const IV_HEADER = Buffer.from([0x04, BLOCK_BYTES]);

/**
 * Opens a blob that must hold exactly `plaintextBytes` bytes; the caller zeroises them.
 * @throws SignerError `protocol_violation`: the structure is not KMS's, it is for another key, or it cannot be opened
 */
export const openRecipientCiphertext = (
  blob: Uint8Array,
  { recipientKey, plaintextBytes }: { readonly recipientKey: RecipientKey; readonly plaintextBytes: number },
): Uint8Array => {
  const envelope = parseEnvelope(blob, recipientKey.keyIdentifier);
  return openEnvelope(envelope, { privateKey: recipientKey.privateKey, plaintextBytes });
};

interface Envelope {
  readonly encryptedKey: Uint8Array;
  readonly iv: Uint8Array;
  readonly content: Uint8Array;
}

const unexpected = (what: string): SignerError =>
  new SignerError("protocol_violation", `CiphertextForRecipient: ${what}`);

const parseEnvelope = (blob: Uint8Array, keyIdentifier: Uint8Array): Envelope => {
  if (blob.length === 0 || blob.length > RECIPIENT_CIPHERTEXT_BYTES_MAX) {
    throw unexpected(`expected 1..${RECIPIENT_CIPHERTEXT_BYTES_MAX} bytes, got ${blob.length}`);
  }
  assertOneBerValue(blob, BOUNDS);
  const { recipientInfos, encryptedContentInfo, version, originatorInfo, unprotectedAttrs } = decode(blob);
  if (version !== VERSION) throw unexpected(`EnvelopedData: expected version ${VERSION}, got ${version}`);
  if (originatorInfo !== undefined || unprotectedAttrs !== undefined) {
    throw unexpected("EnvelopedData: expected neither originatorInfo nor unprotectedAttrs");
  }
  if (recipientInfos.length !== 1) throw unexpected(`expected one recipient, got ${recipientInfos.length}`);
  const recipient = recipientInfos[0]?.ktri;
  if (recipient === undefined) throw unexpected("expected a KeyTransRecipientInfo");
  checkRecipient(recipient, keyIdentifier);

  const { contentType, contentEncryptionAlgorithm, encryptedContent } = encryptedContentInfo;
  if (contentType !== OID_DATA) throw unexpected(`content type: expected ${OID_DATA} (data), got ${contentType}`);
  const { algorithm, parameters } = contentEncryptionAlgorithm;
  if (algorithm !== OID_AES_256_CBC) {
    throw unexpected(`content encryption: expected ${OID_AES_256_CBC} (AES-256-CBC), got ${algorithm}`);
  }
  const iv = bytesOf(parameters);
  if (iv.length !== IV_HEADER.length + BLOCK_BYTES || !bytesEqual(iv.subarray(0, IV_HEADER.length), IV_HEADER)) {
    throw unexpected(`content encryption: expected an initialisation vector of ${BLOCK_BYTES} bytes`);
  }
  const pieces = encryptedContent?.constructedValue ?? (encryptedContent?.value ? [encryptedContent.value] : []);
  const content = Buffer.concat(pieces.map(({ buffer }) => bytesOf(buffer)));
  if (content.length === 0 || content.length % BLOCK_BYTES !== 0) {
    throw unexpected(`encrypted content: expected blocks of ${BLOCK_BYTES} bytes, got ${content.length} bytes`);
  }
  return { encryptedKey: bytesOf(recipient.encryptedKey.buffer), iv: iv.subarray(IV_HEADER.length), content };
};

const bytesOf = (buffer: ArrayBuffer | null | undefined): Uint8Array => new Uint8Array(buffer ?? new ArrayBuffer(0));

/** The library throws errors of many kinds; what they say is about its own schemas. */
const decode = (blob: Uint8Array): EnvelopedData => {
  let contentType: string;
  try {
    const info = AsnParser.parse(blob, ContentInfo);
    if (info.contentType === OID_ENVELOPED_DATA) return AsnParser.parse(info.content, EnvelopedData);
    contentType = info.contentType;
  } catch (cause) {
    throw new SignerError("protocol_violation", "CiphertextForRecipient: expected CMS EnvelopedData (RFC 5652)", {
      cause,
    });
  }
  throw unexpected(`expected ${OID_ENVELOPED_DATA} (enveloped data), got ${contentType}`);
};

const checkRecipient = (recipient: KeyTransRecipientInfo, keyIdentifier: Uint8Array): void => {
  const { version, rid, keyEncryptionAlgorithm } = recipient;
  if (version !== VERSION) throw unexpected(`recipient: expected version ${VERSION}, got ${version}`);
  const { algorithm, parameters } = keyEncryptionAlgorithm;
  if (algorithm !== OID_RSAES_OAEP) {
    throw unexpected(`key encryption: expected ${OID_RSAES_OAEP} (RSAES-OAEP), got ${algorithm}`);
  }
  const given = bytesOf(parameters);
  if (!OAEP_SHA_256.some((accepted) => bytesEqual(accepted, given))) {
    throw unexpected("key encryption: expected SHA-256, MGF1 with SHA-256 and no label");
  }
  if (rid.subjectKeyIdentifier === undefined) throw unexpected("recipient: expected a subject key identifier");
  if (!bytesEqual(bytesOf(rid.subjectKeyIdentifier.buffer), keyIdentifier)) {
    throw unexpected("it is for another recipient key (this enclave's key lives as long as the enclave)");
  }
};

/** Does the same work whatever goes wrong, and tells nothing but that it did. */
const openEnvelope = (
  { encryptedKey, iv, content }: Envelope,
  { privateKey, plaintextBytes }: { readonly privateKey: KeyObject; readonly plaintextBytes: number },
): Uint8Array => {
  const wiped: Uint8Array[] = [];
  const keep = <T extends Uint8Array>(bytes: T): T => {
    wiped.push(bytes);
    return bytes;
  };
  let ok = true;
  const attempt = (work: () => Uint8Array): Uint8Array => {
    try {
      return keep(work());
    } catch {
      ok = false;
      return new Uint8Array(0);
    }
  };
  try {
    const opened = attempt(() =>
      privateDecrypt({ key: privateKey, padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: "sha256" }, encryptedKey),
    );
    if (opened.length !== CEK_BYTES) ok = false;
    const cek = opened.length === CEK_BYTES ? opened : keep(randomBytes(CEK_BYTES));
    const decipher = createDecipheriv("aes-256-cbc", cek, iv);
    const head = attempt(() => decipher.update(content));
    const tail = attempt(() => decipher.final());
    if (head.length + tail.length !== plaintextBytes) ok = false;
    if (!ok) throw unexpected("cannot be opened (altered or forged on the way, or of another length)");
    const plaintext = new Uint8Array(plaintextBytes);
    plaintext.set(head);
    plaintext.set(tail, head.length);
    return plaintext;
  } finally {
    for (const bytes of wiped) bytes.fill(0);
  }
};
