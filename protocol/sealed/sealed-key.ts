/**
 * A validator's secret key at rest: AES-256-GCM under its bundle's data key, 60 bytes.
 *
 *   associated data = "testudo-sealed-key-v1" ‖ header without the wrapped data key ‖ public key
 *
 * So a ciphertext is good for one public key in one bundle of one authority, group, store and generation. The header is
 * of self-delimiting fields and the key of fixed length: two different triples never give the same bytes.
 *
 * Nonces are random, 96 bits. With at most `BUNDLE_KEYS_MAX` = 1,000 uses of a data key, the chance that two of a
 * bundle are equal is below 1000² / 2^97 < 2^-77; SP 800-38D (8.3) asks for 2^-32 and allows 2^32 uses. The sealer
 * counts. A nonce used twice would reveal the XOR of two secret keys.
 *
 * GCM alone does not say that the secret belongs to the public key: whoever sealed it might have been mistaken. Both
 * ends derive the public key and compare. How is injected, because BLS lives in the enclave.
 */

import { bytesEqual, PUBKEY_BYTES, toHex } from "../bytes.ts";
import { SignerError } from "../errors.ts";
import { checkDataKey, openBytes, SEAL_OVERHEAD_BYTES, sealBytes } from "./aead.ts";
import { type BundleHeader, boundHeaderBytes } from "./header.ts";
import { BUNDLE_KEYS_MAX } from "./limits.ts";

/** Length of a BLS secret key in bytes (EIP-2333). */
const SECRET_BYTES = 32;
/** Length of a sealed key in bytes. */
export const SEALED_KEY_BYTES = SECRET_BYTES + SEAL_OVERHEAD_BYTES;

const DOMAIN = Buffer.from("testudo-sealed-key-v1");

/** The compressed public key (48 bytes) of a secret key; throws when the secret is none. */
export type DerivePubkey = (secret: Uint8Array) => Uint8Array;

/** What sealing and opening need. */
export interface KeyBundle {
  /** Of kind `keys`. */
  readonly header: BundleHeader;
  /** 32 bytes; copied, so the caller wipes its own. */
  readonly dataKey: Uint8Array;
  readonly derivePubkey: DerivePubkey;
}

/** Seals the keys of one bundle. */
export interface KeySealer {
  /**
   * Seals a secret key, {@link SEALED_KEY_BYTES} long; the secret stays the caller's to wipe.
   * @throws SignerError `bad_request` when the secret is not that of `pubkey` or the bundle is full
   */
  seal(pubkey: Uint8Array, secret: Uint8Array): Uint8Array;
  /** Wipes the data key. */
  close(): void;
}

/** Opens the keys of one bundle. */
export interface KeyOpener {
  /**
   * The secret key of `pubkey`, 32 bytes; the caller wipes it.
   * @throws SignerError `bad_request`: altered, of another key, bundle or data key, or not the secret of `pubkey`
   */
  open(pubkey: Uint8Array, sealed: Uint8Array): Uint8Array;
  /** Wipes the data key. */
  close(): void;
}

/**
 * @param sealedBefore keys that this data key has sealed already, in other runs
 * @throws SignerError `bad_request` when the header is not one of a key bundle
 */
export const createKeySealer = (bundle: KeyBundle, { sealedBefore = 0 } = {}): KeySealer => {
  const { key, associatedDataOf, derivePubkey, close } = prepare(bundle);
  let sealedKeys = sealedBefore;
  return {
    seal: (pubkey, secret) => {
      const associatedData = associatedDataOf(pubkey);
      checkPubkey({ pubkey, secret, derivePubkey, what: "key to seal" });
      if (sealedKeys >= BUNDLE_KEYS_MAX) {
        throw new SignerError("bad_request", `bundle: expected at most ${BUNDLE_KEYS_MAX} keys, begin another bundle`);
      }
      sealedKeys += 1;
      return sealBytes(key(), { plaintext: secret, associatedData });
    },
    close,
  };
};

/** @throws SignerError `bad_request` when the header is not one of a key bundle */
export const createKeyOpener = (bundle: KeyBundle): KeyOpener => {
  const { key, associatedDataOf, derivePubkey, close } = prepare(bundle);
  return {
    open: (pubkey, sealed) => {
      const associatedData = associatedDataOf(pubkey);
      if (sealed.length !== SEALED_KEY_BYTES) {
        throw new SignerError("bad_request", `sealed key: expected ${SEALED_KEY_BYTES} bytes, got ${sealed.length}`);
      }
      const secret = openBytes(key(), { sealed, associatedData });
      if (secret === undefined) {
        throw new SignerError(
          "bad_request",
          "sealed key: cannot be opened: altered, or sealed for another public key, bundle or data key; import it again",
        );
      }
      try {
        checkPubkey({ pubkey, secret, derivePubkey, what: "sealed key" });
        return secret;
      } catch (error) {
        secret.fill(0);
        throw error;
      }
    },
    close,
  };
};

const prepare = ({ header, dataKey, derivePubkey }: KeyBundle) => {
  if (header.kind !== "keys") {
    throw new SignerError("bad_request", `bundle: expected one of keys, got one of ${header.kind}`);
  }
  checkDataKey(dataKey);
  const prefix = Buffer.concat([DOMAIN, boundHeaderBytes(header)]);
  const copy = new Uint8Array(dataKey);
  let closed = false;
  return {
    derivePubkey,
    /** Never the wiped key: everything sealed under zeros would be open to everybody. */
    key: (): Uint8Array => {
      if (closed) throw new SignerError("internal", "bundle: used after it was closed");
      return copy;
    },
    associatedDataOf: (pubkey: Uint8Array): Uint8Array => {
      if (pubkey.length === PUBKEY_BYTES) return Buffer.concat([prefix, pubkey]);
      throw new SignerError("bad_request", `public key: expected ${PUBKEY_BYTES} bytes, got ${pubkey.length}`);
    },
    close: (): void => {
      closed = true;
      copy.fill(0);
    },
  };
};

const checkPubkey = (key: {
  pubkey: Uint8Array;
  secret: Uint8Array;
  derivePubkey: DerivePubkey;
  what: string;
}): void => {
  const derived = key.derivePubkey(key.secret);
  if (bytesEqual(derived, key.pubkey)) return;
  throw new SignerError(
    "bad_request",
    `${key.what}: expected the secret of ${toHex(key.pubkey)}, got that of ${toHex(derived)}`,
  );
};
