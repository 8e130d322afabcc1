/**
 * What each signing type reads from the request, what it hashes, and in which domain: one table entry per type.
 * Source: Web3Signer `Eth2SignForIdentifierHandler` and `openapi-specs/eth2/signing`; consensus specs, "validator" of
 * each fork; builder-specs; EIP-7044. Gloas types and versions are not known yet.
 */

import {
  computeDomain,
  DOMAIN_TYPES,
  versionAt,
  voluntaryExitVersion,
} from "./domain.ts";
import type { Network } from "./network.ts";
import * as shapes from "./shapes.ts";
import { type JsonObject, ownMember, readObject, refuse } from "./strict-json.ts";
import type { SigningType } from "./types.ts";

/**
 * What slashing protection must know of a message. Slots and epochs are 0..2^53-1; they come from the very value that
 * was hashed.
 */
export type Duty =
  | { readonly kind: "block"; readonly slot: number }
  | { readonly kind: "attestation"; readonly slot: number; readonly sourceEpoch: number; readonly targetEpoch: number }
  | { readonly kind: "other" };

/** A message read from a request body. */
export interface ParsedBody {
  /** hash_tree_root of the message, 32 bytes. */
  readonly objectRoot: Uint8Array;
  /** Signature domain, 32 bytes. */
  readonly domain: Uint8Array;
  /** The chain that the client named, 32 bytes; undefined for the types that are valid on no particular chain. */
  readonly genesisValidatorsRoot: Uint8Array | undefined;
  readonly duty: Duty;
  /** Only of VALIDATOR_REGISTRATION: the key that registers, 48 bytes; it must be the key that signs. */
  readonly registrationPubkey?: Uint8Array;
}

type BodyReader = (members: JsonObject, network: Network) => ParsedBody;

/** Reads the body of each type; every reader throws SignerError `bad_request` naming the member. */
export const BODY_READERS = {
  AGGREGATION_SLOT: (members, network) => {
    const { slot } = shapes.AGGREGATION_SLOT.read(ownMember(members, "aggregation_slot"), "aggregation_slot");
    const chain = readChain(members, DOMAIN_TYPES.selectionProof, epochOf(slot, network));
    return { objectRoot: shapes.UINT64.root(slot), ...chain, duty: OTHER };
  },
  AGGREGATE_AND_PROOF: (members, network) => readAggregateAndProof(members, network),
  AGGREGATE_AND_PROOF_V2: (members, network) => readAggregateAndProof(members, network),
  ATTESTATION: (members) => readAttestation(members),
  BLOCK: (members, network) => {
    const block = shapes.BLOCK_PHASE0.read(ownMember(members, "block"), "block");
    return blockBody(members, network, { ...slotAt(block, "block"), objectRoot: shapes.BLOCK_PHASE0.root(block) });
  },
  BLOCK_V2: (members, network) => readBlockV2(members, network),
  DEPOSIT: (members) => {
    const deposit = shapes.DEPOSIT.read(ownMember(members, "deposit"), "deposit");
    const domain = computeDomain(DOMAIN_TYPES.deposit, { forkVersion: deposit.genesisForkVersion });
    return { objectRoot: shapes.DEPOSIT_MESSAGE.root(deposit), domain, genesisValidatorsRoot: undefined, duty: OTHER };
  },
  RANDAO_REVEAL: (members) => {
    const { epoch } = shapes.RANDAO_REVEAL.read(ownMember(members, "randao_reveal"), "randao_reveal");
    const chain = readChain(members, DOMAIN_TYPES.randao, epoch);
    return { objectRoot: shapes.UINT64.root(epoch), ...chain, duty: OTHER };
  },
  SYNC_COMMITTEE_MESSAGE: (members, network) => {
    const json = ownMember(members, "sync_committee_message");
    const { beaconBlockRoot, slot } = shapes.SYNC_COMMITTEE_MESSAGE.read(json, "sync_committee_message");
    const chain = readChain(members, DOMAIN_TYPES.syncCommittee, epochOf(slot, network));
    return { objectRoot: beaconBlockRoot, ...chain, duty: OTHER };
  },
  SYNC_COMMITTEE_SELECTION_PROOF: (members, network) => {
    const json = ownMember(members, "sync_aggregator_selection_data");
    const data = shapes.SYNC_AGGREGATOR_SELECTION_DATA.read(json, "sync_aggregator_selection_data");
    const chain = readChain(members, DOMAIN_TYPES.syncCommitteeSelectionProof, epochOf(data.slot, network));
    return { objectRoot: shapes.SYNC_AGGREGATOR_SELECTION_DATA.root(data), ...chain, duty: OTHER };
  },
  SYNC_COMMITTEE_CONTRIBUTION_AND_PROOF: (members, network) => {
    const json = ownMember(members, "contribution_and_proof");
    const message = shapes.CONTRIBUTION_AND_PROOF.read(json, "contribution_and_proof");
    const epoch = epochOf(message.contribution.slot, network);
    const chain = readChain(members, DOMAIN_TYPES.contributionAndProof, epoch);
    return { objectRoot: shapes.CONTRIBUTION_AND_PROOF.root(message), ...chain, duty: OTHER };
  },
  VALIDATOR_REGISTRATION: (members, network) => {
    const json = ownMember(members, "validator_registration");
    const registration = shapes.VALIDATOR_REGISTRATION.read(json, "validator_registration");
    return {
      objectRoot: shapes.VALIDATOR_REGISTRATION.root(registration),
      domain: computeDomain(DOMAIN_TYPES.applicationBuilder, { forkVersion: network.genesisForkVersion }),
      genesisValidatorsRoot: undefined,
      duty: OTHER,
      registrationPubkey: registration.pubkey,
    };
  },
  VOLUNTARY_EXIT: (members, network) => {
    const exit = shapes.VOLUNTARY_EXIT.read(ownMember(members, "voluntary_exit"), "voluntary_exit");
    const { fork, genesisValidatorsRoot } = readForkInfo(members);
    const forkVersion = voluntaryExitVersion(fork, exit.epoch, network);
    const domain = computeDomain(DOMAIN_TYPES.voluntaryExit, { forkVersion, genesisValidatorsRoot });
    return { objectRoot: shapes.VOLUNTARY_EXIT.root(exit), domain, genesisValidatorsRoot, duty: OTHER };
  },
} satisfies Record<SigningType, BodyReader>;

/** Finds `value` among `names`, in any letter case. Throws `bad_request` that lists the names. */
export const readName = <Name extends string>(json: unknown, path: string, names: readonly Name[]): Name =>
  names.find((name) => typeof json === "string" && isSameAscii(json, name)) ??
  refuse(path, `one of ${names.join(", ")}`, json);

const OTHER: Duty = Object.freeze({ kind: "other" });

/** How each fork's BLOCK_V2 carries its block. */
const BLOCK_FORMS = {
  PHASE0: { member: "block", shape: shapes.BLOCK_PHASE0 },
  ALTAIR: { member: "block", shape: shapes.BLOCK_ALTAIR },
  BELLATRIX: { member: "block_header", shape: shapes.BLOCK_HEADER },
  CAPELLA: { member: "block_header", shape: shapes.BLOCK_HEADER },
  DENEB: { member: "block_header", shape: shapes.BLOCK_HEADER },
  ELECTRA: { member: "block_header", shape: shapes.BLOCK_HEADER },
  FULU: { member: "block_header", shape: shapes.BLOCK_HEADER },
} as const;
