/**
 * Beacon blocks: BLOCK (deprecated, a phase0 block) and BLOCK_V2 (the fork's name decides between a full block and its
 * header; both have the same root). Source: Web3Signer `BlockRequest`, consensus specs.
 */

import { type BodyReader, epochOf, readChain, readName, type SlottedReader, toSafeNumber } from "./body-parts.ts";
import { DOMAIN_TYPES } from "./domain.ts";
import { ownMember, readObject } from "./json.ts";
import { BLOCK_ALTAIR, BLOCK_HEADER, BLOCK_PHASE0, type Shape } from "./shapes.ts";

/** Reads a BLOCK request: member `block`. */
export const readBlock: BodyReader = (members, network) =>
  finish(members, network, { ...PHASE0.read(ownMember(members, "block"), "block"), path: "block" });

/** Reads a BLOCK_V2 request: member `beacon_block` with `version` and `block` or `block_header`. */
export const readBlockV2: BodyReader = (members, network) => {
  const wrapper = readObject(ownMember(members, "beacon_block"), "beacon_block");
  const version = readName(ownMember(wrapper, "version"), "beacon_block.version", VERSIONS);
  const { member, read } = FORMS[version];
  const path = `beacon_block.${member}`;
  return finish(members, network, { ...read(ownMember(wrapper, member), path), path });
};

const finish = (
  members: Parameters<BodyReader>[0],
  network: Parameters<BodyReader>[1],
  block: ReturnType<SlottedReader> & { readonly path: string },
): ReturnType<BodyReader> => ({
  objectRoot: block.objectRoot,
  ...readChain(members, { domainType: DOMAIN_TYPES.beaconProposer, epoch: epochOf(block.slot, network) }),
  duty: { kind: "block", slot: toSafeNumber(block.slot, `${block.path}.slot`) },
});

const hashed = <V extends { slot: bigint }>(shape: Shape<V>): SlottedReader => {
  return (json, path) => {
    const value = shape.read(json, path);
    return { slot: value.slot, objectRoot: shape.root(value) };
  };
};

const PHASE0 = { member: "block", read: hashed(BLOCK_PHASE0) } as const;
const ALTAIR = { member: "block", read: hashed(BLOCK_ALTAIR) } as const;
const HEADER = { member: "block_header", read: hashed(BLOCK_HEADER) } as const;

const VERSIONS = ["PHASE0", "ALTAIR", "BELLATRIX", "CAPELLA", "DENEB", "ELECTRA", "FULU"] as const;
const FORMS = {
  PHASE0,
  ALTAIR,
  BELLATRIX: HEADER,
  CAPELLA: HEADER,
  DENEB: HEADER,
  ELECTRA: HEADER,
  FULU: HEADER,
} satisfies Record<(typeof VERSIONS)[number], { member: string; read: SlottedReader }>;
