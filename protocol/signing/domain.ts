/**
 * Signature domains and signing roots (consensus specs, phase0 beacon-chain: `compute_domain`, `compute_signing_root`,
 * `get_domain`; EIP-7044 for voluntary exits; builder-specs for validator registrations).
 * All integers are bigints, so that the whole uint64 range is right. Nothing here checks who may sign what.
 */

import { bytesEqual, ROOT_BYTES } from "../bytes.ts";
import type { Network } from "./network.ts";
import { hasher } from "./ssz-hasher.ts";

/** `DomainType` of each signature, 4 bytes (consensus specs "Domain types" of phase0 and altair; builder-specs). */
export const DOMAIN_TYPES = {
  beaconProposer: Uint8Array.of(0, 0, 0, 0),
  beaconAttester: Uint8Array.of(1, 0, 0, 0),
  randao: Uint8Array.of(2, 0, 0, 0),
  deposit: Uint8Array.of(3, 0, 0, 0),
  voluntaryExit: Uint8Array.of(4, 0, 0, 0),
  selectionProof: Uint8Array.of(5, 0, 0, 0),
  aggregateAndProof: Uint8Array.of(6, 0, 0, 0),
  syncCommittee: Uint8Array.of(7, 0, 0, 0),
  syncCommitteeSelectionProof: Uint8Array.of(8, 0, 0, 0),
  contributionAndProof: Uint8Array.of(9, 0, 0, 0),
  applicationBuilder: Uint8Array.of(0, 0, 0, 1),
} as const;

/** Bytes of the fork data root that a domain keeps behind its type (consensus spec, `compute_domain`). */
const FORK_DATA_ROOT_BYTES = 28;
/** The root that stands for "no chain yet" in deposits and builder registrations. */
const ZERO_ROOT = new Uint8Array(ROOT_BYTES);

/** `Fork` of the consensus spec; versions are 4 bytes. */
export interface Fork {
  readonly previousVersion: Uint8Array;
  readonly currentVersion: Uint8Array;
  /** First epoch of the current version, uint64. */
  readonly epoch: bigint;
}

/**
 * The 32-byte domain of a signature: type ‖ hash_tree_root(ForkData)[0:28].
 * @param chain `forkVersion` 4 bytes; `genesisValidatorsRoot` 32 bytes, zero when absent (as in the spec)
 */
export const computeDomain = (
  domainType: Uint8Array,
  chain: { readonly forkVersion: Uint8Array; readonly genesisValidatorsRoot?: Uint8Array },
): Uint8Array => {
  const currentVersion = new Uint8Array(ROOT_BYTES);
  currentVersion.set(chain.forkVersion);
  const forkDataRoot = rootOfPair(currentVersion, chain.genesisValidatorsRoot ?? ZERO_ROOT);
  const domain = new Uint8Array(ROOT_BYTES);
  domain.set(domainType, 0);
  domain.set(forkDataRoot.subarray(0, FORK_DATA_ROOT_BYTES), domainType.length);
  return domain;
};

/** The 32-byte root that is signed for an object in a domain: hash_tree_root(SigningData). */
export const computeSigningRoot = (objectRoot: Uint8Array, domain: Uint8Array): Uint8Array =>
  rootOfPair(objectRoot, domain);

/** hash_tree_root of a container of two fields that are one chunk each, which `ForkData` and `SigningData` are (SSZ spec). */
const rootOfPair = (first: Uint8Array, second: Uint8Array): Uint8Array => hasher.digest64(first, second);

/** The fork version in force at `epoch`, for the fork that the client sent (consensus spec, `get_domain`). */
export const versionAt = (fork: Fork, epoch: bigint): Uint8Array =>
  epoch < fork.epoch ? fork.previousVersion : fork.currentVersion;

/**
 * The fork version of a voluntary exit (EIP-7044): from Deneb on always the network's Capella version, so that an exit
 * stays valid for ever. Clients send either the Capella fork or the current one, and both must give the same root: a
 * current version that is not one of the network's four earlier ones counts as Deneb or later.
 */
export const voluntaryExitVersion = (fork: Fork, epoch: bigint, network: Network): Uint8Array => {
  const isBeforeDeneb = network.preDenebForkVersions.some((version) => bytesEqual(version, fork.currentVersion));
  return isBeforeDeneb ? versionAt(fork, epoch) : network.capellaForkVersion;
};
