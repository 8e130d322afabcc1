/**
 * Guesses a request's `type` from its bytes without parsing them. The guess feeds metrics and routing, and nothing
 * else: the enclave parses the body and decides. A wrong guess costs a little time, never safety.
 */

import { SIGNING_TYPES, type SigningType } from "#protocol/signing/types.ts";

const MEMBER = Buffer.from('"type"');
const TYPES = new Map<string, SigningType>(SIGNING_TYPES.map((type) => [type, type]));
/** Bytes of text that are looked at after the member's name: the longest type (37) with room for spaces. */
const VALUE_WINDOW_BYTES = 96;
const VALUE = /^\s*:\s*"([A-Za-z0-9_]+)"/;

/** The value of the first member `type`, case-insensitive; undefined when there is none that we know. */
export const sniffType = (body: Buffer): SigningType | undefined => {
  const at = body.indexOf(MEMBER);
  if (at === -1) return undefined;
  const start = at + MEMBER.length;
  const match = VALUE.exec(body.toString("latin1", start, start + VALUE_WINDOW_BYTES));
  return match?.[1] === undefined ? undefined : TYPES.get(match[1].toUpperCase());
};
