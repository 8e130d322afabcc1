/**
 * Validator keys from a seed: the tree of EIP-2333 along the paths of EIP-2334.
 *
 *   m/12381/3600/i/0     withdrawal key of validator i
 *   m/12381/3600/i/0/0   signing key of validator i
 *
 * Secret keys stay in blst's own memory, which it wipes when they are collected; what leaves as bytes, callers wipe.
 */

import { SecretKey } from "@chainsafe/blst";

/** Number of this curve, and of Ethereum's coin (EIP-2334). */
const [PURPOSE, COIN_TYPE] = [12_381, 3600];

/** One validator's keys. */
export interface ValidatorKey {
  readonly index: number;
  /** Of the signing key. */
  readonly path: string;
  /** Of the signing key, 48 bytes. */
  readonly pubkey: Uint8Array;
  /** 48 bytes. */
  readonly withdrawalPubkey: Uint8Array;
  /** The signing key, 32 bytes, copied; the caller wipes them. */
  secretBytes(): Uint8Array;
  /** Signature of the signing key, 96 bytes. */
  sign(root: Uint8Array): Uint8Array;
}

/** Derives keys. */
export interface KeyTree {
  /** @param index 0..2^32-1 */
  at(index: number): ValidatorKey;
}

/** @param seed at least 32 bytes; the caller wipes it, the tree keeps none of it */
export const createKeyTree = (seed: Uint8Array): KeyTree => {
  const trunk = deriveSecret(seed, [PURPOSE, COIN_TYPE]);
  return {
    at: (index) => {
      const withdrawal = trunk.deriveChildEip2333(index).deriveChildEip2333(0);
      const signing = withdrawal.deriveChildEip2333(0);
      return {
        index,
        path: signingPath(index),
        pubkey: signing.toPublicKey().toBytes(true),
        withdrawalPubkey: withdrawal.toPublicKey().toBytes(true),
        secretBytes: () => signing.toBytes(),
        sign: (root) => signing.sign(root).toBytes(true),
      };
    },
  };
};

/** Path of a validator's signing key (EIP-2334). */
export const signingPath = (index: number): string => `m/${PURPOSE}/${COIN_TYPE}/${index}/0/0`;

/** The key at the end of a path (EIP-2333 `derive_master_SK`, then `derive_child_SK` for each number). */
export const deriveSecret = (seed: Uint8Array, path: readonly number[]): SecretKey =>
  path.reduce((key, index) => key.deriveChildEip2333(index), SecretKey.deriveMasterEip2333(seed));
