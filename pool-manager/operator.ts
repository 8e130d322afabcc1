/**
 * Carries operator commands to the enclaves: one executes, the others read again. Before a recovery the executing one
 * gets what all others have seen. The pool-manager can neither make nor change a command.
 */

import { SignerError, toSignerError } from "#protocol/errors.ts";
import type { Logger } from "#protocol/log.ts";
import type { OperatorReport } from "#protocol/messages/control.ts";
import { decodeOperatorCommand } from "#protocol/operator/command.ts";
import type { ControlClient } from "./control-client.ts";
import type { DataFolder } from "./data-folder.ts";

/** What a command line must know to make a command. */
export interface SlashingStatus {
  /** 16 bytes of hex. */
  readonly storeIdHex: string;
  /** Sequence of the last signed command. */
  readonly commandSequence: number;
  /** Id that the next MAC key has. */
  readonly nextMacKeyId: number;
}

/** @param controls connections of enclaves that have their settings */
export const createOperatorDesk = (modules: {
  readonly controls: () => readonly ControlClient[];
  readonly logger: Logger;
  /** Where MAC keys rest. */
  readonly folder: Pick<DataFolder, "secrets" | "addMacKey" | "retireMacKeys">;
}): ((payload: Uint8Array) => Promise<OperatorReport>) => {
  const { logger, folder } = modules;

  /** Floors of a dead enclave are lost with it; those of the living must not be. */
  const collectFloors = async (to: ControlClient, from: readonly ControlClient[]): Promise<void> => {
    for (const enclave of from) {
      for (let page = 0; ; page += 1) {
        const entries = await enclave.floors(page);
        if (entries.length === 0) break;
        await to.keepFloors(entries);
      }
    }
  };

  /** Every enclave accepts the new key before one writes under it: add before switching, switch before retiring. */
  const acceptKey = async (id: number): Promise<void> => {
    const newest = Math.max(...folder.secrets.macKeys.macKeys.keys());
    const isPending = newest !== folder.secrets.macKeys.writingKeyId; // a rotation that broke off goes on
    const expected = isPending ? newest : newest + 1;
    if (id !== expected) throw new SignerError("bad_request", `rotate-mac: key id: expected ${expected}, got ${id}`);
    if (!isPending) folder.addMacKey();
    // Asked for anew: whoever got its settings before the key was there is among them by now.
    await Promise.all(modules.controls().map((enclave) => enclave.macKeys(folder.secrets.macKeys)));
  };

  /**
   * Removes the old keys. What an enclave has seen lately must be under the new one: what it could no longer verify
   * would be missing in a recovery, or would look like an altered record.
   */
  const retireKeys = async (id: number, refreshed: boolean): Promise<void> => {
    const statuses = await Promise.allSettled(modules.controls().map((enclave) => enclave.status()));
    const trusted = statuses.every((each) => each.status === "fulfilled" && each.value.storeProblem === undefined);
    if (!refreshed || !trusted) {
      throw new SignerError(
        "unavailable",
        "rotate-mac: every record is under the new key, but not every enclave has taken them over, so the old key " +
          "stays accepted: look at /healthcheck, then run it again",
      );
    }
    folder.retireMacKeys(id);
    const told = await Promise.allSettled(modules.controls().map((enclave) => enclave.macKeys(folder.secrets.macKeys)));
    for (const result of told) {
      if (result.status === "fulfilled") continue;
      const reason = toSignerError(result.reason).detail;
      logger.warn("an enclave accepts the retired MAC key until it is replaced", { reason });
    }
  };

  return async (payload) => {
    const { command, epoch } = decodeOperatorCommand(payload).command;
    const controls = modules.controls();
    const executor = await furthest(controls);
    if (executor === undefined) throw new SignerError("unavailable", "no enclave is there to execute the command");
    if (command === "recover") {
      await collectFloors(
        executor,
        controls.filter((enclave) => enclave !== executor),
      );
    }
    if (command === "rotate-mac") await acceptKey(epoch);
    const report = await executor.operate(payload);
    // Asked for anew: one that came up meanwhile may have read records before they were written.
    const readers = modules.controls().filter((enclave) => enclave !== executor);
    const refreshed = await Promise.allSettled(readers.map((enclave) => enclave.refresh()));
    for (const result of refreshed) {
      // It sees the marker at its next look, a second later.
      if (result.status === "rejected") {
        logger.warn("enclave not refreshed yet", { command, reason: toSignerError(result.reason).detail });
      }
    }
    if (command === "rotate-mac" && report.failed === 0) {
      await retireKeys(
        epoch,
        refreshed.every(({ status }) => status === "fulfilled"),
      );
    }
    return report;
  };
};

/** The enclave that knows of the latest command: when the marker is lost, only it goes on where the commands were. */
const furthest = async (controls: readonly ControlClient[]): Promise<ControlClient | undefined> => {
  const known = await Promise.allSettled(controls.map((enclave) => enclave.status()));
  const sequences = known.map((each) => (each.status === "fulfilled" ? each.value.commandSequence : -1));
  return controls[sequences.indexOf(Math.max(...sequences))];
};
