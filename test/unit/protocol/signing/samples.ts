/**
 * One valid request body per signing type and form, with its signing root computed by hand (`naive-ssz.ts`).
 * Mainnet preset: its list limits stand here as numbers, from consensus-specs `presets/mainnet`.
 */

import type { SigningType } from "#protocol/signing/types.ts";
import * as naive from "../../../helpers/naive-ssz.ts";

/** A member of a JSON object whose shape the tests know. */
// biome-ignore lint/suspicious/noExplicitAny: samples are mutated at every depth
export type Json = any;

export interface Sample {
  readonly name: string;
  readonly type: SigningType;
  readonly body: Json;
  /** 0x-hex. */
  readonly signingRoot: string;
}

export const ZERO_ROOT = `0x${"00".repeat(32)}`;
/** A byte string that names itself. */
export const filled = (byte: number, length = 32): string => `0x${byte.toString(16).padStart(2, "0").repeat(length)}`;
/** As in Web3Signer's examples: beyond 2^53, within uint64. */
export const HUGE = "4666673844721362956";
export const UINT64_MAX = "18446744073709551615";

const GVR = filled(0x4b);
/** `current` in force since epoch 10. */
export const FORK_INFO = {
  fork: { previous_version: "0x02000000", current_version: "0x03000000", epoch: "10" },
  genesis_validators_root: GVR,
};
const [PREVIOUS, CURRENT] = ["0x02000000", "0x03000000"];

const rootOn = (version: string, domainType: string, objectRoot: Uint8Array): string =>
  naive.signingRoot(objectRoot, { domainType, version, genesisValidatorsRoot: GVR });

// Parts of messages, each with its root.

const checkpoint = (value: Json) => naive.container(naive.uint64(value.epoch), naive.bytes(value.root));
const attestationData = (value: Json) =>
  naive.container(
    naive.uint64(value.slot),
    naive.uint64(value.index),
    naive.bytes(value.beacon_block_root),
    checkpoint(value.source),
    checkpoint(value.target),
  );
const header = (value: Json) =>
  naive.container(
    naive.uint64(value.slot),
    naive.uint64(value.proposer_index),
    naive.bytes(value.parent_root),
    naive.bytes(value.state_root),
    naive.bytes(value.body_root),
  );
const signed = (message: Uint8Array, signature: string) => naive.container(message, naive.bytes(signature));

const DATA = {
  slot: "400",
  index: HUGE,
  beacon_block_root: filled(0xb1),
  source: { epoch: "9", root: filled(0xc1) },
  target: { epoch: "10", root: filled(0xc2) },
};
const bits = (length: number) => Array.from({ length }, (_, i) => i % 3 !== 1);

const aggregate = (length: number, limit: number, committeeBits?: boolean[]) => {
  const json = {
    aggregation_bits: naive.bitlistJson(bits(length)),
    data: DATA,
    signature: filled(0xa1, 96),
    ...(committeeBits && { committee_bits: naive.bitvectorJson(committeeBits) }),
  };
  const fields = [naive.bitlist(bits(length), limit), attestationData(DATA), naive.bytes(json.signature)];
  return { json, root: naive.container(...fields, ...(committeeBits ? [naive.bitvector(committeeBits)] : [])) };
};
const aggregateAndProof = ({ json, root }: { json: Json; root: Uint8Array }) => ({
  json: { aggregator_index: HUGE, aggregate: json, selection_proof: filled(0xa2, 96) },
  root: naive.container(naive.uint64(HUGE), root, naive.bytes(filled(0xa2, 96))),
});

const PRE_ELECTRA = aggregateAndProof(aggregate(19, 2048));
const ELECTRA = aggregateAndProof(aggregate(777, 131_072, bits(64)));

// Full blocks: every list of the body holds something.

const indexedAttestation = (indices: string[]) => ({
  json: { attesting_indices: indices, data: DATA, signature: filled(0xd3, 96) },
  root: naive.container(naive.uint64List(indices, 2048), attestationData(DATA), naive.bytes(filled(0xd3, 96))),
});
const signedHeader = (slot: string) => {
  const message = {
    slot,
    proposer_index: HUGE,
    parent_root: filled(0xe1),
    state_root: filled(0xe2),
    body_root: filled(0xe3),
  };
  return {
    json: { message, signature: filled(0xe4, 96) },
    root: signed(header(message), filled(0xe4, 96)),
  };
};
const deposit = (amount: string) => {
  const proof = Array.from({ length: 33 }, (_, i) => filled(i));
  const data = { pubkey: filled(0x91, 48), withdrawal_credentials: filled(0x92), amount, signature: filled(0x93, 96) };
  return {
    json: { proof, data },
    root: naive.container(
      naive.vector(proof.map(naive.bytes)),
      naive.container(
        naive.bytes(data.pubkey),
        naive.bytes(data.withdrawal_credentials),
        naive.uint64(amount),
        naive.bytes(data.signature),
      ),
    ),
  };
};
const signedExit = (epoch: string) => ({
  json: { message: { epoch, validator_index: HUGE }, signature: filled(0x94, 96) },
  root: signed(naive.container(naive.uint64(epoch), naive.uint64(HUGE)), filled(0x94, 96)),
});

/** A block with `count` of everything that a body lists; with a sync aggregate it is an Altair block. */
const block = (count: number, hasSyncAggregate: boolean) => {
  const times = <T>(make: (i: number) => T): T[] => Array.from({ length: count }, (_, i) => make(i));
  const proposerSlashings = times((i) => [signedHeader(String(i)), signedHeader(UINT64_MAX)] as const);
  const attesterSlashings = times(
    (i) => [indexedAttestation(["1", HUGE, "3", "4", String(i)]), indexedAttestation([])] as const,
  );
  const attestations = times((i) => aggregate(i * 9 + 7, 2048));
  const deposits = times((i) => deposit(i === 0 ? UINT64_MAX : "32000000000"));
  const exits = times((i) => signedExit(String(i)));
  const syncBits = bits(512);
  const body = {
    randao_reveal: filled(0xf1, 96),
    eth1_data: { deposit_root: filled(0xf2), deposit_count: UINT64_MAX, block_hash: filled(0xf3) },
    graffiti: filled(0xf4),
    proposer_slashings: proposerSlashings.map(([a, b]) => ({ signed_header_1: a.json, signed_header_2: b.json })),
    attester_slashings: attesterSlashings.map(([a, b]) => ({ attestation_1: a.json, attestation_2: b.json })),
    attestations: attestations.map(({ json }) => json),
    deposits: deposits.map(({ json }) => json),
    voluntary_exits: exits.map(({ json }) => json),
    ...(hasSyncAggregate && {
      sync_aggregate: {
        sync_committee_bits: naive.bitvectorJson(syncBits),
        sync_committee_signature: filled(0xf5, 96),
      },
    }),
  };
  const bodyRoot = naive.container(
    naive.bytes(body.randao_reveal),
    naive.container(naive.bytes(filled(0xf2)), naive.uint64(UINT64_MAX), naive.bytes(filled(0xf3))),
    naive.bytes(body.graffiti),
    naive.list(
      proposerSlashings.map(([a, b]) => naive.container(a.root, b.root)),
      16,
    ),
    naive.list(
      attesterSlashings.map(([a, b]) => naive.container(a.root, b.root)),
      2,
    ),
    naive.list(
      attestations.map(({ root }) => root),
      128,
    ),
    naive.list(
      deposits.map(({ root }) => root),
      16,
    ),
    naive.list(
      exits.map(({ root }) => root),
      16,
    ),
    ...(hasSyncAggregate ? [naive.container(naive.bitvector(syncBits), naive.bytes(filled(0xf5, 96)))] : []),
  );
  const json = { slot: "320", proposer_index: HUGE, parent_root: filled(0x71), state_root: filled(0x72), body };
  const root = naive.container(
    naive.uint64(json.slot),
    naive.uint64(json.proposer_index),
    naive.bytes(json.parent_root),
    naive.bytes(json.state_root),
    bodyRoot,
  );
  return { json, root };
};

const HEADER = {
  slot: "319",
  proposer_index: HUGE,
  parent_root: filled(0x81),
  state_root: filled(0x82),
  body_root: filled(0x83),
};
const SELECTION = { slot: "320", subcommittee_index: HUGE };
const CONTRIBUTION = {
  aggregator_index: HUGE,
  selection_proof: filled(0x61, 96),
  contribution: {
    slot: "319",
    beacon_block_root: filled(0x62),
    subcommittee_index: "3",
    aggregation_bits: naive.bitvectorJson(bits(128)),
    signature: filled(0x63, 96),
  },
};
const REGISTRATION = {
  fee_recipient: "0xAbCd000000000000000000000000000000001234",
  gas_limit: "36000000",
  timestamp: UINT64_MAX,
  pubkey: filled(0x51, 48),
};
const DEPOSIT = {
  pubkey: filled(0x41, 48),
  withdrawal_credentials: filled(0x42),
  amount: UINT64_MAX,
  genesis_fork_version: "0x10000910",
};

const blockSample = (name: string, type: "BLOCK" | "BLOCK_V2", members: Json, root: Uint8Array): Sample => ({
  name,
  type,
  body: { type, fork_info: FORK_INFO, ...members },
  signingRoot: rootOn(CURRENT, "0x00000000", root),
});
const aggregateSample = (name: string, type: SigningType, member: Json, root: Uint8Array): Sample => ({
  name,
  type,
  body: { type, fork_info: FORK_INFO, aggregate_and_proof: member },
  signingRoot: rootOn(CURRENT, "0x06000000", root),
});

const phase0 = block(2, false);
const emptyPhase0 = block(0, false);
const altair = block(2, true);

/** Valid bodies of every type; all on {@link FORK_INFO}, on both sides of its fork epoch. */
export const SAMPLES: readonly Sample[] = [
  {
    name: "AGGREGATION_SLOT",
    type: "AGGREGATION_SLOT",
    body: { type: "AGGREGATION_SLOT", fork_info: FORK_INFO, aggregation_slot: { slot: UINT64_MAX } },
    signingRoot: rootOn(CURRENT, "0x05000000", naive.uint64(UINT64_MAX)),
  },
  {
    name: "AGGREGATION_SLOT before the fork",
    type: "AGGREGATION_SLOT",
    body: { type: "AGGREGATION_SLOT", fork_info: FORK_INFO, aggregation_slot: { slot: "319" } },
    signingRoot: rootOn(PREVIOUS, "0x05000000", naive.uint64(319)),
  },
  aggregateSample("AGGREGATE_AND_PROOF bare", "AGGREGATE_AND_PROOF", PRE_ELECTRA.json, PRE_ELECTRA.root),
  aggregateSample("AGGREGATE_AND_PROOF bare, committee bits", "AGGREGATE_AND_PROOF", ELECTRA.json, ELECTRA.root),
  aggregateSample(
    "AGGREGATE_AND_PROOF wrapped",
    "AGGREGATE_AND_PROOF",
    { version: "PHASE0", data: PRE_ELECTRA.json },
    PRE_ELECTRA.root,
  ),
  aggregateSample("AGGREGATE_AND_PROOF_V2 bare", "AGGREGATE_AND_PROOF_V2", PRE_ELECTRA.json, PRE_ELECTRA.root),
  ...["PHASE0", "ALTAIR", "BELLATRIX", "CAPELLA", "DENEB"].map((version) =>
    aggregateSample(
      `AGGREGATE_AND_PROOF_V2 ${version}`,
      "AGGREGATE_AND_PROOF_V2",
      { version, data: PRE_ELECTRA.json },
      PRE_ELECTRA.root,
    ),
  ),
  ...["ELECTRA", "FULU"].map((version) =>
    aggregateSample(
      `AGGREGATE_AND_PROOF_V2 ${version}`,
      "AGGREGATE_AND_PROOF_V2",
      { version, data: ELECTRA.json },
      ELECTRA.root,
    ),
  ),
  {
    name: "ATTESTATION",
    type: "ATTESTATION",
    body: { type: "ATTESTATION", fork_info: FORK_INFO, attestation: DATA },
    signingRoot: rootOn(CURRENT, "0x01000000", attestationData(DATA)),
  },
  blockSample("BLOCK", "BLOCK", { block: phase0.json }, phase0.root),
  blockSample("BLOCK with empty lists", "BLOCK", { block: emptyPhase0.json }, emptyPhase0.root),
  blockSample("BLOCK_V2 PHASE0", "BLOCK_V2", { beacon_block: { version: "PHASE0", block: phase0.json } }, phase0.root),
  blockSample("BLOCK_V2 ALTAIR", "BLOCK_V2", { beacon_block: { version: "ALTAIR", block: altair.json } }, altair.root),
  ...["BELLATRIX", "CAPELLA", "DENEB", "ELECTRA", "FULU"].map(
    (version): Sample => ({
      name: `BLOCK_V2 ${version}, last slot before the fork`,
      type: "BLOCK_V2",
      body: { type: "BLOCK_V2", fork_info: FORK_INFO, beacon_block: { version, block_header: HEADER } },
      signingRoot: rootOn(PREVIOUS, "0x00000000", header(HEADER)),
    }),
  ),
  {
    name: "DEPOSIT",
    type: "DEPOSIT",
    body: { type: "DEPOSIT", deposit: DEPOSIT },
    signingRoot: naive.signingRoot(
      naive.container(
        naive.bytes(DEPOSIT.pubkey),
        naive.bytes(DEPOSIT.withdrawal_credentials),
        naive.uint64(UINT64_MAX),
      ),
      { domainType: "0x03000000", version: "0x10000910", genesisValidatorsRoot: ZERO_ROOT },
    ),
  },
  {
    name: "RANDAO_REVEAL",
    type: "RANDAO_REVEAL",
    body: { type: "RANDAO_REVEAL", fork_info: FORK_INFO, randao_reveal: { epoch: "9" } },
    signingRoot: rootOn(PREVIOUS, "0x02000000", naive.uint64(9)),
  },
  {
    name: "SYNC_COMMITTEE_MESSAGE",
    type: "SYNC_COMMITTEE_MESSAGE",
    body: {
      type: "SYNC_COMMITTEE_MESSAGE",
      fork_info: FORK_INFO,
      sync_committee_message: { beacon_block_root: filled(0x33), slot: "320" },
    },
    signingRoot: rootOn(CURRENT, "0x07000000", naive.hex(filled(0x33))),
  },
  {
    name: "SYNC_COMMITTEE_SELECTION_PROOF",
    type: "SYNC_COMMITTEE_SELECTION_PROOF",
    body: { type: "SYNC_COMMITTEE_SELECTION_PROOF", fork_info: FORK_INFO, sync_aggregator_selection_data: SELECTION },
    signingRoot: rootOn(CURRENT, "0x08000000", naive.container(naive.uint64(320), naive.uint64(HUGE))),
  },
  {
    name: "SYNC_COMMITTEE_CONTRIBUTION_AND_PROOF",
    type: "SYNC_COMMITTEE_CONTRIBUTION_AND_PROOF",
    body: {
      type: "SYNC_COMMITTEE_CONTRIBUTION_AND_PROOF",
      fork_info: FORK_INFO,
      contribution_and_proof: CONTRIBUTION,
    },
    signingRoot: rootOn(
      PREVIOUS,
      "0x09000000",
      naive.container(
        naive.uint64(HUGE),
        naive.container(
          naive.uint64(319),
          naive.bytes(filled(0x62)),
          naive.uint64(3),
          naive.bitvector(bits(128)),
          naive.bytes(filled(0x63, 96)),
        ),
        naive.bytes(filled(0x61, 96)),
      ),
    ),
  },
  {
    name: "VALIDATOR_REGISTRATION",
    type: "VALIDATOR_REGISTRATION",
    body: { type: "VALIDATOR_REGISTRATION", validator_registration: REGISTRATION },
    signingRoot: naive.signingRoot(
      naive.container(
        naive.bytes(REGISTRATION.fee_recipient),
        naive.uint64(REGISTRATION.gas_limit),
        naive.uint64(UINT64_MAX),
        naive.bytes(REGISTRATION.pubkey),
      ),
      { domainType: "0x00000001", version: "0x00000000", genesisValidatorsRoot: ZERO_ROOT },
    ),
  },
  {
    name: "VOLUNTARY_EXIT",
    type: "VOLUNTARY_EXIT",
    body: { type: "VOLUNTARY_EXIT", fork_info: FORK_INFO, voluntary_exit: { epoch: "10", validator_index: HUGE } },
    signingRoot: rootOn(CURRENT, "0x04000000", naive.container(naive.uint64(10), naive.uint64(HUGE))),
  },
];

/** The sample of that name. */
export const sample = (name: string): Sample => {
  const found = SAMPLES.find((candidate) => candidate.name === name);
  if (!found) throw new Error(`no sample ${name}`);
  return found;
};

/** A body as it comes over the wire. */
export const encode = (body: unknown): Uint8Array => new TextEncoder().encode(JSON.stringify(body));

/** A deep copy of `body` in which the member at `path` (like `a.b[0].c`) is set, or removed when `value` is undefined. */
export const withMember = (body: Json, path: string, value: unknown): Json => {
  // Not structuredClone: samples share parts, and it would keep them shared.
  const copy = JSON.parse(JSON.stringify(body));
  const keys = path.split(/[.[\]]+/).filter((key) => key !== "");
  const last = keys.pop() ?? "";
  const parent = keys.reduce((node, key) => node[key], copy);
  if (value === undefined) delete parent[last];
  else parent[last] = value;
  return copy;
};
