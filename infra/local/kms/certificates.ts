/** A certificate authority of one's own and server certificates under it (RFC 5280, ECDSA on P-256 with SHA-256). */

import { createHash, createPrivateKey, generateKeyPairSync, type KeyObject, randomBytes, sign } from "node:crypto";
import { isIP } from "node:net";
import { bits, contextTag, definite, explicit, octets, oid, sequence, smallInteger, TAG, time, utf8 } from "../der.ts";

/** A certificate with its key, both in PEM. */
export interface CertificateAndKey {
  readonly certPem: string;
  readonly keyPem: string;
}

const OID = {
  ecdsaWithSha256: "1.2.840.10045.4.3.2",
  commonName: "2.5.4.3",
  subjectKeyIdentifier: "2.5.29.14",
  keyUsage: "2.5.29.15",
  subjectAltName: "2.5.29.17",
  basicConstraints: "2.5.29.19",
  authorityKeyIdentifier: "2.5.29.35",
  extendedKeyUsage: "2.5.29.37",
  serverAuth: "1.3.6.1.5.5.7.3.1",
} as const;

const DAY_MS = 86_400_000;
/** A development authority outlives its data folder; server certificates are made at each start. */
const CA_DAYS = 3650;
const SERVER_DAYS = 30;
const CA_NAME = "Testudo local KMS CA";

/** Makes an authority, valid from a day before `nowMs`. */
export const createAuthority = (nowMs: number): CertificateAndKey => {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  return issue({
    publicKey,
    subject: CA_NAME,
    issuerKey: privateKey,
    subjectKey: privateKey,
    nowMs,
    days: CA_DAYS,
    extensions: [
      extension(OID.basicConstraints, sequence(definite(TAG.boolean, Buffer.from([0xff]))), "critical"),
      // keyCertSign and cRLSign, bits 5 and 6.
      extension(OID.keyUsage, definite(TAG.bitString, Buffer.from([1, 0x06])), "critical"),
      extension(OID.subjectKeyIdentifier, octets(keyIdentifier(publicKey))),
    ],
  });
};

/** Makes a server certificate for host names and IPv4 addresses. */
export const issueServer = (
  authority: CertificateAndKey,
  { names, nowMs }: { readonly names: readonly string[]; readonly nowMs: number },
): CertificateAndKey => {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const issuerKey = createPrivateKey(authority.keyPem);
  return issue({
    publicKey,
    subject: names[0] ?? "localhost",
    issuerKey,
    subjectKey: privateKey,
    nowMs,
    days: SERVER_DAYS,
    extensions: [
      extension(OID.basicConstraints, sequence(), "critical"),
      // digitalSignature, bit 0.
      extension(OID.keyUsage, definite(TAG.bitString, Buffer.from([7, 0x80])), "critical"),
      extension(OID.extendedKeyUsage, sequence(oid(OID.serverAuth))),
      extension(OID.authorityKeyIdentifier, sequence(definite(contextTag(0, "primitive"), keyIdentifier(issuerKey)))),
      extension(OID.subjectAltName, sequence(...names.map(generalName))),
    ],
  });
};

interface Contents {
  readonly publicKey: KeyObject;
  readonly subject: string;
  readonly issuerKey: KeyObject;
  readonly subjectKey: KeyObject;
  readonly nowMs: number;
  readonly days: number;
  readonly extensions: readonly Buffer[];
}

const issue = ({ publicKey, subject, issuerKey, subjectKey, nowMs, days, extensions }: Contents): CertificateAndKey => {
  const algorithm = sequence(oid(OID.ecdsaWithSha256));
  const serial = randomBytes(16);
  serial[0] = ((serial[0] ?? 0) & 0x7f) | 0x40; // positive, and of full length
  const tbs = sequence(
    explicit(0, smallInteger(2)),
    definite(TAG.integer, serial),
    algorithm,
    name(CA_NAME),
    sequence(time(nowMs - DAY_MS), time(nowMs + days * DAY_MS)),
    name(subject),
    publicKey.export({ type: "spki", format: "der" }),
    explicit(3, sequence(...extensions)),
  );
  const der = sequence(tbs, algorithm, bits(sign("sha256", tbs, issuerKey)));
  const body = der.toString("base64").replace(/.{64}/g, "$&\n").trimEnd();
  return {
    certPem: `-----BEGIN CERTIFICATE-----\n${body}\n-----END CERTIFICATE-----\n`,
    keyPem: subjectKey.export({ type: "pkcs8", format: "pem" }).toString(),
  };
};

const extension = (id: string, value: Buffer, critical?: "critical"): Buffer =>
  sequence(oid(id), ...(critical === undefined ? [] : [definite(TAG.boolean, Buffer.from([0xff]))]), octets(value));

/** RFC 7093 §2, method 1: 160 bits of the SHA-256 of the key's bits, which are the last 65 bytes of its SPKI on P-256. */
const keyIdentifier = (key: KeyObject): Buffer => {
  const jwk = key.export({ format: "jwk" });
  const point = [Buffer.from([4]), Buffer.from(jwk.x ?? "", "base64url"), Buffer.from(jwk.y ?? "", "base64url")];
  return createHash("sha256").update(Buffer.concat(point)).digest().subarray(0, 20);
};

const name = (text: string): Buffer => sequence(definite(TAG.set, sequence(oid(OID.commonName), utf8(text))));

/** RFC 5280 §4.2.1.6: iPAddress is [7], dNSName is [2]. */
const generalName = (text: string): Buffer =>
  isIP(text) === 4
    ? definite(contextTag(7, "primitive"), Buffer.from(text.split(".").map(Number)))
    : definite(contextTag(2, "primitive"), Buffer.from(text, "ascii"));
