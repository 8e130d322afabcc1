/**
 * X.509 certificates (RFC 5280) of the kind that the Nitro PKI issues: version 3, P-384, signed with ECDSA and SHA-384.
 * `node:crypto` reads names, times and keys; basic constraints and key usage, which it does not show, are read here.
 */

import { X509Certificate } from "node:crypto";
import { bytesEqual } from "../bytes.ts";
import { DER, DerReader } from "./der.ts";
import { reject } from "./rejection.ts";

/** What a check of a chain needs to know of a certificate. */
export interface Certificate {
  readonly der: Uint8Array;
  /** Names, public key and signature. */
  readonly x509: X509Certificate;
  readonly isCa: boolean;
  /** CA certificates that may follow below; undefined: any number. */
  readonly pathLength: number | undefined;
  /** The key may sign documents. */
  readonly digitalSignature: boolean;
  /** The key may sign certificates. */
  readonly keyCertSign: boolean;
  /** First and last moment of validity, in ms since 1970. */
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
}

/** ecdsa-with-SHA384, 1.2.840.10045.4.3.3, as a whole AlgorithmIdentifier's content (RFC 5758 section 3.2). */
const ECDSA_SHA384 = Uint8Array.of(0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x03);
const VERSION_3 = 2;
/** 2.5.29.19 and 2.5.29.15 (RFC 5280 sections 4.2.1.9 and 4.2.1.3), in hex. */
const OID_BASIC_CONSTRAINTS = "551d13";
const OID_KEY_USAGE = "551d0f";
/** Bits of the first byte of a key usage. */
const BIT_DIGITAL_SIGNATURE = 0x80;
const BIT_KEY_CERT_SIGN = 0x04;
/** Longest path length that is read: a chain has at most ten certificates. */
const PATH_LENGTH_MAX = 127;

type Constraints = Pick<Certificate, "isCa" | "pathLength">;
type Usage = Pick<Certificate, "digitalSignature" | "keyCertSign">;

/** Parses one certificate; `name` is for error texts. Rejects inside `asVerdict`. */
export const parseCertificate = (der: Uint8Array, name: string): Certificate => {
  const extensions = readExtensions(der, name);
  const basicConstraints = extensions.get(OID_BASIC_CONSTRAINTS);
  const keyUsage = extensions.get(OID_KEY_USAGE);
  const x509 = openCertificate(der, name);
  return {
    der,
    x509,
    ...(basicConstraints === undefined ? NO_CONSTRAINTS : readConstraints(basicConstraints, name)),
    ...(keyUsage === undefined ? NO_USAGE : readUsage(keyUsage, name)),
    notBeforeMs: x509.validFromDate.getTime(),
    notAfterMs: x509.validToDate.getTime(),
  };
};

const NO_CONSTRAINTS: Constraints = { isCa: false, pathLength: undefined };
const NO_USAGE: Usage = { digitalSignature: false, keyCertSign: false };

/** OpenSSL's view. Its parser would take PEM, too: that the bytes are DER was checked before. */
const openCertificate = (der: Uint8Array, name: string): X509Certificate => {
  let x509: X509Certificate;
  let curve: string | undefined;
  try {
    x509 = new X509Certificate(der);
    curve = x509.publicKey.asymmetricKeyDetails?.namedCurve;
  } catch {
    return reject("malformed_certificate", `${name}: OpenSSL cannot read it`);
  }
  if (curve !== "secp384r1") return reject("unsupported_certificate", `${name}: expected a key on P-384`);
  if (Number.isNaN(x509.validFromDate.getTime()) || Number.isNaN(x509.validToDate.getTime())) {
    return reject("malformed_certificate", `${name}: its times cannot be read`);
  }
  return x509;
};

/** Walks a certificate; values of the known extensions by object id. */
const readExtensions = (der: Uint8Array, name: string): ReadonlyMap<string, Uint8Array> => {
  const file = new DerReader(der, name);
  const certificate = file.enter(DER.sequence, name);
  file.end();
  const body = certificate.enter(DER.sequence, `${name}: tbsCertificate`);
  const outerAlgorithm = certificate.read(DER.sequence, "signatureAlgorithm");
  certificate.read(DER.bitString, "signatureValue");
  certificate.end();

  const version = body.enter(DER.version, `${name}: version`);
  const number = version.read(DER.integer, "version");
  version.end();
  if (number.length !== 1 || number[0] !== VERSION_3) reject("unsupported_certificate", `${name}: expected version 3`);
  body.read(DER.integer, "serialNumber");
  const innerAlgorithm = body.read(DER.sequence, "signature");
  if (!bytesEqual(innerAlgorithm, ECDSA_SHA384) || !bytesEqual(outerAlgorithm, ECDSA_SHA384)) {
    reject("unsupported_certificate", `${name}: expected a signature of ECDSA with SHA-384`);
  }
  for (const part of ["issuer", "validity", "subject", "subjectPublicKeyInfo"]) body.read(DER.sequence, part);
  if (body.tag === undefined) return new Map();
  const wrapper = body.enter(DER.extensions, `${name}: extensions`);
  body.end();
  const list = wrapper.enter(DER.sequence, `${name}: extensions`);
  wrapper.end();
  return readExtensionList(list, name);
};

const readExtensionList = (list: DerReader, name: string): ReadonlyMap<string, Uint8Array> => {
  const values = new Map<string, Uint8Array>();
  while (list.tag !== undefined) {
    const extension = list.enter(DER.sequence, `${name}: extension`);
    const id = Buffer.from(extension.read(DER.objectId, "extnID")).toString("hex");
    const isCritical = extension.tag === DER.boolean && readTrue(extension, name);
    const value = extension.read(DER.octetString, "extnValue");
    extension.end();
    if (values.has(id)) reject("malformed_certificate", `${name}: the extension ${id} stands there twice`);
    if (isCritical && id !== OID_BASIC_CONSTRAINTS && id !== OID_KEY_USAGE) {
      reject("unsupported_certificate", `${name}: unknown critical extension ${id}`);
    }
    values.set(id, value);
  }
  return values;
};

/** DER leaves out a boolean that has its default, so that only true can stand there. */
const readTrue = (reader: DerReader, name: string): true => {
  const value = reader.read(DER.boolean, "boolean");
  if (value.length === 1 && value[0] === 0xff) return true;
  return reject("malformed_certificate", `${name}: boolean: expected true, or nothing`);
};

const readConstraints = (value: Uint8Array, name: string): Constraints => {
  const what = `${name}: basic constraints`;
  const outer = new DerReader(value, what);
  const constraints = outer.enter(DER.sequence, what);
  outer.end();
  const isCa = constraints.tag === DER.boolean && readTrue(constraints, what);
  const length = constraints.tag === undefined ? undefined : constraints.read(DER.integer, "pathLenConstraint");
  constraints.end();
  if (length === undefined) return { isCa, pathLength: undefined };
  const [pathLength] = length;
  if (length.length !== 1 || pathLength === undefined || pathLength > PATH_LENGTH_MAX) {
    return reject("malformed_certificate", `${what}: path length: expected 0..${PATH_LENGTH_MAX}`);
  }
  return { isCa, pathLength };
};

const readUsage = (value: Uint8Array, name: string): Usage => {
  const what = `${name}: key usage`;
  const outer = new DerReader(value, what);
  const [unusedBits, bits] = outer.read(DER.bitString, what);
  outer.end();
  if (unusedBits === undefined || unusedBits > 7 || bits === undefined) {
    return reject("malformed_certificate", `${what}: expected bits`);
  }
  return {
    digitalSignature: (bits & BIT_DIGITAL_SIGNATURE) !== 0,
    keyCertSign: (bits & BIT_KEY_CERT_SIGN) !== 0,
  };
};
