/**
 * Aggregates: AGGREGATE_AND_PROOF (deprecated) and AGGREGATE_AND_PROOF_V2. As in Web3Signer, whose one deserialiser
 * serves both, either type takes the bare message and the wrapped `{version, data}`.
 */

import { type BodyReader, epochOf, readChain, readName, type SlottedReader } from "./body-parts.ts";
import { DOMAIN_TYPES } from "./domain.ts";
import { OTHER_DUTY } from "./duty.ts";
import { type JsonObject, ownMember, readObject } from "./json.ts";
import { AGGREGATE_AND_PROOF_ELECTRA, AGGREGATE_AND_PROOF_PHASE0, type Shape } from "./shapes.ts";

const MEMBER = "aggregate_and_proof";

/** Reads a request of either type: member `aggregate_and_proof`. */
export const readAggregateAndProof: BodyReader = (members, network) => {
  const outer = readObject(ownMember(members, MEMBER), MEMBER);
  const isWrapped = Object.hasOwn(outer, "version") || Object.hasOwn(outer, "data");
  const { slot, objectRoot } = isWrapped ? readWrapped(outer) : readBare(outer);
  const chain = readChain(members, { domainType: DOMAIN_TYPES.aggregateAndProof, epoch: epochOf(slot, network) });
  return { objectRoot, ...chain, duty: OTHER_DUTY };
};

const readWrapped = (wrapper: JsonObject): ReturnType<SlottedReader> => {
  const version = readName(ownMember(wrapper, "version"), `${MEMBER}.version`, VERSIONS);
  return FORMS[version](ownMember(wrapper, "data"), `${MEMBER}.data`);
};

/** A bare message names no fork; committee bits exist since Electra (EIP-7549) and tell. */
const readBare = (message: JsonObject): ReturnType<SlottedReader> => {
  const aggregate = readObject(ownMember(message, "aggregate"), `${MEMBER}.aggregate`);
  return (Object.hasOwn(aggregate, "committee_bits") ? electra : phase0)(message, MEMBER);
};

const hashed = <V extends { aggregate: { data: { slot: bigint } } }>(shape: Shape<V>): SlottedReader => {
  return (json, path) => {
    const value = shape.read(json, path);
    return { slot: value.aggregate.data.slot, objectRoot: shape.root(value) };
  };
};

const phase0 = hashed(AGGREGATE_AND_PROOF_PHASE0);
const electra = hashed(AGGREGATE_AND_PROOF_ELECTRA);

const VERSIONS = ["PHASE0", "ALTAIR", "BELLATRIX", "CAPELLA", "DENEB", "ELECTRA", "FULU"] as const;
const FORMS = {
  PHASE0: phase0,
  ALTAIR: phase0,
  BELLATRIX: phase0,
  CAPELLA: phase0,
  DENEB: phase0,
  ELECTRA: electra,
  FULU: electra,
} satisfies Record<(typeof VERSIONS)[number], SlottedReader>;
