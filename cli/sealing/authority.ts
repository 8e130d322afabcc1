/** The authority as command lines name it. */

import { readOperatorPublicKey } from "#pool-manager/operator-key.ts";
import { fromHex } from "#protocol/bytes.ts";
import { AUTHORITY_BYTES } from "#protocol/sealed/header.ts";

/** The public key, 32 bytes, of `0x` hex or of a PEM file with either half. @throws SignerError `bad_request` */
export const readAuthority = (text: string): Uint8Array =>
  fromHex(text.startsWith("0x") ? text : readOperatorPublicKey(text), AUTHORITY_BYTES, "--authority");
