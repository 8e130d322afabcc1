/**
 * The attestation PKI of one developer's machine: a root that is made once and kept in a folder, and below it, fresh for
 * each NSM, an intermediate and the leaf that signs documents. Nobody but who trusts this very root believes its documents.
 */

import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject, X509Certificate } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { SignerError } from "#protocol/errors.ts";
import { basicConstraints, issueCertificate, keyUsage } from "./certificate.ts";

/** A root and its key. */
export interface DevelopmentAuthority {
  /** DER of the root certificate: what verifiers are given as their root. */
  readonly root: Uint8Array;
  readonly rootPem: string;
  readonly privateKey: KeyObject;
}

/** What signs documents. */
export interface DocumentSigner {
  readonly privateKey: KeyObject;
  /** DER of the leaf. */
  readonly certificate: Uint8Array;
  /** DER of the authorities above it, the root first. */
  readonly caBundle: readonly Uint8Array[];
  readonly notAfterMs: number;
}

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const ROOT_DAYS = 3650;
/** As AWS's intermediates and leaves. */
const INTERMEDIATE_DAYS = 20;
const LEAF_HOURS = 3;
/** Certificates hold from a little before they are made, for clocks that differ. */
const CLOCK_SKEW_MS = 60_000;

const ROOT_NAME = "testudo.development.nitro-enclaves";

/** Files of an authority in its folder. */
const ROOT_FILE = "nsm-root.pem";
const KEY_FILE = "nsm-root.key";

/** A fresh root. @param nowMs in ms since 1970 */
export const makeDevelopmentAuthority = (nowMs: number): DevelopmentAuthority => {
  const { privateKey, publicKey } = makeKeyPair();
  const root = issueCertificate(
    {
      subject: ROOT_NAME,
      issuer: ROOT_NAME,
      publicKey,
      notBeforeMs: nowMs - CLOCK_SKEW_MS,
      notAfterMs: nowMs + ROOT_DAYS * DAY_MS,
      extensions: [basicConstraints({}), keyUsage("certificates")],
    },
    privateKey,
  );
  return { root, rootPem: new X509Certificate(root).toString(), privateKey };
};

/**
 * The authority of a folder, made on first use: `nsm-root.pem` may be handed to verifiers, `nsm-root.key` (mode 600)
 * stays.
 * @throws SignerError `bad_request` when the two files do not belong together
 */
export const openDevelopmentAuthority = (folder: string, nowMs: number): DevelopmentAuthority => {
  const rootPath = join(folder, ROOT_FILE);
  const keyPath = join(folder, KEY_FILE);
  if (!existsSync(rootPath)) {
    const made = makeDevelopmentAuthority(nowMs);
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    // The certificate last: where it is, the key is.
    writeFileSync(keyPath, made.privateKey.export({ type: "pkcs8", format: "pem" }), { mode: 0o600, flush: true });
    writeFileSync(rootPath, made.rootPem, { mode: 0o600, flush: true });
    return made;
  }
  try {
    const rootPem = readFileSync(rootPath, "utf8");
    const privateKey = createPrivateKey(readFileSync(keyPath));
    const x509 = new X509Certificate(rootPem);
    if (x509.checkPrivateKey(privateKey)) return { root: new Uint8Array(x509.raw), rootPem, privateKey };
  } catch (cause) {
    throw new SignerError("bad_request", `${folder}: ${ROOT_FILE} or ${KEY_FILE} cannot be read; remove both`, {
      cause,
    });
  }
  throw new SignerError("bad_request", `${folder}: ${KEY_FILE} is not the key of ${ROOT_FILE}; remove both`);
};

/** A fresh intermediate and leaf for one NSM. */
export const issueDocumentSigner = (
  authority: DevelopmentAuthority,
  { moduleId, nowMs }: { readonly moduleId: string; readonly nowMs: number },
): DocumentSigner => {
  const intermediate = makeKeyPair();
  const leaf = makeKeyPair();
  const notBeforeMs = nowMs - CLOCK_SKEW_MS;
  const notAfterMs = nowMs + LEAF_HOURS * HOUR_MS;
  const intermediateName = `intermediate.${ROOT_NAME}`;
  const issued = issueCertificate(
    {
      subject: intermediateName,
      issuer: ROOT_NAME,
      publicKey: intermediate.publicKey,
      notBeforeMs,
      notAfterMs: nowMs + INTERMEDIATE_DAYS * DAY_MS,
      extensions: [basicConstraints({ pathLength: 0 }), keyUsage("certificates")],
    },
    authority.privateKey,
  );
  const certificate = issueCertificate(
    {
      subject: `${moduleId}.${ROOT_NAME}`,
      issuer: intermediateName,
      publicKey: leaf.publicKey,
      notBeforeMs,
      notAfterMs,
      extensions: [basicConstraints(), keyUsage("documents")],
    },
    intermediate.privateKey,
  );
  return { privateKey: leaf.privateKey, certificate, caBundle: [authority.root, issued], notAfterMs };
};

const makeKeyPair = (): { privateKey: KeyObject; publicKey: KeyObject } => {
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-384" });
  return { privateKey, publicKey: createPublicKey(privateKey) };
};
