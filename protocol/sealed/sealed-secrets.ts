/**
 * The secrets of a configuration at rest: the MAC keys of slashing records and the store's password, AES-256-GCM under
 * a data key of their own.
 *
 *   plaintext       = sized MAC keys (`encodeMacKeys`) ‖ sized store password
 *   associated data = "testudo-sealed-secrets-v1" ‖ header without the wrapped data key
 *
 * That they open proves less than it seems: the enclave's RSA key is in its attestation document, so a parent can
 * forge a KMS answer that carries a data key of its own choice, and seal MAC keys that it knows. Therefore the signed
 * configuration document names the digest of the one ciphertext that belongs to it (`secretsDigest`), and `binding.ts`
 * compares it before anything is opened.
 */

import { createHash } from "node:crypto";
import { ByteReader, ByteWriter } from "../bytes.ts";
import { SignerError, toSignerError } from "../errors.ts";
import { PASSWORD_BYTES_MAX } from "../limits.ts";
import { decodeMacKeys, encodeMacKeys } from "../messages/control.ts";
import { MAC_BYTES, type MacKeys } from "../slashing/mac.ts";
import { openBytes, SEAL_OVERHEAD_BYTES, sealBytes } from "./aead.ts";
import { type BundleHeader, boundHeaderBytes } from "./header.ts";
import { MAC_KEYS_MAX } from "./limits.ts";

const DOMAIN = Buffer.from("testudo-sealed-secrets-v1");
const DIGEST_DOMAIN = Buffer.from("testudo-sealed-secrets-digest-v1");
/** MAC keys with ids, count and writing id; the password; two u32 lengths. */
const PLAINTEXT_BYTES_MAX = 4 + 2 + MAC_KEYS_MAX * (2 + MAC_BYTES) + 2 + 4 + PASSWORD_BYTES_MAX;
/** Length of a digest of sealed secrets in bytes (SHA-256). */
export const SECRETS_DIGEST_BYTES = 32;
/** Longest sealed secrets in bytes. */
export const SEALED_SECRETS_BYTES_MAX = PLAINTEXT_BYTES_MAX + SEAL_OVERHEAD_BYTES;

/** What a configuration keeps secret. */
export interface ConfigurationSecrets {
  /** Accepted MAC keys (1..16) and the one that writes. */
  readonly macKeys: MacKeys;
  /** UTF-8; empty: none. */
  readonly storePassword: Uint8Array;
}

/** What sealing and opening need. */
export interface SecretsBundle {
  /** Of kind `configuration-secrets`. */
  readonly header: BundleHeader;
  /** 32 bytes. */
  readonly dataKey: Uint8Array;
}

/** @throws SignerError `bad_request` when the header is of another kind or a secret is out of range */
export const sealSecrets = ({ header, dataKey }: SecretsBundle, secrets: ConfigurationSecrets): Uint8Array => {
  const associatedData = associatedDataOf(header);
  checkSecrets(secrets);
  const macKeys = encodeMacKeys(secrets.macKeys);
  const plaintext = new ByteWriter().sizedBytes(macKeys).sizedBytes(secrets.storePassword).finish();
  try {
    return sealBytes(dataKey, { plaintext, associatedData });
  } finally {
    macKeys.fill(0);
    plaintext.fill(0);
  }
};

/**
 * The secrets; the caller wipes them ({@link wipeSecrets}). Total.
 * @throws SignerError `bad_request`: of another kind of bundle, altered, or sealed under another data key
 */
export const openSecrets = ({ header, dataKey }: SecretsBundle, sealed: Uint8Array): ConfigurationSecrets => {
  const associatedData = associatedDataOf(header);
  if (sealed.length > SEALED_SECRETS_BYTES_MAX) {
    throw wrong(`expected at most ${SEALED_SECRETS_BYTES_MAX} bytes, got ${sealed.length}`);
  }
  const plaintext = openBytes(dataKey, { sealed, associatedData });
  if (plaintext === undefined) {
    throw wrong("cannot be opened: altered, or of another bundle or data key; seal the configuration again");
  }
  try {
    return decodeSecrets(plaintext);
  } finally {
    plaintext.fill(0);
  }
};

/** Wipes the keys and the password. */
export const wipeSecrets = ({ macKeys, storePassword }: ConfigurationSecrets): void => {
  for (const key of macKeys.macKeys.values()) key.fill(0);
  storePassword.fill(0);
};

/** SHA-256 over domain, header without the wrapped data key, and ciphertext: names exactly these sealed secrets. */
export const secretsDigestOf = (header: BundleHeader, sealed: Uint8Array): Uint8Array =>
  new Uint8Array(createHash("sha256").update(DIGEST_DOMAIN).update(boundHeaderBytes(header)).update(sealed).digest());

const associatedDataOf = (header: BundleHeader): Uint8Array => {
  if (header.kind === "configuration-secrets") return Buffer.concat([DOMAIN, boundHeaderBytes(header)]);
  throw new SignerError("bad_request", `bundle: expected one of configuration-secrets, got one of ${header.kind}`);
};

/** Authenticated, but by whoever sealed it: read as carefully as anything else. */
const decodeSecrets = (plaintext: Uint8Array): ConfigurationSecrets => {
  const secrets: { macKeys?: MacKeys; storePassword?: Uint8Array } = {};
  try {
    const reader = new ByteReader(plaintext, "sealed secrets");
    const encodedKeys = reader.sizedBytes("MAC keys");
    const macKeys = decodeMacKeys(encodedKeys);
    secrets.macKeys = macKeys;
    const storePassword = reader.sizedBytes("store password").slice();
    secrets.storePassword = storePassword;
    reader.end();
    if (encodedKeys.length !== 2 + macKeys.macKeys.size * (2 + MAC_BYTES) + 2) throw wrong("a MAC key id twice");
    const opened = { macKeys, storePassword };
    checkSecrets(opened);
    return opened;
  } catch (error) {
    for (const key of secrets.macKeys?.macKeys.values() ?? []) key.fill(0);
    secrets.storePassword?.fill(0);
    throw new SignerError("bad_request", toSignerError(error).detail, { cause: error });
  }
};

const checkSecrets = ({ macKeys: { macKeys, writingKeyId }, storePassword }: ConfigurationSecrets): void => {
  if (macKeys.size < 1 || macKeys.size > MAC_KEYS_MAX) {
    throw wrong(`MAC keys: expected 1..${MAC_KEYS_MAX}, got ${macKeys.size}`);
  }
  for (const [id, key] of macKeys) {
    if (!Number.isInteger(id) || id < 0 || id > 0xffff) throw wrong(`MAC key id: expected 0..65535, got ${id}`);
    if (key.length !== MAC_BYTES) throw wrong(`MAC key ${id}: expected ${MAC_BYTES} bytes, got ${key.length}`);
  }
  if (!macKeys.has(writingKeyId)) throw wrong(`writing MAC key: expected an accepted one, got id ${writingKeyId}`);
  if (storePassword.length > PASSWORD_BYTES_MAX) {
    throw wrong(`store password: expected at most ${PASSWORD_BYTES_MAX} bytes, got ${storePassword.length}`);
  }
};

const wrong = (problem: string): SignerError => new SignerError("bad_request", `sealed secrets: ${problem}`);
