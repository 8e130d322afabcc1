/**
 * Requests with the same body share one parse and one root: in a slot thousands of validators send the very same bytes.
 * A body is found by all of its bytes, never by a digest: two bodies that differ can never share a root.
 *
 * Two generations instead of a list in order of use: a hit costs one lookup and changes nothing. When the young
 * generation is full it becomes the old one; what is used again comes back. So the cache keeps between one and two times
 * its bound of the latest bodies.
 */

import { toByteString } from "#protocol/bytes.ts";
import type { Network } from "#protocol/signing/network.ts";
import { parseSignRequest, type SignRequest } from "#protocol/signing/request.ts";

/** Bodies of one generation. A slot has one attestation body a committee before Electra, one since. */
const ENTRIES_MAX = 256;
/** Blocks are larger, and are sent once. With 256 entries: at most 2 × 1 MiB. */
const BODY_BYTES_CACHED_MAX = 4 * 1024;

/** Parses bodies as `parseSignRequest` does, and remembers what came of the latest small ones. Failures are not kept. */
export const createRequestCache = (network: Network): ((body: Uint8Array) => SignRequest) => {
  let young = new Map<string, SignRequest>();
  let old = new Map<string, SignRequest>();

  const keep = (key: string, request: SignRequest): SignRequest => {
    if (young.size >= ENTRIES_MAX) {
      old = young;
      young = new Map();
    }
    young.set(key, request);
    return request;
  };

  return (body) => {
    if (body.length > BODY_BYTES_CACHED_MAX) return parseSignRequest(body, network);
    const key = toByteString(body);
    const known = young.get(key);
    if (known !== undefined) return known;
    return keep(key, old.get(key) ?? parseSignRequest(body, network));
  };
};
