/**
 * The way from the root to the certificate that signed a document (RFC 5280 section 6.1, without revocation lists, which
 * AWS says not to use: its certificates live for hours). In two steps, because a signature on P-384 costs 0.6 ms and the
 * rest a tenth of that: `checkChain` looks at everything else, `verifyChainSignatures` at the signatures.
 */

import { bytesEqual } from "../bytes.ts";
import { type Certificate, parseCertificate } from "./certificate.ts";
import { reject } from "./rejection.ts";

/** What a chain is checked against. */
export interface ChainExpectation {
  /** DER of the roots that are trusted; the bundle must begin with one of them, byte for byte. */
  readonly roots: readonly Uint8Array[];
  /** The time at which every certificate must hold, in ms since 1970. */
  readonly atMs: number;
}

/** The certificates of a document, as AWS orders them. */
export interface ChainParts {
  /** The root first. */
  readonly caBundle: readonly Uint8Array[];
  /** The one whose key signed the document. */
  readonly certificate: Uint8Array;
}

/** The root first, the leaf last; at least two. */
export type Chain = readonly [Certificate, ...Certificate[]];

/** Everything but signatures. Rejects inside `asVerdict`. */
export const checkChain = ({ caBundle, certificate }: ChainParts, { roots, atMs }: ChainExpectation): Chain => {
  const [root] = caBundle;
  if (root === undefined || !roots.some((trusted) => bytesEqual(trusted, root))) {
    return reject("untrusted_root", "cabundle[0]: expected a root certificate that is trusted here, got another");
  }
  const [first, ...others] = caBundle.map((der, index) => parseCertificate(der, `cabundle[${index}]`));
  const leaf = parseCertificate(certificate, "certificate");
  const chain: Chain = [first as Certificate, ...others, leaf];
  for (const [index, entry] of chain.entries()) {
    const name = nameOf(index, chain);
    const parent = chain[index - 1];
    if (entry === leaf) checkLeaf(leaf);
    else checkAuthority(entry, { name, authoritiesBelow: caBundle.length - 1 - index });
    if (parent !== undefined) checkLink(entry, { parent, name });
  }
  // Last, so that a certificate that should not be there at all is not called old.
  for (const [index, entry] of chain.entries()) checkValidity(entry, { name: nameOf(index, chain), atMs });
  return chain;
};

/** Every certificate's signature is of the key above it, and the root's of its own. Rejects inside `asVerdict`. */
export const verifyChainSignatures = (chain: Chain): void => {
  for (const [index, { x509 }] of chain.entries()) {
    const issuer = chain[index - 1] ?? chain[0];
    if (!x509.verify(issuer.x509.publicKey)) {
      reject("broken_chain", `${nameOf(index, chain)}: its signature is not of the certificate before it`);
    }
  }
};

const nameOf = (index: number, chain: Chain): string =>
  index === chain.length - 1 ? "certificate" : `cabundle[${index}]`;

const checkAuthority = (entry: Certificate, { name, authoritiesBelow }: { name: string; authoritiesBelow: number }) => {
  if (!entry.isCa) reject("not_a_ca", `${name}: its basic constraints do not make it an authority`);
  if (!entry.keyCertSign) reject("wrong_key_usage", `${name}: its key may not sign certificates`);
  if (entry.pathLength !== undefined && authoritiesBelow > entry.pathLength) {
    reject("path_too_long", `${name}: allows ${entry.pathLength} authorities below it, got ${authoritiesBelow}`);
  }
};

const checkLeaf = (leaf: Certificate): void => {
  if (leaf.isCa || leaf.pathLength !== undefined) reject("leaf_is_a_ca", "certificate: it may issue certificates");
  if (!leaf.digitalSignature) reject("wrong_key_usage", "certificate: its key may not sign documents");
};

/** Names and key identifiers fit. One that names itself as its issuer is a second root, or the same again. */
const checkLink = (entry: Certificate, { parent, name }: { parent: Certificate; name: string }): void => {
  if (entry.x509.subject === entry.x509.issuer) reject("broken_chain", `${name}: a root below the root`);
  if (!entry.x509.checkIssued(parent.x509)) {
    reject("broken_chain", `${name}: was not issued by the certificate before it`);
  }
};

const checkValidity = (entry: Certificate, { name, atMs }: { name: string; atMs: number }): void => {
  const at = new Date(atMs).toISOString();
  if (atMs < entry.notBeforeMs) {
    const from = new Date(entry.notBeforeMs).toISOString();
    reject("certificate_not_yet_valid", `${name}: valid from ${from}, checked at ${at}`);
  }
  if (atMs > entry.notAfterMs) {
    const to = new Date(entry.notAfterMs).toISOString();
    reject("certificate_expired", `${name}: valid until ${to}, checked at ${at}`);
  }
};
