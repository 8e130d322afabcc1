/**
 * CBOR (RFC 8949) as attestation needs it. The decoder knows whole numbers, bytes, text, lists, maps, true, false and
 * null, each in its one shortest form: whatever could be written in two ways is an error, so that two parsers cannot
 * read one signed document differently. One exception is AWS's own: the outermost map of a document has no length, but
 * an end (`0xbf … 0xff`). The encoder writes maps in the order in which they were made, as AWS does.
 */

import { type DecodeOptions, decode, encode, Tokenizer } from "cborg";

/**
 * Items in one message. A document has at most 9 fields, 32 PCRs and a bundle of `CA_BUNDLE_MAX` certificates: about 110.
 * Bounds nesting, too: the parser calls itself for each level.
 */
const ITEMS_MAX = 256;

/** What a decoded message consists of. */
export type CborValue = number | string | boolean | null | Uint8Array | readonly CborValue[] | CborMap;
/** A map; a key may be any of the values, readers look only for those that they know. */
export type CborMap = ReadonlyMap<CborValue, CborValue>;

const STRICT: DecodeOptions = {
  strict: true,
  allowUndefined: false,
  allowInfinity: false,
  allowNaN: false,
  allowBigInt: false,
  rejectDuplicateMapKeys: true,
  useMaps: true,
};

/** Which maps may have an end instead of a length. */
export type OpenMaps = "none" | "outermost" | "any";

const OPEN_MAP = 0xbf;
const END = 0xff;

/** Counts items, and refuses what the library takes: floating-point numbers (1.0 would be read as 1), open lists. */
class StrictTokenizer extends Tokenizer {
  readonly #openMaps: OpenMaps;
  #items = 0;

  constructor(bytes: Uint8Array, openMaps: OpenMaps) {
    super(bytes, STRICT);
    this.#openMaps = openMaps;
  }

  override next(): ReturnType<Tokenizer["next"]> {
    this.#items += 1;
    if (this.#items > ITEMS_MAX) throw new Error(`expected at most ${ITEMS_MAX} items`);
    const token = super.next();
    const { name } = token.type;
    if (name === "float") throw new Error("floating-point numbers are not supported");
    const isOpen = token.value === Number.POSITIVE_INFINITY;
    if (isOpen && !(name === "map" && this.#mayBeOpen())) throw new Error("expected a length, got an open list or map");
    return token;
  }

  #mayBeOpen(): boolean {
    return this.#openMaps === "any" || (this.#openMaps === "outermost" && this.#items === 1);
  }
}

/** One message, whole. @throws Error that says what is wrong; the caller names the message */
export const decodeCbor = (bytes: Uint8Array, openMaps: OpenMaps = "none"): CborValue => {
  // Never a Buffer: its `slice` would be a view, and the values are kept.
  const plain = new Uint8Array(bytes);
  const value: unknown = decode(plain, { ...STRICT, tokenizer: new StrictTokenizer(plain, openMaps) });
  refuseEnds(value);
  return value as CborValue;
};

/** The library takes an end (`0xff`) in the place of a map's value, and gives a symbol for it. */
const refuseEnds = (value: unknown): void => {
  if (typeof value === "symbol") throw new Error("unexpected end of an open map");
  if (value instanceof Map) for (const entry of value.values()) refuseEnds(entry);
  else if (Array.isArray(value)) for (const entry of value) refuseEnds(entry);
};

/** A map with an end instead of a length; its values are ordinary. */
export const encodeOpenMap = (map: CborMap): Uint8Array =>
  Buffer.concat([
    Uint8Array.of(OPEN_MAP),
    ...[...map].flatMap(([key, value]) => [encodeCbor(key), encodeCbor(value)]),
    Uint8Array.of(END),
  ]);

/** A message; maps keep their order. */
export const encodeCbor = (value: CborValue): Uint8Array => encode(value, { mapSorter: () => 0 });

/** Whether a decoded value is a map. */
export const isCborMap = (value: CborValue | undefined): value is CborMap => value instanceof Map;
