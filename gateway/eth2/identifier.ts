/** The `{identifier}` of a path: a validator's public key as a client writes it. */

import { fromHex, PUBKEY_BYTES } from "#protocol/bytes.ts";

/**
 * The 48 bytes of an identifier: hex in either case, with or without `0x`. Whether they are a point of the curve is not
 * asked: an unknown key is answered as unknown.
 * @throws SignerError `bad_request`
 */
export const parseIdentifier = (identifier: string): Uint8Array => fromHex(identifier, PUBKEY_BYTES, "identifier");
