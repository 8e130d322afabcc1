/** Equal bodies share one parse; bodies that differ never share anything. */

import { describe, expect, it } from "vitest";
import { createRequestCache } from "#enclave/request-cache.ts";
import { toHex } from "#protocol/bytes.ts";
import { NAMED_NETWORKS } from "#protocol/signing/named-networks.ts";
import { networkFromJson } from "#protocol/signing/network.ts";
import { parseSignRequest } from "#protocol/signing/request.ts";
import { encode, sample } from "../protocol/signing/samples.ts";

const NETWORK = networkFromJson({ name: "samples", ...NAMED_NETWORKS.mainnet });
const ATTESTATION = sample("ATTESTATION").body;
const bytesOf = (json: unknown): Uint8Array => new TextEncoder().encode(JSON.stringify(json));
/** An attestation of its own for each number. */
const attestation = (number: number): Uint8Array => {
  const body = structuredClone(ATTESTATION) as unknown as { attestation: { index: string }; signingRoot?: string };
  body.attestation.index = String(number);
  delete body.signingRoot;
  return bytesOf(body);
};

describe("the request cache", () => {
  it("gives the same parse for the same bytes", () => {
    const parse = createRequestCache(NETWORK);
    const first = parse(attestation(1));
    expect(parse(attestation(1))).toBe(first);
    expect(first).toEqual(parseSignRequest(attestation(1), NETWORK));
  });

  it("keeps no reference to the bytes it was given: they are a view on a receive buffer", () => {
    const parse = createRequestCache(NETWORK);
    const body = attestation(1);
    const before = toHex(parse(body).signingRoot);
    body.fill(0x20);
    expect(toHex(parse(attestation(1)).signingRoot)).toBe(before);
    expect(() => parse(body)).toThrow();
  });

  it("tells bodies apart that differ in one byte, anywhere", () => {
    const parse = createRequestCache(NETWORK);
    const body = encode(ATTESTATION);
    const known = parse(body);
    for (let at = 0; at < body.length; at += 1) {
      const other = body.slice();
      other[at] = (other[at] as number) ^ 1;
      let outcome: unknown;
      try {
        outcome = parse(other);
      } catch {
        continue;
      }
      expect(outcome).not.toBe(known);
      expect(outcome).toEqual(parseSignRequest(other, NETWORK));
    }
  });

  it("does not keep what it could not parse", () => {
    const parse = createRequestCache(NETWORK);
    const broken = bytesOf({ ...ATTESTATION, signingRoot: `0x${"00".repeat(32)}` });
    expect(() => parse(broken)).toThrow(/signingRoot/);
    expect(() => parse(broken)).toThrow(/signingRoot/);
  });

  it("forgets the oldest bodies and stays right", () => {
    const parse = createRequestCache(NETWORK);
    const first = parse(attestation(0));
    for (let number = 1; number <= 600; number += 1) {
      expect(toHex(parse(attestation(number)).signingRoot)).toBe(
        toHex(parseSignRequest(attestation(number), NETWORK).signingRoot),
      );
    }
    const again = parse(attestation(0));
    expect(again).not.toBe(first); // it was forgotten: the cache is bounded
    expect(again).toEqual(first);
  });

  it("keeps what is used again, while others come and go", () => {
    const parse = createRequestCache(NETWORK);
    const first = parse(attestation(0));
    for (let number = 1; number <= 600; number += 1) {
      parse(attestation(number));
      expect(parse(attestation(0))).toBe(first);
    }
  });
});
