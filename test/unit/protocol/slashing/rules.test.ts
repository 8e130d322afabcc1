import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { SignerError } from "#protocol/errors.ts";
import {
  type Candidate,
  type Decision,
  decide,
  EMPTY_STATE,
  isBehind,
  merge,
  type SlashingState,
  statesEqual,
} from "#protocol/slashing/rules.ts";
import { findSlashablePair, type SignedMessage } from "../../../helpers/slashing-oracle.ts";

const SLOTS = { slotsPerEpoch: 32 };
const MAX = Number.MAX_SAFE_INTEGER;
const root = (fill: number): Uint8Array => new Uint8Array(32).fill(fill);
const control = { generation: 0, disabled: false };
const block = (slot: number, fill = 1): Candidate => ({ kind: "block", slot, signingRoot: root(fill) });
const attestation = (sourceEpoch: number, targetEpoch: number, fill = 1): Candidate => ({
  kind: "attestation",
  sourceEpoch,
  targetEpoch,
  signingRoot: root(fill),
});
const blockState = (slot: number, fill?: number): SlashingState => ({
  block: { slot, ...(fill !== undefined && { signingRoot: root(fill) }) },
  control,
});
const attestationState = (sourceEpoch: number, targetEpoch: number, fill?: number): SlashingState => ({
  attestation: { sourceEpoch, targetEpoch, ...(fill !== undefined && { signingRoot: root(fill) }) },
  control,
});
const outcome = (decision: Decision): string => (decision.kind === "refuse" ? decision.rule : decision.kind);

describe("decide", () => {
  const ROWS: [name: string, SlashingState, Candidate, string][] = [
    ["the first block is signed", EMPTY_STATE, block(0), "sign"],
    ["a later slot is signed", blockState(10, 1), block(11, 1), "sign"],
    ["the same block again is a repeat", blockState(10, 1), block(10, 1), "repeat"],
    ["another block at the same slot is refused", blockState(10, 1), block(10, 2), "double_block_proposal"],
    ["an unknown root never repeats", blockState(10), block(10, 1), "double_block_proposal"],
    ["an earlier slot is refused", blockState(10, 1), block(9, 1), "block_slot_below_watermark"],
    ["the largest slot is signed", blockState(MAX - 1, 1), block(MAX), "sign"],
    ["a block does not care for attestations", attestationState(9, 10, 1), block(0), "sign"],
    ["the first attestation is signed", EMPTY_STATE, attestation(0, 0), "sign"],
    ["a source equal to the target is signed", EMPTY_STATE, attestation(5, 5), "sign"],
    ["a source after the target is refused", EMPTY_STATE, attestation(6, 5), "source_after_target"],
    ["the same source and a later target are signed", attestationState(9, 10, 1), attestation(9, 11, 1), "sign"],
    ["a later source and target are signed", attestationState(9, 10, 1), attestation(10, 11, 1), "sign"],
    ["the same attestation again is a repeat", attestationState(9, 10, 1), attestation(9, 10, 1), "repeat"],
    ["another one for the same target is refused", attestationState(9, 10, 1), attestation(9, 10, 2), "double_vote"],
    ["an unknown root never repeats a vote", attestationState(9, 10), attestation(9, 10, 1), "double_vote"],
    ["a later source does not repeat", attestationState(9, 10, 1), attestation(10, 10, 1), "double_vote"],
    ["an earlier target is refused", attestationState(8, 10, 1), attestation(8, 9, 1), "target_below_watermark"],
    ["an earlier source is refused", attestationState(9, 10, 1), attestation(8, 11, 1), "source_below_watermark"],
    [
      "an earlier source does not even repeat",
      attestationState(9, 10, 1),
      attestation(8, 10, 1),
      "source_below_watermark",
    ],
  ];
  it.each(ROWS)("%s", (_name, state, candidate, expected) => {
    expect(outcome(decide(state, candidate, SLOTS))).toBe(expected);
  });

  const CONTROL_ROWS: [string, SlashingState["control"], Candidate, string][] = [
    ["a block before the stop epoch is signed", { ...control, stopAtEpoch: 3 }, block(95), "sign"],
    ["a block of the stop epoch is refused", { ...control, stopAtEpoch: 3 }, block(96), "validator_stopped"],
    ["a target before the stop epoch is signed", { ...control, stopAtEpoch: 3 }, attestation(1, 2), "sign"],
    ["a target of the stop epoch is refused", { ...control, stopAtEpoch: 3 }, attestation(1, 3), "validator_stopped"],
    ["stop at 0 refuses everything", { ...control, stopAtEpoch: 0 }, block(0), "validator_stopped"],
    ["a disabled validator signs no block", { generation: 4, disabled: true }, block(1), "validator_disabled"],
    ["a disabled validator signs no vote", { generation: 4, disabled: true }, attestation(1, 2), "validator_disabled"],
  ];
  it.each(CONTROL_ROWS)("%s", (_name, controlled, candidate, expected) => {
    expect(outcome(decide({ control: controlled }, candidate, SLOTS))).toBe(expected);
  });

  it("refuses also a repeat of a disabled validator", () => {
    const state = { ...blockState(10, 1), control: { generation: 1, disabled: true } };
    expect(outcome(decide(state, block(10, 1), SLOTS))).toBe("validator_disabled");
  });

  it("changes only the part that the candidate is about", () => {
    const state = { ...blockState(10, 1), ...{ attestation: { sourceEpoch: 1, targetEpoch: 2 } } };
    expect(decide(state, block(11, 7), SLOTS)).toEqual({
      kind: "sign",
      next: { block: { slot: 11, signingRoot: root(7) }, attestation: state.attestation, control },
    });
  });

  it("says both numbers in plain words", () => {
    expect(decide(blockState(10, 1), block(9), SLOTS)).toMatchObject({
      detail: "block slot 9 is below the last signed slot 10",
    });
    expect(decide(attestationState(9, 10, 1), attestation(8, 11), SLOTS)).toMatchObject({
      detail: "source epoch 8 is below the highest signed source epoch 9",
    });
  });

  it.each([Number.NaN, -1, 1.5, MAX + 1])("throws on a slot of %s, which no parser lets through", (slot) => {
    expect(() => decide(EMPTY_STATE, block(slot), SLOTS)).toThrow(SignerError);
    expect(() => decide(EMPTY_STATE, attestation(slot, 3), SLOTS)).toThrow(SignerError);
    expect(() => decide(EMPTY_STATE, attestation(0, slot), SLOTS)).toThrow(SignerError);
  });
});

// Small numbers, so that collisions are the rule and not the exception.
const small = fc.integer({ min: 0, max: 6 });
const rootFill = fc.integer({ min: 1, max: 3 });
const knownRoot = fc.option(rootFill, { nil: undefined });
const anyState: fc.Arbitrary<SlashingState> = fc
  .record({
    block: fc.option(fc.tuple(small, knownRoot), { nil: undefined }),
    attestation: fc.option(fc.tuple(small, small, knownRoot), { nil: undefined }),
    generation: fc.integer({ min: 0, max: 2 }),
    disabled: fc.boolean(),
    stopAtEpoch: fc.option(small, { nil: undefined }),
  })
  .map(({ block: b, attestation: a, generation, disabled, stopAtEpoch }) => ({
    ...(b && blockState(...b)),
    ...(a && attestationState(...a)),
    control: { generation, disabled, ...(stopAtEpoch !== undefined && { stopAtEpoch }) },
  }));

describe("merge", () => {
  it("takes maxima, and a root only from the side that has the maximum", () => {
    const merged = merge(attestationState(8, 10, 1), attestationState(9, 9, 2));
    expect(merged).toEqual(attestationState(9, 10, 1));
    expect(merge(blockState(10, 1), blockState(11))).toEqual(blockState(11));
  });

  it("makes a root unknown when both sides are equal but their roots are not", () => {
    expect(merge(blockState(10, 1), blockState(10, 1))).toEqual(blockState(10, 1));
    expect(merge(blockState(10, 1), blockState(10, 2))).toEqual(blockState(10));
    expect(merge(blockState(10, 1), blockState(10))).toEqual(blockState(10));
    expect(merge(attestationState(1, 2, 1), attestationState(1, 2, 2))).toEqual(attestationState(1, 2));
  });

  it("takes the control of the higher generation, and the stricter one in a tie", () => {
    const older = { control: { generation: 1, disabled: true, stopAtEpoch: 5 } };
    const newer = { control: { generation: 2, disabled: false } };
    expect(merge(older, newer)).toEqual(newer);
    const tie = { control: { generation: 1, disabled: false, stopAtEpoch: 4 } };
    expect(merge(older, tie)).toEqual({ control: { generation: 1, disabled: true, stopAtEpoch: 4 } });
  });

  it("is commutative, associative and idempotent", () => {
    fc.assert(
      fc.property(anyState, anyState, anyState, (a, b, c) => {
        expect(merge(a, b)).toEqual(merge(b, a));
        expect(merge(merge(a, b), c)).toEqual(merge(a, merge(b, c)));
        expect(merge(a, a)).toEqual(a);
        expect(merge(a, EMPTY_STATE)).toEqual(merge(EMPTY_STATE, a));
      }),
    );
  });

  it("is never behind either side, and never signs what one side refuses", () => {
    const candidates = [0, 1, 2, 3, 4, 5, 6, 7].flatMap((number) => [block(number, 2), attestation(number, 6, 2)]);
    fc.assert(
      fc.property(anyState, anyState, (a, b) => {
        const merged = merge(a, b);
        expect(isBehind(merged, a)).toBe(false);
        expect(isBehind(merged, b)).toBe(false);
        if (a.control.generation !== b.control.generation) return;
        for (const candidate of candidates) {
          if (outcome(decide(merged, candidate, SLOTS)) !== "sign") continue;
          expect(outcome(decide(a, candidate, SLOTS))).toBe("sign");
          expect(outcome(decide(b, candidate, SLOTS))).toBe("sign");
        }
      }),
    );
  });
});

describe("isBehind", () => {
  const ROWS: [string, SlashingState, SlashingState, boolean][] = [
    ["equal states", blockState(10, 1), blockState(10, 1), false],
    ["a higher slot", blockState(11, 1), blockState(10, 1), false],
    ["a lower slot", blockState(9, 1), blockState(10, 1), true],
    ["no block where the floor has one", EMPTY_STATE, blockState(0, 1), true],
    ["a block where the floor has none", blockState(0, 1), EMPTY_STATE, false],
    ["a lower source", attestationState(8, 10, 1), attestationState(9, 10, 1), true],
    ["a lower target", attestationState(9, 9, 1), attestationState(9, 10, 1), true],
    ["a higher target", attestationState(9, 11, 2), attestationState(9, 10, 1), false],
    ["another root at the same slot", blockState(10, 2), blockState(10, 1), true],
    ["an unknown root where the floor knows one", blockState(10), blockState(10, 1), false],
    ["a lower control generation", { control }, { control: { generation: 1, disabled: false } }, true],
    ["a laxer control of the same generation", { control }, { control: { generation: 0, disabled: true } }, true],
  ];
  it.each(ROWS)("%s", (_name, state, floor, expected) => {
    expect(isBehind(state, floor)).toBe(expected);
  });

  it("is false for every step that decide allows", () => {
    fc.assert(
      fc.property(anyState, small, small, rootFill, (state, source, target, fill) => {
        for (const candidate of [block(source, fill), attestation(source, target, fill)]) {
          const decision = decide(state, candidate, SLOTS);
          if (decision.kind === "sign") expect(isBehind(decision.next, state)).toBe(false);
          if (decision.kind === "sign") expect(statesEqual(decision.next, state)).toBe(false);
        }
      }),
    );
  });
});

describe("any sequence of requests and imports", () => {
  /** The root is a function of the message and a variant, as a hash would be: equal roots mean equal messages. */
  const rootOf = (parts: readonly number[]): Uint8Array => {
    const bytes = new Uint8Array(32);
    bytes.set(parts);
    return bytes;
  };
  const tiny = fc.integer({ min: 0, max: 4 });
  const variant = fc.integer({ min: 0, max: 1 });
  const blockCandidate = fc
    .tuple(tiny, variant)
    .map(([slot, salt]): Candidate => ({ kind: "block", slot, signingRoot: rootOf([1, slot, salt]) }));
  const attestationCandidate = fc
    .tuple(tiny, tiny, variant)
    .map(([sourceEpoch, targetEpoch, salt]): Candidate & { kind: "attestation" } => ({
      kind: "attestation",
      sourceEpoch,
      targetEpoch,
      signingRoot: rootOf([2, sourceEpoch, targetEpoch, salt]),
    }));
  /** An import may lie: it claims a real message's root at its target, under any source, ... */
  const plausibleLie = fc.tuple(tiny, attestationCandidate).map(
    ([sourceEpoch, { targetEpoch, signingRoot }]): SlashingState => ({
      attestation: { sourceEpoch, targetEpoch, signingRoot },
      control,
    }),
  );
  /** ... or any root anywhere. */
  const wildLie = fc.tuple(tiny, tiny, tiny, fc.oneof(blockCandidate, attestationCandidate)).map(
    ([slot, sourceEpoch, targetEpoch, { signingRoot }]): SlashingState => ({
      block: { slot, signingRoot },
      attestation: { sourceEpoch, targetEpoch, signingRoot },
      control,
    }),
  );
  const request = fc.oneof({ weight: 1, arbitrary: blockCandidate }, { weight: 3, arbitrary: attestationCandidate });
  const step = fc.oneof(
    { weight: 12, arbitrary: request.map((candidate) => ({ candidate })) },
    { weight: 2, arbitrary: plausibleLie.map((imported) => ({ imported })) },
    { weight: 1, arbitrary: wildLie.map((imported) => ({ imported })) },
    { weight: 1, arbitrary: anyState.map((state) => ({ imported: { ...state, control } })) },
  );

  it("is never slashable, by the judgement of an independent oracle", () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60, size: "max" }), (steps) => {
        let state = EMPTY_STATE;
        const history: SignedMessage[] = [];
        for (const item of steps) {
          if ("imported" in item) {
            state = merge(state, item.imported);
            continue;
          }
          const decision = decide(state, item.candidate, SLOTS);
          if (decision.kind === "refuse") continue;
          if (decision.kind === "sign") state = decision.next;
          history.push(signed(item.candidate));
        }
        expect(findSlashablePair(history)).toBeUndefined();
      }),
      { numRuns: 4000 },
    );
  });

  it("would be caught by the oracle if the rules forgot the source", () => {
    const history = [attestation(5, 6, 1), attestation(4, 7, 2)].map(signed);
    expect(findSlashablePair(history)).toContain('"source":4');
    expect(findSlashablePair([block(5, 1), block(5, 2)].map(signed))).toContain('"slot":5');
  });
});

const signed = (candidate: Candidate): SignedMessage => {
  const hex = Buffer.from(candidate.signingRoot).toString("hex");
  return candidate.kind === "block"
    ? { kind: "block", slot: candidate.slot, root: hex }
    : { kind: "attestation", source: candidate.sourceEpoch, target: candidate.targetEpoch, root: hex };
};
