/**
 * Mutants: single defects put into the production code, each of which the simulation must find. The loader replaces an
 * exact piece of a file's text while it is loaded (`loader.ts`); production code has no hooks for this.
 */

import type { Scenario } from "./plan.ts";

/** A piece of text and what stands there instead. */
export interface Edit {
  /** Found exactly once in the file, or the loader fails. */
  readonly find: string;
  readonly replace: string;
}

/** One defect. */
export interface Mutant extends Edit {
  readonly name: string;
  /** Path from the project's root. */
  readonly file: string;
  /** A second place, where the first alone would be harmless. */
  readonly and?: Edit;
  /** The scenario whose promise it breaks. */
  readonly scenario: Scenario;
}

const GUARD = "enclave-worker/slashing/guard.ts";
const RULES = "protocol/slashing/rules.ts";
const RECOVERY = "enclave-worker/slashing/recovery.ts";

/** All mutants. */
export const MUTANTS: readonly Mutant[] = [
  {
    name: "release-before-acknowledged",
    file: GUARD,
    find: `return (await write(pubkey, record, next)) ? { kind: "release", signature } : { kind: "again" };`,
    replace: `write(pubkey, record, next).catch(() => undefined); return { kind: "release", signature };`,
    scenario: "class-1",
  },
  {
    name: "release-on-unknown-outcome",
    file: GUARD,
    find: `throw new SignerError("unknown_outcome", \`the slashing store did not answer: \${result.detail}\`);`,
    replace: "return true;",
    scenario: "class-1",
  },
  {
    name: "repeat-before-acknowledged",
    file: GUARD,
    find: "if (floor.isAcknowledged(pubkey)) {",
    replace: "if (floor.has(pubkey)) {",
    scenario: "class-1",
  },
  {
    name: "floor-ignored",
    file: GUARD,
    find: "if (before !== undefined && isBehind(state, before.state)) {",
    replace: "if (before === undefined && isBehind(state, state)) {",
    scenario: "class-2",
  },
  {
    name: "merge-by-last-write",
    file: RULES,
    find: `  const block = mergeBlocks(a.block, b.block);
  const attestation = mergeAttestations(a.attestation, b.attestation);`,
    replace: `  const block = a.block ?? mergeBlocks(a.block, b.block);
  const attestation = a.attestation ?? mergeAttestations(a.attestation, b.attestation);`,
    scenario: "class-2",
  },
  {
    name: "overwrite-of-unverifiable-record",
    file: GUARD,
    find: `      : suspect(\`the record of \${toHex(pubkey)} cannot be verified: \${decoded.reason}\`);`,
    replace: "      : EMPTY_STATE;",
    and: {
      find: "state: readKeptRecord(record) }",
      replace: "state: verified(pubkey, record) }",
    },
    scenario: "class-2",
  },
  {
    name: "target-less-for-less-or-equal",
    file: RULES,
    find: "  if (targetEpoch > last.targetEpoch) {",
    replace: "  if (targetEpoch >= last.targetEpoch) {",
    scenario: "class-1",
  },
  {
    name: "slot-less-for-less-or-equal",
    file: RULES,
    find: "  if (last === undefined || slot > last.slot) {",
    replace: "  if (last === undefined || slot >= last.slot) {",
    scenario: "class-1",
  },
  {
    name: "source-not-compared",
    file: RULES,
    find: "  if (sourceEpoch < last.sourceEpoch) {",
    replace: "  if (sourceEpoch < 0) {",
    scenario: "class-1",
  },
  {
    name: "retry-with-another-root",
    file: RULES,
    find: "const isRepeat = sourceEpoch === last.sourceEpoch && rootsEqual(last.signingRoot, signingRoot);",
    replace: "const isRepeat = sourceEpoch === last.sourceEpoch;",
    scenario: "class-1",
  },
  {
    name: "recovery-one-epoch-too-low",
    file: RECOVERY,
    find: `    block: { slot: (epoch + 1) * slotsPerEpoch - 1 },
    attestation: { sourceEpoch: epoch, targetEpoch: epoch },`,
    replace: `    block: { slot: epoch * slotsPerEpoch - 1 },
    attestation: { sourceEpoch: epoch - 1, targetEpoch: epoch - 1 },`,
    scenario: "class-3-recovered",
  },
];
