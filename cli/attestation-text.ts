/** Attestation documents as people read them: what stands in one, and what to do about one that is refused. */

import { createHash, createPublicKey, X509Certificate } from "node:crypto";
import type { AttestationDocument } from "#protocol/attestation/document.ts";
import type { AttestationRejection } from "#protocol/attestation/rejection.ts";
import { AWS_NITRO_ROOT_FINGERPRINT } from "#protocol/attestation/root.ts";

/** What AWS measures into which PCR (Nitro Enclaves user guide, "Where to get an enclave's measurements"). */
export const PCR_MEANINGS = {
  0: "the enclave image",
  1: "kernel and boot ramdisk",
  2: "the application",
  3: "IAM role of the instance",
  4: "id of the instance",
  8: "certificate that signed the image",
} as const satisfies Record<number, string>;

/** What to do about a refusal. */
export const ADVICE = {
  too_large: "This is no attestation document: look at what wrote the file.",
  malformed_cbor: "The file is cut short, changed or something else: fetch the document again, as raw bytes or base64.",
  not_cose_sign1: "This is CBOR, but no attestation document: look at what wrote the file.",
  wrong_algorithm: "No Nitro hypervisor signs like this. Emulators do; their documents prove nothing.",
  missing_field: "No Nitro hypervisor made this document.",
  unknown_field: "No Nitro hypervisor that this version knows made this document; look for a newer Testudo.",
  wrong_field: "No Nitro hypervisor that this version knows made this document; look for a newer Testudo.",
  malformed_certificate: "The document was changed, or no Nitro hypervisor made it.",
  unsupported_certificate: "No Nitro PKI that this version knows issued this; look for a newer Testudo.",
  untrusted_root:
    "AWS did not sign this. A document of a development machine is verified with --root and its nsm-root.pem; " +
    "in production this means: do not trust the enclave.",
  broken_chain: "The certificates do not belong together: the document was put together from several, or changed.",
  not_a_ca: "Somebody issued a certificate without the right to: do not trust the enclave.",
  leaf_is_a_ca: "The document was signed with an authority's key: do not trust the enclave.",
  wrong_key_usage: "A key was used for what it is not meant for: do not trust the enclave.",
  path_too_long: "There are more authorities in the chain than allowed: do not trust the enclave.",
  certificate_not_yet_valid: "Look at this machine's clock, or at --at.",
  certificate_expired:
    "Documents hold for about three hours: fetch a fresh one. To check an old one, say the time at which it was used: --at.",
  timestamp_outside_certificate: "The hypervisor's clock and its certificates disagree: fetch a fresh document.",
  bad_signature: "The document was changed after it was signed, or signed by somebody else: do not trust it.",
  debug_mode: "The enclave was started with --debug-mode: its memory is not protected. Start it without.",
  empty_policy: "Say which image you expect: --pcr0.",
  missing_pcr: "The document does not have that measurement: look at which PCRs you expect.",
  wrong_pcr:
    "The enclave runs something else than you expect. Compare with the PCRs that the build of the image printed " +
    "(nitro-cli describe-eif), and with a new release, if you are rolling one out.",
  wrong_nonce: "The document answers another question: fetch a fresh one with your own nonce. An old one is a replay.",
  wrong_user_data: "The enclave vouches for something else than you expect.",
  wrong_public_key: "The enclave holds another key than you expect.",
} as const satisfies Record<AttestationRejection, string>;

/** What stands in a document, in lines. */
export const describeDocument = (document: AttestationDocument): string[] => [
  row("module", document.moduleId),
  row("made at", timeText(document.timestampMs)),
  ...describePcrs(document.pcrs),
  row("nonce", bytesText(document.nonce)),
  row("user data", bytesText(document.userData)),
  row("public key", publicKeyText(document.publicKey)),
  "certificates, the root first:",
  ...[...document.caBundle, document.certificate].flatMap((der, index) => describeCertificate(der, index)),
];

/** A time to the millisecond, in UTC. */
export const timeText = (ms: number): string => {
  const date = new Date(ms);
  return Number.isNaN(date.getTime()) ? `${ms} ms after 1970` : date.toISOString();
};

const NAME_WIDTH = 12;
const row = (name: string, value: string): string => `${name.padEnd(NAME_WIDTH)}${value}`;

const describePcrs = (pcrs: AttestationDocument["pcrs"]): string[] => {
  const entries = [...pcrs].sort(([a], [b]) => a - b);
  const isZero = (pcr: Uint8Array): boolean => pcr.every((byte) => byte === 0);
  const zeros = entries.filter(([, pcr]) => isZero(pcr)).map(([index]) => index);
  const lines = entries.filter(([, pcr]) => !isZero(pcr)).flatMap(([index, pcr]) => describePcr(index, pcr));
  return zeros.length === 0 ? lines : [...lines, row("zeros", zeros.map((index) => `PCR${index}`).join(", "))];
};

const describePcr = (index: number, pcr: Uint8Array): string[] => {
  const meaning = (PCR_MEANINGS as Record<number, string>)[index];
  return [row(`PCR${index}`, `${hexOf(pcr)}${meaning === undefined ? "" : `  ${meaning}`}`)];
};

/** Names in certificates are whatever their issuer wrote: nothing of them may steer a terminal. */
const describeCertificate = (der: Uint8Array, index: number): string[] => {
  try {
    const x509 = new X509Certificate(der);
    const name = /^CN=(.*)$/m.exec(x509.subject)?.[1] ?? x509.subject;
    const mark = x509.fingerprint256 === AWS_NITRO_ROOT_FINGERPRINT ? "  (the bytes of AWS's root G1)" : "";
    return [
      `  ${index}  ${name.replaceAll(/[^\x20-\x7e]/g, "?")}${mark}`,
      `     ${timeText(x509.validFromDate.getTime())} to ${timeText(x509.validToDate.getTime())}`,
    ];
  } catch {
    return [`  ${index}  cannot be read (${der.length} bytes)`];
  }
};

const hexOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

const bytesText = (bytes: Uint8Array | undefined): string => {
  if (bytes === undefined) return "none";
  return bytes.length === 0 ? "empty" : `${hexOf(bytes)}  ${bytes.length} bytes`;
};

const publicKeyText = (der: Uint8Array | undefined): string => {
  if (der === undefined) return "none";
  const hash = createHash("sha256").update(der).digest("hex");
  return `${keyKind(der)}, SHA-256 of its ${der.length} bytes ${hash}`;
};

const keyKind = (der: Uint8Array): string => {
  try {
    const key = createPublicKey({ key: Buffer.from(der), format: "der", type: "spki" });
    const { modulusLength, namedCurve } = key.asymmetricKeyDetails ?? {};
    return [key.asymmetricKeyType, modulusLength ?? namedCurve].filter((part) => part !== undefined).join(" ");
  } catch {
    return "of an unknown kind";
  }
};
