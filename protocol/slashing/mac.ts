/**
 * The MAC keys of records and markers: one key writes, a set of keys is accepted, so that keys can rotate (add before
 * switching, switch before retiring). Raw key bytes are copied into `KeyObject`s at once; the caller may zeroise its own.
 */

import { createHmac, createSecretKey, type KeyObject, timingSafeEqual } from "node:crypto";
import { SignerError } from "../errors.ts";

/** Length of a MAC key and of an HMAC-SHA-256 in bytes (RFC 2104: a key of the hash's output length). */
export const MAC_BYTES = 32;
/** Highest MAC key id: it travels as u16. */
const MAC_KEY_ID_MAX = 0xffff;

/** The accepted keys by id (0..65535), 32 bytes each, and the id of the one that writes. */
export interface MacKeys {
  readonly macKeys: ReadonlyMap<number, Uint8Array>;
  readonly writingKeyId: number;
}

/** Computes and compares MACs under the keys of one configuration. */
export interface MacKeyring {
  readonly writingKeyId: number;
  /** HMAC-SHA-256 of `message` under the writing key, 32 bytes. */
  sign(message: Uint8Array): Uint8Array;
  /** Undefined when `mac` is the MAC of `message` under key `keyId`; otherwise what is wrong. */
  problem(keyId: number, message: Uint8Array, mac: Uint8Array): string | undefined;
}

/**
 * Makes a keyring.
 * @throws SignerError `bad_request` when an id or key length is out of range or the writing key is not among the keys.
 */
export const createMacKeyring = ({ macKeys, writingKeyId }: MacKeys): MacKeyring => {
  const keys = new Map<number, KeyObject>();
  for (const [id, key] of macKeys) {
    if (!Number.isInteger(id) || id < 0 || id > MAC_KEY_ID_MAX) {
      throw new SignerError("bad_request", `MAC key id: expected 0..${MAC_KEY_ID_MAX}, got ${id}`);
    }
    if (key.length !== MAC_BYTES) {
      throw new SignerError("bad_request", `MAC key ${id}: expected ${MAC_BYTES} bytes, got ${key.length}`);
    }
    keys.set(id, createSecretKey(key));
  }
  const writingKey = keys.get(writingKeyId);
  if (writingKey === undefined) {
    throw new SignerError("bad_request", `writing MAC key: expected one of the accepted keys, got id ${writingKeyId}`);
  }
  return {
    writingKeyId,
    sign: (message) => hmac(writingKey, message),
    problem: (keyId, message, mac) => {
      const key = keys.get(keyId);
      if (key === undefined) return `MAC key id ${keyId} is not accepted`;
      if (mac.length !== MAC_BYTES || !timingSafeEqual(hmac(key, message), mac)) return "MAC does not match";
      return undefined;
    },
  };
};

const hmac = (key: KeyObject, message: Uint8Array): Buffer => createHmac("sha256", key).update(message).digest();
