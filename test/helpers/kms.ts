/**
 * A stand-in for the attestation of the Nitro Security Module in tests of KMS: measurements, time and public key in JSON
 * under an Ed25519 signature. The rules about documents themselves are tested where they are read.
 */

import { generateKeyPairSync, sign, verify } from "node:crypto";
import { connect as connectTcp, type Socket } from "node:net";
import type { AttestationVerifier } from "#infra/local/kms/attestation.ts";
import type { KeyPolicy, PolicyStatement } from "#infra/local/kms/policy.ts";
import type { LocalCredentials } from "#infra/local/kms/sigv4.ts";

/** Signs documents and verifies them. */
export interface AttestationAuthority {
  /** A security module with these measurements. */
  module(pcrs: Readonly<Record<number, string>>): {
    attest(contents: { readonly publicKey?: Uint8Array }): Promise<Uint8Array>;
  };
  readonly verify: AttestationVerifier;
}

const SIGNATURE_BYTES = 64;

/** Makes an authority. */
export const createAttestationAuthority = (): AttestationAuthority => {
  const { privateKey, publicKey } = generateKeyPairSync("ed25519");
  return {
    module: (pcrs) => ({
      attest: async ({ publicKey: spki }) => {
        const publicKeyBase64 = spki === undefined ? undefined : Buffer.from(spki).toString("base64");
        const body = Buffer.from(JSON.stringify({ pcrs, publicKeyBase64 }));
        return Buffer.concat([sign(null, body, privateKey), body]);
      },
    }),
    verify: (document) => {
      const body = document.subarray(SIGNATURE_BYTES);
      if (!verify(null, body, publicKey, document.subarray(0, SIGNATURE_BYTES))) {
        return { ok: false, reason: "signature does not verify" };
      }
      const { pcrs, publicKeyBase64 } = JSON.parse(Buffer.from(body).toString()) as {
        pcrs: Record<string, string>;
        publicKeyBase64?: string;
      };
      return {
        ok: true,
        pcrs: new Map(Object.entries(pcrs).map(([index, value]) => [Number(index), value])),
        publicKey: publicKeyBase64 === undefined ? undefined : Buffer.from(publicKeyBase64, "base64"),
      };
    },
  };
};

/** Measurements of the image that the policies of these tests let in. */
export const GENUINE_PCRS = { 0: "ab".repeat(48), 1: "01".repeat(48), 2: "02".repeat(48) } as const;

/** A caller. */
export const CREDENTIALS: LocalCredentials = {
  accessKeyId: "AKIATESTUDOLOCAL",
  secretAccessKey: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
  sessionToken: "IQoJb3JpZ2luX2VjEXAMPLETOKEN==",
  principal: "arn:aws:sts::000000000000:assumed-role/parent/i-0123456789abcdef0",
};

/** The policy of a bundle key: anyone of the account seals, the attested image alone opens. */
export const attestedPolicy = (condition: NonNullable<PolicyStatement["Condition"]>): KeyPolicy => ({
  Version: "2012-10-17",
  Statement: [
    {
      Sid: "Seal",
      Effect: "Allow",
      Principal: { AWS: "arn:aws:iam::000000000000:root" },
      Action: ["kms:Encrypt", "kms:DescribeKey"],
      Resource: "*",
    },
    {
      Sid: "OpenInTheEnclave",
      Effect: "Allow",
      Principal: { AWS: "arn:aws:iam::000000000000:root" },
      Action: ["kms:Decrypt", "kms:GenerateDataKey*"],
      Resource: "*",
      Condition: condition,
    },
  ],
});

/** The policy that lets {@link GENUINE_PCRS} in. */
export const GENUINE_POLICY = attestedPolicy({
  StringEqualsIgnoreCase: { "kms:RecipientAttestation:ImageSha384": GENUINE_PCRS[0] },
});

/** A policy without conditions. */
export const OPEN_POLICY: KeyPolicy = {
  Statement: [{ Effect: "Allow", Principal: "*", Action: "kms:*", Resource: "*" }],
};

/** A stream to a port of this machine, as the egress proxy of a parent opens it. */
export const connectLocal = (port: number): Promise<Socket> =>
  new Promise((resolve, reject) => {
    const socket = connectTcp(port, "127.0.0.1", () => resolve(socket));
    socket.once("error", reject);
  });
