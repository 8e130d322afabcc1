/** After a recovery nothing can be signed that clashes with anything that may have been lost; one epoch less, and it can. */

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { checkClockBound, lastEpochToSign } from "#enclave/policy.ts";
import { recoveredState } from "#enclave/slashing/recovery.ts";
import { toHex } from "#protocol/bytes.ts";
import { NAMED_NETWORKS } from "#protocol/signing/named-networks.ts";
import { networkFromJson } from "#protocol/signing/network.ts";
import { type Candidate, decide, EMPTY_STATE, merge, type SlashingState } from "#protocol/slashing/rules.ts";
import { attestation, block } from "../../../helpers/guarded.ts";
import { findSlashablePair, type SignedMessage } from "../../../helpers/slashing-oracle.ts";

const MAINNET = networkFromJson({ name: "mainnet", ...NAMED_NETWORKS.mainnet });
const { slotsPerEpoch, secondsPerSlot, genesisTimeSeconds = 0 } = MAINNET;
/** The clock bound in epoch 4 lets epoch 5 through. */
const NOW_MS = (genesisTimeSeconds + 4 * slotsPerEpoch * secondsPerSlot) * 1000;
const BOUND = { network: MAINNET, clockBoundEpochs: 1, wallClock: () => NOW_MS };
const LAST = lastEpochToSign(BOUND) as number;
const RULES = { slotsPerEpoch };

/** Whether the enclave could have signed it before the recovery, on some record. */
const couldHaveBeenSigned = (candidate: Candidate): boolean =>
  decide(EMPTY_STATE, candidate, RULES).kind === "sign" &&
  checkClockBound(candidate.kind === "block" ? candidate : { ...candidate, slot: 0 }, BOUND) === undefined;
const asSigned = (candidate: Candidate): SignedMessage => {
  const root = toHex(candidate.signingRoot);
  return candidate.kind === "block"
    ? { kind: "block", slot: candidate.slot, root }
    : { kind: "attestation", source: candidate.sourceEpoch, target: candidate.targetEpoch, root };
};
const slotRange = { min: (LAST - 1) * slotsPerEpoch, max: (LAST + 3) * slotsPerEpoch };
const epoch = fc.integer({ min: 0, max: LAST + 4 });
const root = fc.integer({ min: 1, max: 3 });
const anyBlock = fc.tuple(fc.integer(slotRange), root).map(([slot, fill]) => block(slot, fill));
const anyVote = fc.tuple(epoch, epoch, root).map(([source, target, fill]) => attestation(source, target, fill));
const anyMessage = fc.oneof({ weight: 1, arbitrary: anyBlock }, { weight: 2, arbitrary: anyVote });
const lostMessage = anyMessage.filter(couldHaveBeenSigned);
const sign = (state: SlashingState, candidate: Candidate): SlashingState => {
  const decision = decide(state, candidate, RULES);
  return decision.kind === "sign" ? decision.next : state;
};

describe("a recovered record", () => {
  it("allows nothing that clashes with any message that the clock bound let through before", () => {
    let allowed = 0;
    fc.assert(
      fc.property(fc.array(lostMessage, { maxLength: 6 }), fc.array(anyMessage, { maxLength: 8 }), (lost, asked) => {
        // Nothing is known of what was lost; each lost message alone is judged against what is signed now.
        let state = recoveredState([], { epoch: LAST, slotsPerEpoch });
        const released: Candidate[] = [];
        for (const candidate of asked) {
          const decision = decide(state, candidate, RULES);
          if (decision.kind === "refuse") continue;
          released.push(candidate);
          state = sign(state, candidate);
        }
        allowed += released.length;
        expect(findSlashablePair(released.map(asSigned))).toBeUndefined();
        for (const gone of lost) {
          expect(findSlashablePair([asSigned(gone), ...released.map(asSigned)])).toBeUndefined();
        }
      }),
      { numRuns: 2_000 },
    );
    expect(allowed).toBeGreaterThan(500); // the property is not empty
  });

  it("allows nothing that clashes with a true history of which some states are known", () => {
    fc.assert(
      fc.property(
        fc.array(lostMessage, { maxLength: 12 }),
        fc.array(fc.nat({ max: 12 }), { maxLength: 3 }),
        fc.array(anyMessage, { maxLength: 8 }),
        (duties, cuts, asked) => {
          const states: SlashingState[] = [EMPTY_STATE];
          const history: Candidate[] = [];
          for (const duty of duties) {
            const state = states.at(-1) as SlashingState;
            const decision = decide(state, duty, RULES);
            if (decision.kind !== "sign") continue;
            history.push(duty);
            states.push(decision.next);
          }
          const known = cuts.map((cut) => states[cut % states.length] as SlashingState);
          let state = recoveredState(known, { epoch: LAST, slotsPerEpoch });
          for (const candidate of asked) {
            const decision = decide(state, candidate, RULES);
            if (decision.kind === "refuse") continue;
            history.push(candidate);
            state = sign(state, candidate);
          }
          expect(findSlashablePair(history.map(asSigned))).toBeUndefined();
        },
      ),
      { numRuns: 1_000 },
    );
  });

  it("stands exactly at the bound: each number one lower would let a slashable message out", () => {
    const exact = recoveredState([], { epoch: LAST, slotsPerEpoch });
    const { block: lastBlock, attestation: lastVote } = exact as Required<SlashingState>;
    const slot = lastBlock?.slot as number;
    const { sourceEpoch, targetEpoch } = lastVote as NonNullable<SlashingState["attestation"]>;
    const rows: [lower: SlashingState, lost: Candidate, asked: Candidate][] = [
      [{ ...exact, block: { slot: slot - 1 } }, block(slot, 1), block(slot, 2)],
      [
        { ...exact, attestation: { sourceEpoch, targetEpoch: targetEpoch - 1 } },
        attestation(LAST, LAST, 1),
        attestation(LAST, LAST, 2),
      ],
      [
        { ...exact, attestation: { sourceEpoch: sourceEpoch - 1, targetEpoch } },
        attestation(LAST, LAST, 1),
        attestation(LAST - 1, LAST + 1, 2),
      ],
    ];
    for (const [lower, lost, asked] of rows) {
      expect(couldHaveBeenSigned(lost)).toBe(true);
      expect(decide(exact, asked, RULES).kind).toBe("refuse");
      expect(decide(lower, asked, RULES).kind).toBe("sign");
      expect(findSlashablePair([asSigned(lost), asSigned(asked)])).toBeDefined();
    }
  });

  it("of one epoch less clashes with what the bound let through", () => {
    const lower = recoveredState([], { epoch: LAST - 1, slotsPerEpoch });
    const clashes = (lost: Candidate, asked: Candidate): boolean =>
      couldHaveBeenSigned(lost) &&
      decide(lower, asked, RULES).kind === "sign" &&
      findSlashablePair([asSigned(lost), asSigned(asked)]) !== undefined;
    expect(clashes(attestation(LAST - 1, LAST, 1), attestation(LAST - 1, LAST, 2))).toBe(true);
    const slot = (LAST + 1) * slotsPerEpoch - 1;
    expect(clashes(block(slot, 1), block(slot, 2))).toBe(true);
    expect(couldHaveBeenSigned(block(slot + 1, 1))).toBe(false);
    expect(couldHaveBeenSigned(attestation(LAST, LAST + 1, 1))).toBe(false);
  });

  it("lets duties go on once the chain has justified the epoch", () => {
    const state = recoveredState([], { epoch: LAST, slotsPerEpoch });
    expect(decide(state, attestation(LAST, LAST + 1, 1), RULES).kind).toBe("sign");
    expect(decide(state, attestation(LAST - 1, LAST + 1, 1), RULES)).toMatchObject({ rule: "source_below_watermark" });
    expect(decide(state, block((LAST + 1) * slotsPerEpoch, 1), RULES).kind).toBe("sign");
  });

  it("is the same for any order and repetition of what is known, and keeps what is above the bound", () => {
    const high: SlashingState = {
      block: { slot: 10_000, signingRoot: new Uint8Array(32).fill(1) },
      attestation: { sourceEpoch: 20, targetEpoch: 30, signingRoot: new Uint8Array(32).fill(2) },
      control: { generation: 2, disabled: true, stopAtEpoch: 40 },
    };
    const low = sign(EMPTY_STATE, attestation(1, 2, 3));
    const bound = { epoch: LAST, slotsPerEpoch };
    expect(recoveredState([high], bound)).toEqual(high);
    expect(recoveredState([low, high, low], bound)).toEqual(recoveredState([high, low], bound));
    expect(recoveredState([low], bound)).toEqual(merge(low, recoveredState([], bound)));
  });
});
