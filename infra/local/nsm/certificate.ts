/**
 * Makes X.509 certificates (RFC 5280) in the shape of the Nitro PKI's: version 3, P-384, ECDSA with SHA-384. For
 * development: whoever runs this holds the authority's key.
 */

import { type KeyObject, randomBytes, sign } from "node:crypto";
import { bits, definite, explicit, integer, octets, oid, sequence, TAG, time, utf8 } from "../der.ts";

/** An extension; `value` is DER. */
export interface Extension {
  /** Dotted object id. */
  readonly id: string;
  readonly critical: boolean;
  readonly value: Uint8Array;
}

/** What a certificate says. Names are common names; the organisation is the same for all. */
export interface CertificateContent {
  readonly subject: string;
  readonly issuer: string;
  readonly publicKey: KeyObject;
  /** First and last second of validity, in ms since 1970. */
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  readonly extensions: readonly Extension[];
}

const ECDSA_SHA384 = "1.2.840.10045.4.3.3";
const SERIAL_BYTES = 16;
const DER_TRUE = Uint8Array.of(0x01, 0x01, 0xff);
const VERSION_3 = Uint8Array.of(2);

/** DER of a certificate, signed with the issuer's private key (P-384). */
export const issueCertificate = (content: CertificateContent, issuerKey: KeyObject): Uint8Array => {
  const algorithm = sequence(oid(ECDSA_SHA384));
  const body = sequence(
    explicit(0, integer(VERSION_3)),
    integer(randomBytes(SERIAL_BYTES)),
    algorithm,
    nameOf(content.issuer),
    sequence(time(content.notBeforeMs), time(content.notAfterMs)),
    nameOf(content.subject),
    content.publicKey.export({ type: "spki", format: "der" }),
    explicit(3, sequence(...content.extensions.map(extensionOf))),
  );
  return new Uint8Array(sequence(body, algorithm, bits(sign("sha384", body, issuerKey))));
};

/** Basic constraints, critical: an authority with at most `pathLength` authorities below it, or none. */
export const basicConstraints = (authority?: { readonly pathLength?: number }): Extension => {
  const length = authority?.pathLength;
  const parts = authority === undefined ? [] : [DER_TRUE];
  if (length !== undefined) parts.push(new Uint8Array(integer(Uint8Array.of(length))));
  return { id: "2.5.29.19", critical: true, value: sequence(...parts) };
};

/** Key usages that the Nitro PKI grants: the first byte of the bit string, and how many of its bits do not count. */
const USAGES = {
  /** digitalSignature and nonRepudiation. */
  documents: { first: 0xc0, unused: 6 },
  /** digitalSignature, keyCertSign and cRLSign. */
  certificates: { first: 0x86, unused: 1 },
} as const;

/** Key usage, critical. */
export const keyUsage = (usage: keyof typeof USAGES): Extension => {
  const { first, unused } = USAGES[usage];
  return { id: "2.5.29.15", critical: true, value: bits(Uint8Array.of(first), unused) };
};

/** `O=Testudo, OU=development, CN=…`: nobody shall take it for AWS's. */
const nameOf = (commonName: string): Uint8Array =>
  sequence(attribute("2.5.4.10", "Testudo"), attribute("2.5.4.11", "development"), attribute("2.5.4.3", commonName));

const attribute = (id: string, text: string): Uint8Array => definite(TAG.set, sequence(oid(id), utf8(text)));

const extensionOf = ({ id, critical, value }: Extension): Uint8Array =>
  sequence(oid(id), critical ? DER_TRUE : new Uint8Array(), octets(value));
