/**
 * The attestation document: fields and limits as AWS states them (aws-nitro-enclaves-nsm-api, docs/attestation_process.md,
 * sections 2.2 and 3.2.2). Parsing says nothing about who made a document: `verify.ts` does.
 */

import { quote } from "../bytes.ts";
import { type CborMap, type CborValue, encodeOpenMap, isCborMap } from "./cbor.ts";
import { decodeDocumentCbor } from "./cose.ts";
import { reject } from "./rejection.ts";

/** PCRs are numbered 0..31. */
export const PCR_INDEX_MAX = 31;
/** Bytes of a SHA-384 digest, which is what Nitro's PCRs are. */
export const PCR_BYTES = 48;
/** Longest certificate in bytes of DER. */
export const CERTIFICATE_BYTES_MAX = 1024;
/** Certificates of a bundle. AWS sends four and names no bound; more than ten could not be in 12 KiB. */
export const CA_BUNDLE_MAX = 10;
/** Longest public key in bytes. */
export const ATTESTED_PUBLIC_KEY_BYTES_MAX = 1024;
/** Longest user data in bytes. */
export const USER_DATA_BYTES_MAX = 512;
/** Longest nonce in bytes. */
export const NONCE_BYTES_MAX = 512;

/** Lengths that AWS allows for a PCR, although SHA-384 makes 48 bytes. */
const PCR_LENGTHS: readonly number[] = [32, 48, 64];
/** Printable ASCII, because it is shown on terminals and in logs; AWS only says that it is not empty. */
const MODULE_ID = /^[\x21-\x7e]{1,256}$/;

/** A document's fields. All arrays are copies. */
export interface AttestationDocument {
  /** The NSM that made it: `i-<instance id>-enc<enclave id>`. */
  readonly moduleId: string;
  /** When it was made, in ms since 1970. */
  readonly timestampMs: number;
  /** Measurements by index; 32, 48 or 64 bytes each. */
  readonly pcrs: ReadonlyMap<number, Uint8Array>;
  /** DER of the certificate whose key signed the document. */
  readonly certificate: Uint8Array;
  /** DER of the certificates above it, the root first. */
  readonly caBundle: readonly Uint8Array[];
  readonly publicKey?: Uint8Array;
  readonly userData?: Uint8Array;
  readonly nonce?: Uint8Array;
}

const MANDATORY = ["module_id", "digest", "timestamp", "pcrs", "certificate", "cabundle"] as const;
const OPTIONAL = ["public_key", "user_data", "nonce"] as const;
const FIELDS: readonly CborValue[] = [...MANDATORY, ...OPTIONAL];

/** Parses a payload. Rejects inside `asVerdict`. */
export const parseAttestationDocument = (payload: Uint8Array): AttestationDocument => {
  const fields = decodeDocumentCbor(payload, "the document", "outermost");
  if (!isCborMap(fields)) return reject("wrong_field", "the document: expected a map");
  for (const name of fields.keys()) {
    if (!FIELDS.includes(name)) reject("unknown_field", `the document has a field ${quote(name)}`);
  }
  for (const name of MANDATORY) if (!fields.has(name)) reject("missing_field", `the document has no ${name}`);
  const digest = fields.get("digest");
  if (digest !== "SHA384") reject("wrong_field", `digest: expected "SHA384", got ${quote(digest)}`);
  const publicKey = optionalBytes(fields, { name: "public_key", min: 1, max: ATTESTED_PUBLIC_KEY_BYTES_MAX });
  const userData = optionalBytes(fields, { name: "user_data", min: 0, max: USER_DATA_BYTES_MAX });
  const nonce = optionalBytes(fields, { name: "nonce", min: 0, max: NONCE_BYTES_MAX });
  return {
    moduleId: parseModuleId(fields.get("module_id")),
    timestampMs: parseTimestamp(fields.get("timestamp")),
    pcrs: parsePcrs(fields.get("pcrs")),
    certificate: bytesOf(fields.get("certificate"), { name: "certificate", min: 1, max: CERTIFICATE_BYTES_MAX }),
    caBundle: parseBundle(fields.get("cabundle")),
    ...(publicKey !== undefined && { publicKey }),
    ...(userData !== undefined && { userData }),
    ...(nonce !== undefined && { nonce }),
  };
};

/** A payload as AWS writes it: its fields in this order, in a map without length, null where an optional one is absent. Checks nothing. */
export const encodeAttestationDocument = (document: AttestationDocument): Uint8Array =>
  encodeOpenMap(
    new Map<CborValue, CborValue>([
      ["module_id", document.moduleId],
      ["digest", "SHA384"],
      ["timestamp", document.timestampMs],
      ["pcrs", document.pcrs],
      ["certificate", document.certificate],
      ["cabundle", document.caBundle],
      ["public_key", document.publicKey ?? null],
      ["user_data", document.userData ?? null],
      ["nonce", document.nonce ?? null],
    ]),
  );

interface Length {
  readonly name: string;
  readonly min: number;
  readonly max: number;
}

const bytesOf = (value: CborValue | undefined, { name, min, max }: Length): Uint8Array => {
  if (!(value instanceof Uint8Array)) return reject("wrong_field", `${name}: expected bytes`);
  if (value.length >= min && value.length <= max) return value;
  return reject("wrong_field", `${name}: expected ${min}..${max} bytes, got ${value.length}`);
};

const optionalBytes = (fields: CborMap, length: Length): Uint8Array | undefined => {
  const value = fields.get(length.name);
  return value === undefined || value === null ? undefined : bytesOf(value, length);
};

const parseModuleId = (value: CborValue | undefined): string =>
  typeof value === "string" && MODULE_ID.test(value)
    ? value
    : reject("wrong_field", `module_id: expected 1..256 printable characters, got ${quote(value)}`);

const parseTimestamp = (value: CborValue | undefined): number =>
  typeof value === "number" && value > 0
    ? value
    : reject("wrong_field", `timestamp: expected milliseconds since 1970, got ${quote(value)}`);

const parsePcrs = (value: CborValue | undefined): ReadonlyMap<number, Uint8Array> => {
  if (!isCborMap(value)) return reject("wrong_field", "pcrs: expected a map");
  if (value.size === 0) return reject("wrong_field", "pcrs: expected 1..32 of them, got none");
  const pcrs = new Map<number, Uint8Array>();
  for (const [index, pcr] of value) {
    if (typeof index !== "number" || index < 0 || index > PCR_INDEX_MAX) {
      return reject("wrong_field", `pcrs: expected an index 0..${PCR_INDEX_MAX}, got ${quote(index)}`);
    }
    if (!(pcr instanceof Uint8Array) || !PCR_LENGTHS.includes(pcr.length)) {
      return reject("wrong_field", `pcrs: PCR${index}: expected 32, 48 or 64 bytes`);
    }
    pcrs.set(index, pcr);
  }
  return pcrs;
};

const parseBundle = (value: CborValue | undefined): readonly Uint8Array[] => {
  if (!Array.isArray(value)) return reject("wrong_field", "cabundle: expected a list");
  if (value.length < 1 || value.length > CA_BUNDLE_MAX) {
    return reject("wrong_field", `cabundle: expected 1..${CA_BUNDLE_MAX} certificates, got ${value.length}`);
  }
  return value.map((entry: CborValue, index) =>
    bytesOf(entry, { name: `cabundle[${index}]`, min: 1, max: CERTIFICATE_BYTES_MAX }),
  );
};
