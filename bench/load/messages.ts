/**
 * Signing requests as validator clients send them (Web3Signer API, mainnet, Electra), each with its signing root, which
 * clients send along. Roots come from `test/helpers/naive-ssz.ts`, which shares no code with the signer: a signature
 * that verifies against them is the right one.
 */

import { hash } from "node:crypto";
import * as naive from "../../test/helpers/naive-ssz.ts";

/** One message to sign. */
export interface Message {
  /** What follows the header `Content-Length: `, that is the length, an empty line, and the body. */
  readonly tail: string;
  /** The body alone. */
  readonly body: string;
  /** What is signed, 0x-hex. */
  readonly root: string;
}

/** Slots per epoch (consensus specs, mainnet preset). */
export const SLOTS_PER_EPOCH = 32;
/** Mainnet's genesis validators root (eth-clients/mainnet). */
const GENESIS_VALIDATORS_ROOT = "0x4b363db94e286120d76eb905340fdd4e54bfe9f06bf33ff6cf5ad27f511bfe95";
/** Electra on mainnet (consensus specs, configs/mainnet.yaml). */
const FORK_VERSION = "0x05000000";
/** Bits of an attestation since Electra: MAX_VALIDATORS_PER_COMMITTEE × MAX_COMMITTEES_PER_SLOT. */
const AGGREGATION_BITS_MAX = 2048 * 64;
const COMMITTEES_PER_SLOT = 64;
/** A committee of a million validators: 1,000,000 / 32 slots / 64 committees. */
const COMMITTEE_BITS = 488;
/** SYNC_COMMITTEE_SIZE / SYNC_COMMITTEE_SUBNET_COUNT. */
const SYNC_SUBCOMMITTEE_BITS = 128;
/** A signature that no signer checks: the client's earlier selection proof, an aggregate of others. */
const SOME_SIGNATURE = `0x${"a5".repeat(96)}`;

const FORK_INFO = {
  fork: { previous_version: FORK_VERSION, current_version: FORK_VERSION, epoch: "0" },
  genesis_validators_root: GENESIS_VALIDATORS_ROOT,
};

/** 32 bytes in 0x-hex that `numbers`, whole and below 2^32, make unique. */
export const rootOf = (...numbers: readonly number[]): string =>
  `0x${numbers
    .map((number) => number.toString(16).padStart(8, "0"))
    .join("")
    .padEnd(64, "b7")}`;

/** The same vote for all validators of a slot, since Electra (EIP-7549: the committee's index is always 0). */
export const attestation = (slot: number): Message => {
  const { json, heads } = attestationData(slot);
  return message("ATTESTATION", { attestation: { ...json, beacon_block_root: rootOf(slot) } }, heads(rootOf(slot)));
};

/** Votes of one slot that differ in the block they vote for; a root costs four hashes. */
export const attestationsOf = (slot: number): ((head: string) => Message) => {
  const { json, heads } = attestationData(slot);
  return (head) => message("ATTESTATION", { attestation: { ...json, beacon_block_root: head } }, heads(head));
};

const attestationData = (slot: number) => {
  const target = Math.floor(slot / SLOTS_PER_EPOCH);
  const roots = { source: rootOf(target - 1, 1), target: rootOf(target, 1) };
  const json = {
    slot: String(slot),
    index: "0",
    beacon_block_root: "",
    source: { epoch: String(target - 1), root: roots.source },
    target: { epoch: String(target), root: roots.target },
  };
  // merkleize([slot, index, head, source, target]) with all but the head's branch made once
  const left = naive.container(naive.uint64(slot), naive.uint64(0));
  const source = naive.container(naive.uint64(target - 1), naive.bytes(roots.source));
  const rest = naive.merkleize([naive.container(naive.uint64(target), naive.bytes(roots.target))], 4);
  const pair = (a: Uint8Array, b: Uint8Array): Buffer => hash("sha256", Buffer.concat([a, b]), "buffer");
  const domain = domainOf("0x01000000");
  const heads = (head: string): string =>
    `0x${pair(pair(pair(left, pair(naive.hex(head), source)), rest), domain).toString("hex")}`;
  return { json, heads };
};

/** Proof that a validator may aggregate in a slot: the bare slot is signed. */
export const aggregationSlot = (slot: number): Message =>
  signed("AGGREGATION_SLOT", { aggregation_slot: { slot: String(slot) } }, ["0x05000000", naive.uint64(slot)]);

/** A proposer's reveal: the bare epoch is signed. */
export const randaoReveal = (slot: number): Message => {
  const epoch = Math.floor(slot / SLOTS_PER_EPOCH);
  return signed("RANDAO_REVEAL", { randao_reveal: { epoch: String(epoch) } }, ["0x02000000", naive.uint64(epoch)]);
};

/** A block by its header, as clients send it since Bellatrix. */
export const block = (slot: number, proposer: number): Message => {
  const [parent, state, body] = [rootOf(slot, 2), rootOf(slot, 3), rootOf(slot, 4)];
  const header = {
    slot: String(slot),
    proposer_index: String(proposer),
    parent_root: parent,
    state_root: state,
    body_root: body,
  };
  const fields = [naive.uint64(slot), naive.uint64(proposer), ...[parent, state, body].map(naive.bytes)];
  const json = { beacon_block: { version: "ELECTRA", block_header: header } };
  return signed("BLOCK_V2", json, ["0x00000000", naive.container(...fields)]);
};

/** An aggregator's aggregate, different for each aggregator. */
export const aggregateAndProof = (slot: number, aggregator: number): Message => {
  const target = Math.floor(slot / SLOTS_PER_EPOCH);
  const roots = { head: rootOf(slot), source: rootOf(target - 1, 1), target: rootOf(target, 1) };
  const bits = Array.from({ length: COMMITTEE_BITS }, (_, index) => index % 7 !== 0);
  const committees = Array.from({ length: COMMITTEES_PER_SLOT }, (_, index) => index === aggregator % 64);
  const data = {
    slot: String(slot),
    index: "0",
    beacon_block_root: roots.head,
    source: { epoch: String(target - 1), root: roots.source },
    target: { epoch: String(target), root: roots.target },
  };
  const aggregate = {
    aggregation_bits: naive.bitlistJson(bits),
    data,
    signature: SOME_SIGNATURE,
    committee_bits: naive.bitvectorJson(committees),
  };
  const dataRoot = naive.container(
    naive.uint64(slot),
    naive.uint64(0),
    naive.bytes(roots.head),
    naive.container(naive.uint64(target - 1), naive.bytes(roots.source)),
    naive.container(naive.uint64(target), naive.bytes(roots.target)),
  );
  const aggregateRoot = naive.container(
    naive.bitlist(bits, AGGREGATION_BITS_MAX),
    dataRoot,
    naive.bytes(SOME_SIGNATURE),
    naive.bitvector(committees),
  );
  const root = naive.container(naive.uint64(aggregator), aggregateRoot, naive.bytes(SOME_SIGNATURE));
  const json = {
    aggregate_and_proof: {
      version: "ELECTRA",
      data: { aggregator_index: String(aggregator), aggregate, selection_proof: SOME_SIGNATURE },
    },
  };
  return signed("AGGREGATE_AND_PROOF_V2", json, ["0x06000000", root]);
};

/** The same for all members of the sync committee: the block's root is signed. */
export const syncCommitteeMessage = (slot: number): Message => {
  const root = rootOf(slot);
  const json = { sync_committee_message: { beacon_block_root: root, slot: String(slot) } };
  return signed("SYNC_COMMITTEE_MESSAGE", json, ["0x07000000", naive.hex(root)]);
};

/** Proof that a member may aggregate for its subcommittee (0..3); the same for all its members. */
export const syncCommitteeSelectionProof = (slot: number, subcommittee: number): Message => {
  const json = { sync_aggregator_selection_data: { slot: String(slot), subcommittee_index: String(subcommittee) } };
  const root = naive.container(naive.uint64(slot), naive.uint64(subcommittee));
  return signed("SYNC_COMMITTEE_SELECTION_PROOF", json, ["0x08000000", root]);
};

/** A sync aggregator's contribution, different for each aggregator. */
export const contributionAndProof = (slot: number, aggregator: number): Message => {
  const bits = Array.from({ length: SYNC_SUBCOMMITTEE_BITS }, (_, index) => index % 5 !== 0);
  const contribution = {
    slot: String(slot),
    beacon_block_root: rootOf(slot),
    subcommittee_index: String(aggregator % 4),
    aggregation_bits: naive.bitvectorJson(bits),
    signature: SOME_SIGNATURE,
  };
  const contributionRoot = naive.container(
    naive.uint64(slot),
    naive.bytes(contribution.beacon_block_root),
    naive.uint64(aggregator % 4),
    naive.bitvector(bits),
    naive.bytes(SOME_SIGNATURE),
  );
  const root = naive.container(naive.uint64(aggregator), contributionRoot, naive.bytes(SOME_SIGNATURE));
  const json = {
    contribution_and_proof: {
      aggregator_index: String(aggregator),
      contribution,
      selection_proof: SOME_SIGNATURE,
    },
  };
  return signed("SYNC_COMMITTEE_CONTRIBUTION_AND_PROOF", json, ["0x09000000", root]);
};

const domainOf = (domainType: string): Buffer => {
  const fork = naive.container(naive.bytes(FORK_VERSION), naive.bytes(GENESIS_VALIDATORS_ROOT));
  return Buffer.concat([naive.hex(domainType), fork.subarray(0, 28)]);
};

const signed = (type: string, member: object, [domainType, objectRoot]: readonly [string, Uint8Array]): Message =>
  message(
    type,
    member,
    naive.signingRoot(objectRoot, {
      domainType,
      version: FORK_VERSION,
      genesisValidatorsRoot: GENESIS_VALIDATORS_ROOT,
    }),
  );

const message = (type: string, member: object, root: string): Message => {
  const body = JSON.stringify({ type, fork_info: FORK_INFO, signingRoot: root, ...member });
  return { tail: `${body.length}\r\n\r\n${body}`, body, root };
};
