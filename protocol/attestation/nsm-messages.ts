/**
 * What is said to a Nitro Security Module: CBOR both ways, one answer for each request, in the shapes of AWS's NSM API
 * (aws-nitro-enclaves-nsm-api, src/api/mod.rs, as `serde` writes them: a request without members is its name alone, any
 * other a map from its name to its members). The same bytes go to `/dev/nsm` and to the software NSM.
 */

import { SignerError } from "../errors.ts";
import { type CborMap, type CborValue, decodeCbor, encodeCbor, isCborMap } from "./cbor.ts";

/** Longest request in bytes (`NSM_REQUEST_MAX_SIZE`, linux/nsm.h). */
export const NSM_REQUEST_BYTES_MAX = 0x1000;
/** Longest answer in bytes (`NSM_RESPONSE_MAX_SIZE`, linux/nsm.h). */
export const NSM_RESPONSE_BYTES_MAX = 0x3000;
/** Operation of `rpc.ts` under which the software NSM takes a request. */
export const SOFTWARE_NSM_OPERATION = 1;

/** What an NSM says when it refuses. */
export const NSM_ERROR_CODES = [
  "Success",
  "InvalidArgument",
  "InvalidIndex",
  "InvalidResponse",
  "ReadOnlyIndex",
  "InvalidOperation",
  "BufferTooSmall",
  "InputTooLarge",
  "InternalError",
] as const;
/** One of {@link NSM_ERROR_CODES}. */
export type NsmErrorCode = (typeof NSM_ERROR_CODES)[number];

/** What shall stand in a document, each only where it is given. */
export interface AttestationRequest {
  /** SubjectPublicKeyInfo in DER, 1..1024 bytes. */
  readonly publicKey?: Uint8Array;
  /** 0..512 bytes. */
  readonly userData?: Uint8Array;
  /** 0..512 bytes. */
  readonly nonce?: Uint8Array;
}

/** A request of those that Testudo knows. */
export type NsmRequest =
  | { readonly kind: "attestation"; readonly attestation: AttestationRequest }
  | { readonly kind: "describe-pcr"; readonly index: number }
  | { readonly kind: "describe-nsm" }
  | { readonly kind: "get-random" };

/** An answer. */
export type NsmResponse =
  | { readonly kind: "attestation"; readonly document: Uint8Array }
  | { readonly kind: "describe-pcr"; readonly lock: boolean; readonly data: Uint8Array }
  | { readonly kind: "describe-nsm"; readonly moduleId: string; readonly maxPcrs: number; readonly locked: number[] }
  | { readonly kind: "get-random"; readonly random: Uint8Array }
  | { readonly kind: "error"; readonly code: NsmErrorCode };

/** Asks for a document. */
export const encodeAttestationRequest = ({ publicKey, userData, nonce }: AttestationRequest): Uint8Array =>
  encodeCbor(
    named("Attestation", [
      ["user_data", userData ?? null],
      ["nonce", nonce ?? null],
      ["public_key", publicKey ?? null],
    ]),
  );

/**
 * The document in an answer.
 * @throws SignerError `unavailable` when the NSM refused, `protocol_violation` when the answer is something else
 */
export const decodeAttestationResponse = (bytes: Uint8Array): Uint8Array => {
  const answer = decodeResponse(bytes);
  if (isCborMap(answer) && answer.size === 1) {
    const code = answer.get("Error");
    if (NSM_ERROR_CODES.includes(code as NsmErrorCode)) {
      throw new SignerError("unavailable", `the NSM refused to attest: ${code}`);
    }
    const members = answer.get("Attestation");
    const document = isCborMap(members) && members.size === 1 ? members.get("document") : undefined;
    if (document instanceof Uint8Array) return document;
  }
  throw new SignerError("protocol_violation", "NSM answer: expected an attestation document");
};

const decodeResponse = (bytes: Uint8Array): CborValue => {
  if (bytes.length > NSM_RESPONSE_BYTES_MAX) {
    throw new SignerError(
      "protocol_violation",
      `NSM answer: expected at most ${NSM_RESPONSE_BYTES_MAX} bytes, got ${bytes.length}`,
    );
  }
  try {
    return decodeCbor(bytes, "any"); // nothing is signed here, and AWS says nothing of lengths
  } catch (cause) {
    throw new SignerError("protocol_violation", `NSM answer: ${(cause as Error).message}`, { cause });
  }
};

/** Reads a request as an NSM does: what it does not understand is answered with a code. Total. */
export const decodeNsmRequest = (bytes: Uint8Array): NsmRequest | { kind: "error"; code: NsmErrorCode } => {
  if (bytes.length > NSM_REQUEST_BYTES_MAX) return { kind: "error", code: "InputTooLarge" };
  let request: CborValue;
  try {
    request = decodeCbor(bytes);
  } catch {
    return { kind: "error", code: "InvalidArgument" };
  }
  if (request === "DescribeNSM") return { kind: "describe-nsm" };
  if (request === "GetRandom") return { kind: "get-random" };
  if (!isCborMap(request) || request.size !== 1) return { kind: "error", code: "InvalidOperation" };
  const [[name, members] = []] = request;
  if (!isCborMap(members)) return { kind: "error", code: "InvalidArgument" };
  if (name === "DescribePCR") return decodeDescribePcr(members);
  if (name === "Attestation") return decodeAttestation(members);
  return { kind: "error", code: "InvalidOperation" };
};

const decodeDescribePcr = (members: CborMap): NsmRequest | { kind: "error"; code: NsmErrorCode } => {
  const index = members.get("index");
  if (members.size !== 1 || typeof index !== "number") return { kind: "error", code: "InvalidArgument" };
  return { kind: "describe-pcr", index };
};

const ATTESTATION_MEMBERS: readonly CborValue[] = ["user_data", "nonce", "public_key"];

const decodeAttestation = (members: CborMap): NsmRequest | { kind: "error"; code: NsmErrorCode } => {
  for (const [name, value] of members) {
    const isAllowed = value === null || value instanceof Uint8Array;
    if (!ATTESTATION_MEMBERS.includes(name) || !isAllowed) return { kind: "error", code: "InvalidArgument" };
  }
  const [userData, nonce, publicKey] = ATTESTATION_MEMBERS.map((name) => members.get(name));
  return {
    kind: "attestation",
    attestation: {
      ...(userData instanceof Uint8Array && { userData }),
      ...(nonce instanceof Uint8Array && { nonce }),
      ...(publicKey instanceof Uint8Array && { publicKey }),
    },
  };
};

/** An answer's bytes. */
export const encodeNsmResponse = (response: NsmResponse): Uint8Array => {
  switch (response.kind) {
    case "attestation":
      return encodeCbor(named("Attestation", [["document", response.document]]));
    case "describe-pcr":
      return encodeCbor(
        named("DescribePCR", [
          ["lock", response.lock],
          ["data", response.data],
        ]),
      );
    case "describe-nsm":
      return encodeCbor(
        named("DescribeNSM", [
          ["version_major", 1],
          ["version_minor", 0],
          ["version_patch", 0],
          ["module_id", response.moduleId],
          ["max_pcrs", response.maxPcrs],
          ["locked_pcrs", response.locked],
          ["digest", "SHA384"],
        ]),
      );
    case "get-random":
      return encodeCbor(named("GetRandom", [["random", response.random]]));
    case "error":
      return encodeCbor(new Map([["Error", response.code]]));
  }
};

const named = (name: string, members: readonly (readonly [string, CborValue])[]): CborMap =>
  new Map<CborValue, CborValue>([[name, new Map<CborValue, CborValue>(members)]]);
