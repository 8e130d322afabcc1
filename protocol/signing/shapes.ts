/**
 * The SSZ types of everything that a signing request may carry, each as a pair of strict reader and root, built once at
 * module load from Lodestar's types (consensus specs phase0 to Fulu). Their limits follow the process-wide preset, see
 * `preset.ts`.
 */

import "./ssz-hasher.ts";
import { ContainerType, type Type, UintBigintType } from "@chainsafe/ssz";
import { ssz } from "@lodestar/types";
import { type Exact, exactType } from "./exact-type.ts";
import type { JsonReader } from "./json.ts";
import { jsonReader } from "./strict-json.ts";

/** How to read a value from JSON and how to hash it; integers are bigints over their whole range. */
export interface Shape<V> {
  readonly read: JsonReader<V>;
  /** hash_tree_root, 32 bytes. Each value is hashed once: nothing is cached. */
  readonly root: (value: V) => Uint8Array;
}

const shape = <V>(type: Type<V>): Shape<Exact<V>> => {
  const exact = exactType(type);
  return { read: jsonReader(exact), root: (value) => exact.hashTreeRoot(value) };
};

const { Root, Version, BLSPubkey, Bytes32 } = ssz;
const uint64 = new UintBigintType(8);
const eth2Names = { jsonCase: "eth2" } as const;

/** uint64, for messages that are a bare slot or epoch. */
export const UINT64 = shape(uint64);
/** `fork_info`, the chain that a message is for. */
export const FORK_INFO = shape(new ContainerType({ fork: ssz.phase0.Fork, genesisValidatorsRoot: Root }, eth2Names));

/** `AttestationData`. */
export const ATTESTATION_DATA = shape(ssz.phase0.AttestationData);
/** Phase0 `BeaconBlock` with its full body. */
export const BLOCK_PHASE0 = shape(ssz.phase0.BeaconBlock);
/** Altair `BeaconBlock` with its full body. */
export const BLOCK_ALTAIR = shape(ssz.altair.BeaconBlock);
/** `BeaconBlockHeader`, whose root equals its block's. */
export const BLOCK_HEADER = shape(ssz.phase0.BeaconBlockHeader);
/** `AggregateAndProof` of phase0 to Deneb. */
export const AGGREGATE_AND_PROOF_PHASE0 = shape(ssz.phase0.AggregateAndProof);
/** `AggregateAndProof` since Electra (EIP-7549: committee bits). */
export const AGGREGATE_AND_PROOF_ELECTRA = shape(ssz.electra.AggregateAndProof);
/** `ContributionAndProof` of sync committees. */
export const CONTRIBUTION_AND_PROOF = shape(ssz.altair.ContributionAndProof);
/** `SyncAggregatorSelectionData`. */
export const SYNC_AGGREGATOR_SELECTION_DATA = shape(ssz.altair.SyncAggregatorSelectionData);
/** `VoluntaryExit`. */
export const VOLUNTARY_EXIT = shape(ssz.phase0.VoluntaryExit);
/** `ValidatorRegistrationV1` of the builder-specs. */
export const VALIDATOR_REGISTRATION = shape(ssz.bellatrix.ValidatorRegistrationV1);
/** `DepositMessage`: what is hashed of a deposit. */
export const DEPOSIT_MESSAGE = shape(ssz.phase0.DepositMessage);

/** The member `aggregation_slot`; the slot alone is hashed. */
export const AGGREGATION_SLOT = shape(new ContainerType({ slot: uint64 }, eth2Names));
/** The member `randao_reveal`; the epoch alone is hashed. */
export const RANDAO_REVEAL = shape(new ContainerType({ epoch: uint64 }, eth2Names));
/** The member `sync_committee_message`; the block root alone is hashed. */
export const SYNC_COMMITTEE_MESSAGE = shape(new ContainerType({ beaconBlockRoot: Root, slot: uint64 }, eth2Names));
/** The member `deposit`: a `DepositMessage` and the fork version of its domain. */
export const DEPOSIT = shape(
  new ContainerType(
    { pubkey: BLSPubkey, withdrawalCredentials: Bytes32, amount: uint64, genesisForkVersion: Version },
    eth2Names,
  ),
);
