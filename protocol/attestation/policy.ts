/** Which enclaves are meant: measurements that a document must show. */

import { bytesEqual, toHex } from "../bytes.ts";
import { SignerError } from "../errors.ts";
import { type AttestationDocument, PCR_BYTES, PCR_INDEX_MAX } from "./document.ts";
import { reject } from "./rejection.ts";

/**
 * Allowed SHA-384 values by PCR index. Every PCR that is named must have one of its values; the others may have any.
 * Two values of PCR0 let an old and a new image work side by side while a fleet is rolled over.
 */
export type PcrPolicy = ReadonlyMap<number, readonly Uint8Array[]>;

/** PCRs that are zeros in debug mode and never otherwise: image, kernel and boot, application. */
const IMAGE_PCRS = [0, 1, 2] as const;

/**
 * A checked policy.
 * @throws SignerError `bad_request` when it names no PCR, an index above 31, no value, or one that is not 48 bytes long
 */
export const createPcrPolicy = (values: Iterable<readonly [number, readonly Uint8Array[]]>): PcrPolicy => {
  const policy = new Map(values);
  if (policy.size === 0) throw wrong("expected at least one PCR: PCR0 is the measurement of the image");
  for (const [index, allowed] of policy) {
    if (!Number.isInteger(index) || index < 0 || index > PCR_INDEX_MAX) {
      throw wrong(`expected an index 0..${PCR_INDEX_MAX}, got ${index}`);
    }
    if (allowed.length === 0) throw wrong(`PCR${index}: expected a value`);
    for (const { length } of allowed) {
      if (length !== PCR_BYTES) throw wrong(`PCR${index}: expected ${PCR_BYTES} bytes (SHA-384), got ${length}`);
    }
  }
  return policy;
};

/** Rejects (inside `asVerdict`) a document whose measurements are not those of the policy. */
export const checkPcrs = ({ pcrs }: AttestationDocument, policy: PcrPolicy): void => {
  if (policy.size === 0) reject("empty_policy", "no PCR is expected, so that any enclave of anybody would do");
  for (const [index, allowed] of policy) {
    const pcr = pcrs.get(index) ?? reject("missing_pcr", `PCR${index} is not in the document`);
    if (allowed.some((value) => bytesEqual(value, pcr))) continue;
    reject("wrong_pcr", `PCR${index}: expected ${allowed.map(toHex).join(" or ")}, got ${toHex(pcr)}`);
  }
};

/** Whether a document is of an enclave in debug mode: its image was not measured. */
export const isDebugMode = ({ pcrs }: AttestationDocument): boolean =>
  IMAGE_PCRS.some((index) => pcrs.get(index)?.every((byte) => byte === 0));

const wrong = (problem: string): SignerError => new SignerError("bad_request", `PCR policy: ${problem}`);
