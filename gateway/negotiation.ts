/**
 * What a client wants to get, by its `Accept` header (RFC 9110, 12.5.1). Total: an entry that cannot be read counts
 * for nothing.
 */

/** One entry of an `Accept` header. */
interface MediaRange {
  readonly type: string;
  readonly subtype: string;
  /** 0..1 */
  readonly quality: number;
}

/** Entries that are read of one header; real ones have up to five. */
const RANGES_MAX = 32;
const QUALITY = /^(?:0(?:\.\d{0,3})?|1(?:\.0{0,3})?)$/;
const MEDIA_RANGE = /^([^/\s]+)\/([^/\s]+)$/;

/**
 * Whether a signature goes out as JSON: when the header names `application/json`, `application/*` or everything.
 * Without a header it goes out as plain text (Web3Signer, Eth2SignForIdentifierHandler; Teku and Prysm rely on it).
 */
export const acceptsJson = (accept: string | undefined): boolean => {
  if (accept === undefined) return false;
  if (accept === "application/json") return true; // what nearly every client sends
  return parseAccept(accept).some(
    ({ type, subtype, quality }) =>
      quality > 0 &&
      ((type === "application" && (subtype === "json" || subtype === "*")) || (type === "*" && subtype === "*")),
  );
};

/**
 * The offer that the client likes best: by quality, then by how exactly it was named, then by its place in the header,
 * then by its place among the offers. Without a header the first offer; undefined when none is acceptable.
 */
export const preferredType = <Offer extends string>(
  accept: string | undefined,
  offers: readonly Offer[],
): Offer | undefined => {
  if (accept === undefined || accept.trim() === "") return offers[0];
  const ranges = parseAccept(accept);
  const ranked = offers
    .map((offer) => ({ offer, ...rank(offer, ranges) }))
    .filter(({ quality }) => quality > 0)
    .sort((a, b) => b.quality - a.quality || b.exactness - a.exactness || a.place - b.place);
  return ranked[0]?.offer;
};

/** How the most exact range that covers `offer` values it. */
const rank = (offer: string, ranges: readonly MediaRange[]): { quality: number; exactness: number; place: number } => {
  let best = { quality: 0, exactness: -1, place: ranges.length };
  for (const [place, range] of ranges.entries()) {
    const exactness = exactnessOf(range, offer);
    if (exactness > best.exactness) best = { quality: range.quality, exactness, place };
  }
  return best;
};

/** 2: the very type, 1: `type/*`, 0: everything, -1: not covered. */
const exactnessOf = ({ type, subtype }: MediaRange, offer: string): number => {
  if (`${type}/${subtype}` === offer) return 2;
  if (subtype !== "*") return -1;
  if (type === "*") return 0;
  return offer.startsWith(`${type}/`) ? 1 : -1;
};

const parseAccept = (accept: string): readonly MediaRange[] =>
  accept
    .toLowerCase()
    .split(",", RANGES_MAX)
    .flatMap((entry) => {
      const [range = "", ...parameters] = entry.split(";").map((part) => part.trim());
      const match = MEDIA_RANGE.exec(range);
      const quality = parseQuality(parameters);
      if (match?.[1] === undefined || match[2] === undefined || quality === undefined) return [];
      return [{ type: match[1], subtype: match[2], quality }];
    });

const parseQuality = (parameters: readonly string[]): number | undefined => {
  const weight = parameters.find((parameter) => parameter.startsWith("q="));
  if (weight === undefined) return 1;
  const text = weight.slice(2);
  return QUALITY.test(text) ? Number(text) : undefined;
};
