/**
 * From the bytes of a signing request to what is signed and what slashing protection decides on. This is the only way
 * to a signing root: no root is ever taken from a client.
 *
 * Specs: Web3Signer API `POST /api/v1/eth2/sign/{identifier}`; consensus specs phase0 to Fulu. It does not know keys,
 * policy, clocks or stores, and does not compare the chain with the configured one: the pipeline does.
 * Total: any bytes give a {@link SignRequest} or SignerError `bad_request`. Differs from Web3Signer where that answers
 * 500 (wrong `signingRoot`, missing `fork_info`): those are bad requests too.
 */

import { bytesEqual, ROOT_BYTES, toHex } from "../bytes.ts";
import { SignerError } from "../errors.ts";
import { BODY_BYTES_MAX } from "../limits.ts";
import { BODY_READERS } from "./bodies.ts";
import { readName } from "./body-parts.ts";
import { computeSigningRoot } from "./domain.ts";
import type { Duty } from "./duty.ts";
import { type JsonObject, ownMember, readBytes, readObject } from "./json.ts";
import type { Network } from "./network.ts";
import { SIGNING_TYPES, type SigningType } from "./types.ts";

/** A parsed signing request, frozen. */
export interface SignRequest {
  readonly type: SigningType;
  /** The root to sign, 32 bytes, computed from the message. */
  readonly signingRoot: Uint8Array;
  /** `fork_info.genesis_validators_root`, 32 bytes; undefined for DEPOSIT and VALIDATOR_REGISTRATION. */
  readonly genesisValidatorsRoot: Uint8Array | undefined;
  /** What slashing protection decides on, taken from the value that was hashed. */
  readonly duty: Duty;
}

/**
 * Parses a request body (JSON in UTF-8, at most `BODY_BYTES_MAX`) for a network whose preset the process runs with
 * (`assertPreset`).
 * @throws SignerError `bad_request` naming the member that is wrong, also when a sent signing root is not the computed one
 */
export const parseSignRequest = (body: Uint8Array, network: Network): SignRequest => {
  const members = parseMembers(body);
  const type = readName(ownMember(members, "type"), "type", SIGNING_TYPES);
  const { objectRoot, domain, genesisValidatorsRoot, duty } = BODY_READERS[type](members, network);
  const signingRoot = computeSigningRoot(objectRoot, domain);
  for (const name of SENT_ROOT_MEMBERS) compareSentRoot(ownMember(members, name), { name, signingRoot });
  return Object.freeze({
    type,
    signingRoot,
    genesisValidatorsRoot,
    duty: Object.freeze(duty),
  });
};

/** Both spellings that Web3Signer accepts. */
const SENT_ROOT_MEMBERS = ["signingRoot", "signing_root"] as const;
/** Refuses malformed UTF-8, and leaves a byte order mark in place, which is then no JSON. */
const UTF8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

const parseMembers = (body: Uint8Array): JsonObject => {
  if (body.length > BODY_BYTES_MAX) {
    throw new SignerError("bad_request", `body: expected at most ${BODY_BYTES_MAX} bytes, got ${body.length}`);
  }
  return readObject(parseJson(body), "body");
};

const parseJson = (body: Uint8Array): unknown => {
  try {
    return JSON.parse(UTF8.decode(body));
  } catch (cause) {
    throw new SignerError("bad_request", "body: expected JSON in UTF-8, got something else", { cause });
  }
};

/** An absent or null root is not compared, as in Web3Signer. */
const compareSentRoot = (json: unknown, { name, signingRoot }: { name: string; signingRoot: Uint8Array }): void => {
  if (json === undefined || json === null) return;
  const sent = readBytes(json, name, ROOT_BYTES);
  if (bytesEqual(sent, signingRoot)) return;
  const detail = `${name}: expected ${toHex(signingRoot)} for this body, got ${toHex(sent)}`;
  throw new SignerError("bad_request", detail);
};
