/** The operator's word: an Ed25519 signature, checked inside the enclave (RFC 8032, by Node's own cryptography). */

import { createPublicKey, type KeyObject, verify } from "node:crypto";
import { SignerError } from "#protocol/errors.ts";
import { operatorMessage, type ReceivedOperatorCommand } from "#protocol/operator/command.ts";

/** Length of an Ed25519 public key in bytes. */
export const OPERATOR_KEY_BYTES = 32;

/** Checks commands against one public key. */
export interface Authority {
  /** @throws SignerError `bad_request` unless the command carries the operator's signature */
  check(received: ReceivedOperatorCommand): void;
}

/** @param publicKey 32 bytes. @throws SignerError `bad_request` when it is no Ed25519 key */
export const createAuthority = (publicKey: Uint8Array): Authority => {
  const key = importKey(publicKey);
  return {
    check: ({ encoded, signature }) => {
      if (signature !== undefined && verify(null, operatorMessage(encoded), key, signature)) return;
      throw new SignerError("bad_request", "operator command: not signed by the operator of this installation");
    },
  };
};

const importKey = (publicKey: Uint8Array): KeyObject => {
  try {
    const x = Buffer.from(publicKey).toString("base64url");
    return createPublicKey({ format: "jwk", key: { kty: "OKP", crv: "Ed25519", x } });
  } catch (cause) {
    throw new SignerError("bad_request", `operator key: expected ${OPERATOR_KEY_BYTES} bytes of Ed25519`, { cause });
  }
};
