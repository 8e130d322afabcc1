/**
 * What each signing type reads from the request, what it hashes, and in which domain: one table entry per type.
 * Source: Web3Signer `Eth2SignForIdentifierHandler` and `openapi-specs/eth2/signing`; consensus specs, "validator" of
 * each fork; builder-specs; EIP-7044. Gloas types and versions are not known yet.
 */

import { readAggregateAndProof } from "./aggregate-body.ts";
import { readBlock, readBlockV2 } from "./block-body.ts";
import { type BodyReader, epochOf, readChain, readForkInfo, toSafeNumber } from "./body-parts.ts";
import { computeDomain, DOMAIN_TYPES, voluntaryExitVersion } from "./domain.ts";
import { OTHER_DUTY } from "./duty.ts";
import { ownMember } from "./json.ts";
import * as shapes from "./shapes.ts";
import type { SigningType } from "./types.ts";

const readAttestation: BodyReader = (members) => {
  const attestation = shapes.ATTESTATION_DATA.read(ownMember(members, "attestation"), "attestation");
  const { slot, source, target } = attestation;
  return {
    objectRoot: shapes.ATTESTATION_DATA.root(attestation),
    ...readChain(members, { domainType: DOMAIN_TYPES.beaconAttester, epoch: target.epoch }),
    duty: {
      kind: "attestation",
      slot: toSafeNumber(slot, "attestation.slot"),
      sourceEpoch: toSafeNumber(source.epoch, "attestation.source.epoch"),
      targetEpoch: toSafeNumber(target.epoch, "attestation.target.epoch"),
    },
  };
};

/** Hashes the bare slot. */
const readAggregationSlot: BodyReader = (members, network) => {
  const { slot } = shapes.AGGREGATION_SLOT.read(ownMember(members, "aggregation_slot"), "aggregation_slot");
  const chain = readChain(members, { domainType: DOMAIN_TYPES.selectionProof, epoch: epochOf(slot, network) });
  return { objectRoot: shapes.UINT64.root(slot), ...chain, duty: OTHER_DUTY };
};

/** Hashes the bare epoch. */
const readRandaoReveal: BodyReader = (members) => {
  const { epoch } = shapes.RANDAO_REVEAL.read(ownMember(members, "randao_reveal"), "randao_reveal");
  const chain = readChain(members, { domainType: DOMAIN_TYPES.randao, epoch });
  return { objectRoot: shapes.UINT64.root(epoch), ...chain, duty: OTHER_DUTY };
};

/** The fork version is the deposit's own: a deposit may come before its chain. */
const readDeposit: BodyReader = (members) => {
  const deposit = shapes.DEPOSIT.read(ownMember(members, "deposit"), "deposit");
  return {
    objectRoot: shapes.DEPOSIT_MESSAGE.root(deposit),
    domain: computeDomain(DOMAIN_TYPES.deposit, { forkVersion: deposit.genesisForkVersion }),
    genesisValidatorsRoot: undefined,
    duty: OTHER_DUTY,
  };
};

/** Hashes the bare block root; the slot only gives the domain's epoch. */
const readSyncCommitteeMessage: BodyReader = (members, network) => {
  const json = ownMember(members, "sync_committee_message");
  const { beaconBlockRoot, slot } = shapes.SYNC_COMMITTEE_MESSAGE.read(json, "sync_committee_message");
  const chain = readChain(members, { domainType: DOMAIN_TYPES.syncCommittee, epoch: epochOf(slot, network) });
  return { objectRoot: beaconBlockRoot, ...chain, duty: OTHER_DUTY };
};

const readSyncCommitteeSelectionProof: BodyReader = (members, network) => {
  const json = ownMember(members, "sync_aggregator_selection_data");
  const data = shapes.SYNC_AGGREGATOR_SELECTION_DATA.read(json, "sync_aggregator_selection_data");
  const epoch = epochOf(data.slot, network);
  const chain = readChain(members, { domainType: DOMAIN_TYPES.syncCommitteeSelectionProof, epoch });
  return { objectRoot: shapes.SYNC_AGGREGATOR_SELECTION_DATA.root(data), ...chain, duty: OTHER_DUTY };
};

const readSyncCommitteeContributionAndProof: BodyReader = (members, network) => {
  const json = ownMember(members, "contribution_and_proof");
  const message = shapes.CONTRIBUTION_AND_PROOF.read(json, "contribution_and_proof");
  const epoch = epochOf(message.contribution.slot, network);
  const chain = readChain(members, { domainType: DOMAIN_TYPES.contributionAndProof, epoch });
  return { objectRoot: shapes.CONTRIBUTION_AND_PROOF.root(message), ...chain, duty: OTHER_DUTY };
};

/** The fork version is the network's genesis version (builder-specs, `DOMAIN_APPLICATION_BUILDER`). */
const readValidatorRegistration: BodyReader = (members, network) => {
  const json = ownMember(members, "validator_registration");
  const registration = shapes.VALIDATOR_REGISTRATION.read(json, "validator_registration");
  return {
    objectRoot: shapes.VALIDATOR_REGISTRATION.root(registration),
    domain: computeDomain(DOMAIN_TYPES.applicationBuilder, { forkVersion: network.genesisForkVersion }),
    genesisValidatorsRoot: undefined,
    duty: OTHER_DUTY,
  };
};

const readVoluntaryExit: BodyReader = (members, network) => {
  const exit = shapes.VOLUNTARY_EXIT.read(ownMember(members, "voluntary_exit"), "voluntary_exit");
  const { fork, genesisValidatorsRoot } = readForkInfo(members);
  const forkVersion = voluntaryExitVersion(fork, exit.epoch, network);
  return {
    objectRoot: shapes.VOLUNTARY_EXIT.root(exit),
    domain: computeDomain(DOMAIN_TYPES.voluntaryExit, { forkVersion, genesisValidatorsRoot }),
    genesisValidatorsRoot,
    duty: OTHER_DUTY,
  };
};

/** The reader of each signing type; each throws SignerError `bad_request` naming the member. */
export const BODY_READERS = {
  AGGREGATION_SLOT: readAggregationSlot,
  AGGREGATE_AND_PROOF: readAggregateAndProof,
  AGGREGATE_AND_PROOF_V2: readAggregateAndProof,
  ATTESTATION: readAttestation,
  BLOCK: readBlock,
  BLOCK_V2: readBlockV2,
  DEPOSIT: readDeposit,
  RANDAO_REVEAL: readRandaoReveal,
  SYNC_COMMITTEE_MESSAGE: readSyncCommitteeMessage,
  SYNC_COMMITTEE_SELECTION_PROOF: readSyncCommitteeSelectionProof,
  SYNC_COMMITTEE_CONTRIBUTION_AND_PROOF: readSyncCommitteeContributionAndProof,
  VALIDATOR_REGISTRATION: readValidatorRegistration,
  VOLUNTARY_EXIT: readVoluntaryExit,
} satisfies Record<SigningType, BodyReader>;
