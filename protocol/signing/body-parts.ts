/** What the bodies of several signing types share: the chain they name, names in any letter case, slots and epochs. */

import { computeDomain, type Fork, versionAt } from "./domain.ts";
import type { Duty } from "./duty.ts";
import { type JsonObject, type JsonReader, ownMember, refuse } from "./json.ts";
import type { Network } from "./network.ts";
import { FORK_INFO } from "./shapes.ts";

/** A message read from a request body. */
export interface ParsedBody {
  /** hash_tree_root of the message, 32 bytes. */
  readonly objectRoot: Uint8Array;
  /** Signature domain, 32 bytes. */
  readonly domain: Uint8Array;
  /** The chain that the client named, 32 bytes; undefined for types that are valid on no particular chain. */
  readonly genesisValidatorsRoot: Uint8Array | undefined;
  readonly duty: Duty;
}

/** Reads the members of one signing type. Throws SignerError `bad_request` naming the member. */
export type BodyReader = (members: JsonObject, network: Network) => ParsedBody;

/** Reads `fork_info`: the fork, and the 32-byte genesis validators root. */
export const readForkInfo = (members: JsonObject): { fork: Fork; genesisValidatorsRoot: Uint8Array } =>
  FORK_INFO.read(ownMember(members, "fork_info"), "fork_info");

/** Reads `fork_info` and computes the domain of a message of `epoch` on that chain. */
export const readChain = (
  members: JsonObject,
  { domainType, epoch }: { domainType: Uint8Array; epoch: bigint },
): { domain: Uint8Array; genesisValidatorsRoot: Uint8Array } => {
  const { fork, genesisValidatorsRoot } = readForkInfo(members);
  const forkVersion = versionAt(fork, epoch);
  return { domain: computeDomain(domainType, { forkVersion, genesisValidatorsRoot }), genesisValidatorsRoot };
};

/** The epoch of a slot (consensus spec, `compute_epoch_at_slot`). */
export const epochOf = (slot: bigint, network: Network): bigint => slot / BigInt(network.slotsPerEpoch);

/** A slot or epoch on which slashing protection decides, as a number. Throws `bad_request` above 2^53-1. */
export const toSafeNumber = (value: bigint, path: string): number =>
  value <= MAX_SAFE ? Number(value) : refuse(path, "0..2^53-1", String(value));

/** Reads one of `names` (in upper case), sent in any letter case. Throws `bad_request` that lists them all. */
export const readName = <Name extends string>(json: unknown, path: string, names: readonly Name[]): Name => {
  // Letters outside ASCII have upper cases inside it ("ı" gives "I"), hence the pattern.
  const upper = typeof json === "string" && ASCII_WORD.test(json) ? json.toUpperCase() : undefined;
  return names.find((name) => name === upper) ?? refuse(path, `one of ${names.join(", ")}`, json);
};

/** Reads a message and hashes it: its root and the slot it belongs to. */
export type SlottedReader = JsonReader<{ readonly slot: bigint; readonly objectRoot: Uint8Array }>;

const MAX_SAFE = BigInt(Number.MAX_SAFE_INTEGER);
const ASCII_WORD = /^\w{1,64}$/;
