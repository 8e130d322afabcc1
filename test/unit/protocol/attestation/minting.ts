/** Documents as nobody should make them: a small PKI with every part open to change, and signing of any bytes. */

import { createPublicKey, generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import { encode } from "cborg";
import {
  basicConstraints,
  type CertificateContent,
  issueCertificate,
  keyUsage,
} from "../../../../infra/local/nsm/certificate.ts";

/** The time at which minted documents are made and checked. */
export const NOW_MS = Date.parse("2026-06-01T12:00:00Z");
const DAY_MS = 86_400_000;

/** What one certificate of a chain says in place of what it should. */
export type CertificateChange = Partial<CertificateContent>;

/** A chain: the root, the authorities below it, and the leaf. */
export interface MintedChain {
  readonly bundle: Uint8Array[];
  readonly leaf: Uint8Array;
  readonly leafKey: KeyObject;
}

/** A P-384 private key. */
export const makeKey = (namedCurve = "P-384"): KeyObject => generateKeyPairSync("ec", { namedCurve }).privateKey;

/**
 * Issues root, `authorities` intermediates and a leaf. `changes` by position (0: the root, the last: the leaf);
 * `signers` replaces the key that signs a position.
 */
export const mintChain = ({
  authorities = 2,
  changes = {},
  signers = {},
}: {
  readonly authorities?: number;
  readonly changes?: Readonly<Record<number, CertificateChange>>;
  readonly signers?: Readonly<Record<number, KeyObject>>;
} = {}): MintedChain => {
  const last = authorities + 1;
  const keys = Array.from({ length: last + 1 }, () => makeKey());
  const certificates = keys.map((key, index) => {
    const issuer = Math.max(0, index - 1);
    return issueCertificate(
      {
        subject: `certificate ${index}`,
        issuer: `certificate ${issuer}`,
        publicKey: createPublicKey(key),
        notBeforeMs: NOW_MS - DAY_MS,
        notAfterMs: NOW_MS + DAY_MS,
        extensions:
          index === last
            ? [basicConstraints(), keyUsage("documents")]
            : [basicConstraints({}), keyUsage("certificates")],
        ...changes[index],
      },
      signers[index] ?? (keys[issuer] as KeyObject),
    );
  });
  return {
    bundle: certificates.slice(0, -1),
    leaf: certificates.at(-1) as Uint8Array,
    leafKey: keys.at(-1) as KeyObject,
  };
};

/** Fields of a sound document, to be changed. */
export const soundFields = ({ bundle, leaf }: MintedChain): Map<unknown, unknown> =>
  new Map<unknown, unknown>([
    ["module_id", "i-0123456789abcdef0-enc0123456789abcdef"],
    ["digest", "SHA384"],
    ["timestamp", NOW_MS],
    ["pcrs", new Map(Array.from({ length: 16 }, (_, index) => [index, new Uint8Array(48).fill(index + 1)]))],
    ["certificate", leaf],
    ["cabundle", bundle],
    ["public_key", null],
    ["user_data", null],
    ["nonce", null],
  ]);

/** CBOR that keeps the order of maps. */
export const cbor = (value: unknown): Uint8Array => encode(value, { mapSorter: () => 0 });

/** `{1: -35}`. */
export const ES384 = Uint8Array.of(0xa1, 0x01, 0x38, 0x22);

/** The four parts of a document around any payload, truly signed with whatever header. */
export const signParts = (payload: Uint8Array, key: KeyObject, header: Uint8Array = ES384): unknown[] => {
  const message = cbor(["Signature1", header, new Uint8Array(), payload]);
  const signature = sign("sha384", message, { key, dsaEncoding: "ieee-p1363" });
  return [header, new Map(), payload, new Uint8Array(signature)];
};

/** A document of these fields. */
export const mintFields = (fields: ReadonlyMap<unknown, unknown>, key: KeyObject): Uint8Array =>
  cbor(signParts(cbor(fields), key));

/** Replaces bytes that stand in there exactly once; both in hex. */
export const patchHex = (bytes: Uint8Array, from: string, to: string): Uint8Array => {
  const parts = Buffer.from(bytes).toString("hex").split(from);
  if (parts.length !== 2) throw new Error(`expected ${from} once, got it ${parts.length - 1} times`);
  return new Uint8Array(Buffer.from(parts.join(to), "hex"));
};
