/** The `testudo slashing` commands that act on running enclaves. */

import { type KeyObject, sign } from "node:crypto";
import { resolve } from "node:path";
import { Command } from "commander";
import { CLOCK_SKEW_MS_MAX, lastSignableEpoch } from "#enclave/slashing/recovery.ts";
import { managerSocketPath } from "#pool-manager/config.ts";
import { decodeSlashingStatus, MANAGER_OPERATIONS } from "#pool-manager/manager-messages.ts";
import type { SlashingStatus } from "#pool-manager/operator.ts";
import { developmentOperatorKeyPath, readOperatorPrivateKey } from "#pool-manager/operator-key.ts";
import { fromHex } from "#protocol/bytes.ts";
import { SignerError, toSignerError } from "#protocol/errors.ts";
import { CONNECT_TIMEOUT_MS, PAGE_ENTRIES_MAX } from "#protocol/limits.ts";
import { decodeOperatorReport, type OperatorReport } from "#protocol/messages/control.ts";
import {
  encodeOperatorCommand,
  needsSignature,
  type OperatorCommand,
  type OperatorCommandName,
  operatorMessage,
} from "#protocol/operator/command.ts";
import { createRpcClient, type RpcClient } from "#protocol/rpc.ts";
import { STORE_ID_BYTES } from "#protocol/slashing/record.ts";
import { connectUnix } from "#protocol/transport/hybrid.ts";
import { integerBetween } from "./integers.ts";
import { addStoreOptions, networkOf, runPathOf, type StoreOptionValues } from "./options.ts";
import { readPubkeys } from "./pubkeys.ts";

interface CommandValues {
  readonly data: string;
  readonly pubkeys?: string;
  readonly operatorKey?: string;
  readonly epoch?: number;
  readonly slot?: number;
}

/** As long as an enclave may work on a command, and a little more. */
const OPERATE_MS = 610_000;
const ASK_MS = 5_000;
const NUMBER_MAX = Number.MAX_SAFE_INTEGER;
/** What `up --clock-bound` is unless said otherwise. */
const CLOCK_BOUND_EPOCHS = 1;

const command = (name: OperatorCommandName, description: string): Command =>
  new Command(name).description(description).option("--data <dir>", "data folder of the running Testudo", "./data");

const withPubkeys = (each: Command): Command =>
  each.option(
    "--pubkeys <list|file>",
    "0x public keys with commas, or a file with one a line (default: all validators)",
  );

const withKey = (each: Command): Command =>
  each.option("--operator-key <file>", "the operator's private key (default: the development key in the data folder)");

/** All of them. */
export const slashingOperatorCommands = (): Command[] => [
  withPubkeys(command("watermark", "Raise watermarks: nothing at or below them is signed any more. Never lowers."))
    .requiredOption("--epoch <n>", "source and target epoch", integerBetween(0, NUMBER_MAX))
    .requiredOption("--slot <n>", "block slot", integerBetween(0, NUMBER_MAX))
    .action((values: CommandValues) => run("watermark", values)),
  withPubkeys(command("stop-at", "Sign nothing of this epoch or later; an earlier stop stays."))
    .requiredOption("--epoch <n>", "first epoch that is refused", integerBetween(0, NUMBER_MAX))
    .action((values: CommandValues) => run("stop-at", values)),
  withPubkeys(command("disable", "Sign no block and no attestation any more; do this before you move keys.")).action(
    (values: CommandValues) => run("disable", values),
  ),
  withKey(withPubkeys(command("enable", "Undo disable and stop-at (signed by the operator)."))).action(
    (values: CommandValues) => run("enable", values),
  ),
  withKey(command("register", "Make the first record of new validators (signed by the operator)."))
    .requiredOption("--pubkeys <list|file>", "0x public keys with commas, or a file with one a line")
    .action((values: CommandValues) => run("register", values)),
  withKey(command("rotate-mac", "Write every record anew under a new MAC key (signed by the operator).")).action(
    (values: CommandValues) => run("rotate-mac", values),
  ),
  withKey(addStoreOptions(new Command("recover")))
    .description("Raise every record above whatever may have been lost, and trust the store again (signed).")
    .option(
      "--epoch <n>",
      "epoch to raise to (default: the last that a clock bound of 1 lets through, by clocks that differ by 10 s)",
      integerBetween(0, NUMBER_MAX),
    )
    .action((values: CommandValues & StoreOptionValues) => run("recover", { ...values, epoch: recoveryEpoch(values) })),
];

const run = async (name: OperatorCommandName, values: CommandValues): Promise<void> => {
  const manager = await connectManager(values.data);
  try {
    const status = decodeSlashingStatus(
      await ask(manager, MANAGER_OPERATIONS.slashingStatus, new Uint8Array(), ASK_MS),
    );
    const pubkeys = values.pubkeys === undefined ? [] : readPubkeys(values.pubkeys);
    const key = needsSignature(name) ? operatorKey(values) : undefined;
    const totals = { written: 0, unchanged: 0, blank: 0, failed: 0 };
    let sequence = status.commandSequence;
    for (const [index, page] of pagesOf(pubkeys).entries()) {
      // The time of each page, not of the first: many pages take longer than a command stays valid.
      sequence = Math.max(sequence + 1, Math.floor(Date.now() / 1000));
      const made = makeCommand(name, { values, status, page, sequence });
      const payload = key === undefined ? made : Buffer.concat([made, sign(null, operatorMessage(made), key)]);
      try {
        add(totals, decodeOperatorReport(await ask(manager, MANAGER_OPERATIONS.operate, payload, OPERATE_MS)));
      } catch (error) {
        throw index === 0 ? error : brokenOff(error, { done: index * PAGE_ENTRIES_MAX, total: pubkeys.length });
      }
    }
    process.stdout.write(
      `${name}: ${totals.written} changed, ${totals.unchanged} unchanged, ${totals.failed} failed\n`,
    );
    if (name === "recover" && totals.blank > 0) {
      process.stderr.write(
        `nothing was known of ${totals.blank} of them: if any was disabled or stopped, or moved to another signer, ` +
          "`testudo slashing disable` it again before it signs\n",
      );
    }
    if (totals.failed > 0) process.exitCode = 1;
  } finally {
    manager.close();
  }
};

const add = (
  totals: { written: number; unchanged: number; blank: number; failed: number },
  report: OperatorReport,
): void => {
  totals.written += report.written;
  totals.unchanged += report.unchanged;
  totals.blank += report.blank;
  totals.failed += report.failed;
  for (const { pubkeyHex, reason } of report.failures) process.stderr.write(`failed: ${pubkeyHex}: ${reason}\n`);
  const unnamed = report.failed - report.failures.length;
  if (unnamed > 0) process.stderr.write(`failed: ${unnamed} more\n`);
};

const brokenOff = (error: unknown, { done, total }: { done: number; total: number }): SignerError => {
  const { code, detail } = toSignerError(error);
  const progress = `it was carried out for the first ${done} of ${total} validators, and may be run again for all`;
  return new SignerError(code, `${detail}; ${progress}`, { cause: error });
};

const makeCommand = (
  name: OperatorCommandName,
  at: { values: CommandValues; status: SlashingStatus; page: readonly Uint8Array[]; sequence: number },
): Uint8Array => {
  const made: OperatorCommand = {
    command: name,
    storeId: fromHex(at.status.storeIdHex, STORE_ID_BYTES, "store id"),
    sequence: needsSignature(name) ? at.sequence : 0,
    epoch: name === "rotate-mac" ? at.status.nextMacKeyId : (at.values.epoch ?? 0),
    slot: at.values.slot ?? 0,
    pubkeys: at.page,
  };
  return encodeOperatorCommand(made);
};

/** One page of no keys means all validators. */
const pagesOf = (pubkeys: readonly Uint8Array[]): Uint8Array[][] => {
  if (pubkeys.length === 0) return [[]];
  const pages: Uint8Array[][] = [];
  for (let start = 0; start < pubkeys.length; start += PAGE_ENTRIES_MAX) {
    pages.push(pubkeys.slice(start, start + PAGE_ENTRIES_MAX));
  }
  return pages;
};

const connectManager = async (data: string): Promise<RpcClient> => {
  const path = managerSocketPath(runPathOf(data));
  try {
    return createRpcClient(await connectUnix(path, { timeoutMs: CONNECT_TIMEOUT_MS }));
  } catch (cause) {
    throw new SignerError(
      "unavailable",
      `no Testudo runs on ${data}: start it first (\`npm start\`), or check --data`,
      {
        cause,
      },
    );
  }
};

const ask = (manager: RpcClient, operation: number, payload: Uint8Array, timeoutMs: number): Promise<Uint8Array> =>
  manager.request(operation, payload, { timeoutMs });

const operatorKey = ({ operatorKey, data }: CommandValues): KeyObject =>
  readOperatorPrivateKey(operatorKey ?? developmentOperatorKeyPath(resolve(data)));

/**
 * The last epoch that may have been signed, under the usual clock bound, by the fastest clock that is allowed for. The
 * enclave looks at its own clock a little later, and refuses less than that says.
 */
const recoveryEpoch = (values: CommandValues & StoreOptionValues): number => {
  if (values.epoch !== undefined) return values.epoch;
  const { genesisTimeSeconds, secondsPerSlot, slotsPerEpoch } = networkOf(values);
  if (genesisTimeSeconds === undefined) {
    throw new SignerError(
      "bad_request",
      "the genesis time is not known: say --epoch, the last that may have been signed",
    );
  }
  const now = Math.max(0, (Date.now() + CLOCK_SKEW_MS_MAX + ASK_MS) / 1000 - genesisTimeSeconds);
  return lastSignableEpoch(Math.floor(now / (secondsPerSlot * slotsPerEpoch)), CLOCK_BOUND_EPOCHS);
};
