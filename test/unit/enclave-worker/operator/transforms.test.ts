/** What each command makes of a validator: nothing lowers a watermark, and only `enable` loosens a control. */

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { transformOf } from "#enclave/operator/transforms.ts";
import type { OperatorCommandName } from "#protocol/operator/command.ts";
import { decide, EMPTY_STATE, isBehind, merge, type SlashingState } from "#protocol/slashing/rules.ts";
import { attestation, block, blockState, filledBytes } from "../../../helpers/guarded.ts";
import { anyState, commandOf, SLOTS_PER_EPOCH } from "../../../helpers/operated.ts";

const RULES = { slotsPerEpoch: SLOTS_PER_EPOCH };
const RAISING = ["watermark", "stop-at", "disable"] as const;
const ALL = [...RAISING, "register", "enable", "recover"] as const;
const apply = (
  command: OperatorCommandName,
  state: SlashingState | undefined,
  { epoch = 0, slot = 0, floor }: { epoch?: number; slot?: number; floor?: SlashingState | undefined } = {},
) => transformOf(commandOf({ command, epoch, slot }), { ...RULES, floor })(state);
/** The new state; fails when there is none. */
const made = (...args: Parameters<typeof apply>): SlashingState => {
  const next = apply(...args);
  if ("refused" in next) throw new Error(next.refused);
  return next;
};
const number = fc.integer({ min: 0, max: 7 });
const controlled = (control: Partial<SlashingState["control"]>): SlashingState => ({
  ...blockState(5, 1),
  control: { generation: 3, disabled: false, ...control },
});
const withControlOf = (state: SlashingState, { control }: SlashingState): SlashingState => ({ ...state, control });

describe("every command", () => {
  it.each(ALL)("%s lowers no watermark and forgets no root", (command) => {
    fc.assert(
      fc.property(anyState, number, number, fc.option(anyState, { nil: undefined }), (state, epoch, slot, floor) => {
        const next = made(command, state, { epoch, slot, floor });
        expect(isBehind(withControlOf(next, state), state)).toBe(false);
        expect(isBehind(next, state)).toBe(false); // for `enable` because its generation is higher
      }),
    );
  });

  it.each(ALL)("%s signs nothing that was refused before, but for controls that enable undoes", (command) => {
    const candidate = fc.oneof(
      fc.record({ slot: fc.integer({ min: 0, max: 260 }), root: number }).map(({ slot, root }) => block(slot, root)),
      fc.record({ s: number, t: number, root: number }).map(({ s, t, root }) => attestation(s, t, root)),
    );
    fc.assert(
      fc.property(anyState, number, number, candidate, (state, epoch, slot, asked) => {
        const next = made(command, state, { epoch, slot });
        const before = decide(command === "enable" ? withControlOf(state, next) : state, asked, RULES);
        const after = decide(next, asked, RULES);
        if (before.kind === "refuse") expect(after.kind).toBe("refuse");
        if (before.kind === "repeat") expect(after.kind).not.toBe("sign");
        if (after.kind === "repeat") expect(before.kind).toBe("repeat");
      }),
      { numRuns: 500 },
    );
  });

  it.each(RAISING)("%s twice is as good as once", (command) => {
    fc.assert(
      fc.property(anyState, number, number, (state, epoch, slot) => {
        const once = made(command, state, { epoch, slot });
        expect(made(command, once, { epoch, slot })).toEqual(once);
      }),
    );
  });

  it.each([...RAISING, "enable"] as const)(
    "%s of a validator without a record is refused, and says how to go on",
    (command) => {
      expect(apply(command, undefined, { epoch: 9, slot: 9 })).toEqual({
        refused: expect.stringMatching(/register it with `testudo slashing register`.*`testudo slashing recover`/),
      });
    },
  );
});

describe("watermark", () => {
  it("refuses what is at or below it, and nothing above", () => {
    const next = made("watermark", EMPTY_STATE, { epoch: 10, slot: 400 });
    const kind = (candidate: Parameters<typeof decide>[1]) => decide(next, candidate, RULES).kind;
    expect(kind(block(400, 1))).toBe("refuse");
    expect(kind(block(401, 1))).toBe("sign");
    expect(kind(attestation(10, 10, 1))).toBe("refuse");
    expect(kind(attestation(9, 11, 1))).toBe("refuse");
    expect(kind(attestation(10, 11, 1))).toBe("sign");
  });

  it("at what was signed last makes its root unknown: not even a repeat", () => {
    const state: SlashingState = {
      ...blockState(400, 1),
      attestation: { sourceEpoch: 9, targetEpoch: 10, signingRoot: filledBytes(1, 32) },
    };
    const next = made("watermark", state, { epoch: 10, slot: 400 });
    expect(next.block).toEqual({ slot: 400 });
    expect(next.attestation).toEqual({ sourceEpoch: 10, targetEpoch: 10 });
  });

  it("below what was signed changes nothing", () => {
    const state: SlashingState = {
      ...blockState(400, 1),
      attestation: { sourceEpoch: 9, targetEpoch: 10, signingRoot: filledBytes(1, 32) },
    };
    expect(made("watermark", state, { epoch: 9, slot: 399 })).toEqual(state);
  });
});

describe("stop-at and disable", () => {
  it.each([
    [undefined, 7, 7],
    [7, 8, 7],
    [7, 7, 7],
    [7, 6, 6],
    [7, 0, 0],
  ])("a stop at %s and one at %i is one at %i, in the same generation", (before, asked, after) => {
    const next = made("stop-at", controlled({ ...(before !== undefined && { stopAtEpoch: before }) }), {
      epoch: asked,
    });
    expect(next).toEqual(controlled({ stopAtEpoch: after }));
  });

  it("of each other stay", () => {
    expect(made("disable", controlled({ stopAtEpoch: 4 }))).toEqual(controlled({ stopAtEpoch: 4, disabled: true }));
    expect(made("stop-at", controlled({ disabled: true }), { epoch: 4 })).toEqual(
      controlled({ stopAtEpoch: 4, disabled: true }),
    );
  });
});

describe("enable", () => {
  it("undoes both, in a generation that wins against every record of before", () => {
    fc.assert(
      fc.property(anyState, anyState, (state, late) => {
        const next = made("enable", state);
        expect(next.control).toEqual({ generation: state.control.generation + 1, disabled: false });
        const sameGeneration = { ...late, control: { ...late.control, generation: state.control.generation } };
        expect(merge(next, sameGeneration).control).toEqual(next.control);
      }),
    );
  });
});

describe("register", () => {
  it("makes an empty record where there is none, and touches no other", () => {
    expect(made("register", undefined)).toEqual(EMPTY_STATE);
    fc.assert(
      fc.property(
        anyState,
        number,
        (state, epoch) => void expect(made("register", state, { epoch, slot: epoch })).toEqual(state),
      ),
    );
  });

  it("makes none for a validator that an enclave has seen with a record: that one is lost", () => {
    expect(apply("register", undefined, { floor: EMPTY_STATE })).toEqual({
      refused: expect.stringMatching(/its record is lost/),
    });
  });
});

describe("recover", () => {
  it("takes in what enclaves have seen, controls too", () => {
    fc.assert(
      fc.property(fc.option(anyState, { nil: undefined }), anyState, number, (state, floor, epoch) => {
        const next = made("recover", state, { epoch, floor });
        expect(isBehind(next, floor)).toBe(false);
        if (state !== undefined) expect(isBehind(next, state)).toBe(false);
      }),
    );
    const next = made("recover", undefined, { epoch: 4, floor: controlled({ disabled: true, stopAtEpoch: 9 }) });
    expect(next.control).toEqual({ generation: 3, disabled: true, stopAtEpoch: 9 });
  });
});
