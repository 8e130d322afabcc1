/** What each operator command makes of one validator's state. Pure; nothing here lowers a watermark. */

import { assertNever } from "#protocol/errors.ts";
import type { OperatorCommand } from "#protocol/operator/command.ts";
import { EMPTY_STATE, merge, type SlashingState } from "#protocol/slashing/rules.ts";
import { recoveredState } from "../slashing/recovery.ts";

/** A new state, or why this validator cannot have one. `state` is undefined where the store holds no record. */
export type Transform = (state: SlashingState | undefined) => SlashingState | { readonly refused: string };

const NOT_REGISTERED =
  "not registered: register it with `testudo slashing register`, or, if it was, its record is lost: " +
  "`testudo slashing recover`";

const RECORD_LOST = "registered before, and its record is lost: `testudo slashing recover`";

/** The transform of a command; `floor` is what enclaves have seen of the validator. */
export const transformOf = (
  command: OperatorCommand,
  { slotsPerEpoch, floor }: { slotsPerEpoch: number; floor: SlashingState | undefined },
): Transform => {
  switch (command.command) {
    case "watermark":
      return registered((state) =>
        merge(state, {
          block: { slot: command.slot },
          attestation: { sourceEpoch: command.epoch, targetEpoch: command.epoch },
          control: state.control,
        }),
      );
    case "stop-at":
      return registered((state) => withControl(state, { ...state.control, stopAtEpoch: command.epoch }));
    case "disable":
      return registered((state) => withControl(state, { ...state.control, disabled: true }));
    case "register":
      return (state) => state ?? (floor === undefined ? EMPTY_STATE : { refused: RECORD_LOST });
    case "enable":
      return registered((state) => ({
        ...state,
        control: { generation: state.control.generation + 1, disabled: false },
      }));
    case "recover":
      return (state) => {
        const known = [state, floor].filter((each) => each !== undefined);
        return recoveredState(known, { epoch: command.epoch, slotsPerEpoch });
      };
    case "rotate-mac":
      return registered((state) => state);
    default:
      return assertNever(command.command);
  }
};

const registered =
  (transform: (state: SlashingState) => SlashingState): Transform =>
  (state) =>
    state === undefined ? { refused: NOT_REGISTERED } : transform(state);

/** A tie of generations takes the stricter of each setting (`merge`). */
const withControl = (state: SlashingState, control: SlashingState["control"]): SlashingState =>
  merge(state, { ...state, control });
