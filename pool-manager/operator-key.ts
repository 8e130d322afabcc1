/**
 * The operator's Ed25519 key as files. In development its private half lies in the data folder; otherwise it stays with
 * the operator, offline, and only the public half comes here.
 */

import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { toHex } from "#protocol/bytes.ts";
import { SignerError } from "#protocol/errors.ts";

/** Where the development key of a data folder lies. */
export const developmentOperatorKeyPath = (dataPath: string): string => join(dataPath, "secrets", "operator.key");

/** Makes a key pair: PEM (PKCS #8) at `path`, mode 600. Never overwrites. @returns the public key as `0x` hex */
export const makeOperatorKey = (path: string): string => {
  const { privateKey } = generateKeyPairSync("ed25519");
  const pem = privateKey.export({ type: "pkcs8", format: "pem" });
  try {
    writeFileSync(path, pem, { mode: 0o600, flag: "wx", flush: true });
  } catch (cause) {
    throw new SignerError("bad_request", `${path}: cannot be written; an existing key is never replaced`, { cause });
  }
  return publicHexOf(privateKey);
};

/** The public key of a data folder's development key, as `0x` hex; makes the key when it is not there yet. */
export const ensureDevelopmentOperatorKey = (dataPath: string): string => {
  const path = developmentOperatorKeyPath(dataPath);
  return existsSync(path) ? readOperatorPublicKey(path) : makeOperatorKey(path);
};

/** The private key in a PEM file. @throws SignerError `bad_request` */
export const readOperatorPrivateKey = (path: string): KeyObject => {
  try {
    const key = createPrivateKey(readFileSync(path));
    if (key.asymmetricKeyType === "ed25519") return key;
  } catch (cause) {
    throw new SignerError("bad_request", `${path}: expected an Ed25519 private key in PEM`, { cause });
  }
  throw new SignerError("bad_request", `${path}: expected an Ed25519 key`);
};

/** The public key in a PEM file of either half, as `0x` hex. @throws SignerError `bad_request` */
export const readOperatorPublicKey = (path: string): string => {
  try {
    const key = createPublicKey(readFileSync(path));
    if (key.asymmetricKeyType === "ed25519") return publicHexOf(key);
  } catch (cause) {
    throw new SignerError("bad_request", `${path}: expected an Ed25519 key in PEM`, { cause });
  }
  throw new SignerError("bad_request", `${path}: expected an Ed25519 key`);
};

const publicHexOf = (key: KeyObject): string => {
  const publicKey = key.type === "private" ? createPublicKey(key) : key;
  return toHex(Buffer.from(publicKey.export({ format: "jwk" }).x as string, "base64url"));
};
