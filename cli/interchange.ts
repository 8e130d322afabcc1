/**
 * `testudo slashing import` and `export`: move histories in and out (EIP-3076, version 5), of any number of validators in
 * bounded memory. Both work on the store, so it does not matter whether the pool runs meanwhile.
 */

import { randomBytes } from "node:crypto";
import { createWriteStream, existsSync, lstatSync } from "node:fs";
import { type FileHandle, open, rename, rm } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { Command } from "commander";
import { openRegisteredKeys, type RegisteredKeys } from "#pool-manager/keys/key-store.ts";
import { fromHex, PUBKEY_BYTES } from "#protocol/bytes.ts";
import { SignerError } from "#protocol/errors.ts";
import { countRecords, exportFromStore } from "#protocol/slashing/export.ts";
import { mergeIntoStore } from "#protocol/slashing/import.ts";
import { checkGenesisRoot, createFailures, type Failures, renderInterchange } from "#protocol/slashing/interchange.ts";
import { readValidators, surveyInterchange } from "#protocol/slashing/interchange-reader.ts";
import type { SlashingState } from "#protocol/slashing/rules.ts";
import { addStoreOptions, networkOf, type StoreOptionValues } from "./options.ts";
import { createProgress, type Progress } from "./output.ts";
import { type OpenProtection, openProtection } from "./protection-store.ts";
import { readPubkeys } from "./pubkeys.ts";

/** Bytes that are read from a file at a time. */
const CHUNK_BYTES = 256 * 1024;
const MODE_PRIVATE = 0o600;

interface ExportOptionValues extends StoreOptionValues {
  readonly pubkeys?: string;
  readonly onlyDisabled: boolean;
}

/** The command that merges a file into the store. */
export const importCommand = (): Command =>
  addStoreOptions(new Command("import"))
    .description("Merge an EIP-3076 interchange file by maxima; nothing is ever lowered.")
    .argument("<file>", "interchange file (JSON)")
    .action(importFile);

/** The command that writes a file of the store. */
export const exportCommand = (): Command =>
  addStoreOptions(new Command("export"))
    .description(
      "Write an EIP-3076 interchange file. It holds every signature released before it began; " +
        "only an export of disabled keys may be used to move them.",
    )
    .argument("[file]", "file to write (mode 600, replaced as a whole); standard output without it")
    .option("--pubkeys <0x…,…|file>", "only these validators: a list, or a file with one public key a line")
    .option("--only-disabled", "only validators that are disabled, and so may be moved", false)
    .action(exportFile);

const importFile = async (file: string, values: StoreOptionValues): Promise<void> => {
  const network = networkOf(values);
  const input = await openInput(file);
  try {
    // Everything that is wrong with the file as a whole shows here, before a data folder or record is made.
    const survey = await withProgress("checking the file, bytes", (progress) =>
      surveyInterchange(chunksOf(input, progress), network),
    );
    await withProtection(values, { initialise: true }, async ({ root, ...modules }) => {
      checkGenesisRoot(survey.genesisValidatorsRoot, root);
      const registered = openRegistered(values.data);
      const mayCreate = (pubkeyHex: string): boolean => !registered.has(fromHex(pubkeyHex, PUBKEY_BYTES, "pubkey"));
      const report = await withProgress("importing, bytes", (progress) =>
        mergeIntoStore(modules, readValidators(chunksOf(input, progress), survey), { mayCreate }),
      ).finally(() => registered.close());
      const failed = survey.failures.count + report.failures.count;
      for (const failures of [survey.failures, report.failures]) printFailures("not imported", failures);
      process.stdout.write(`${report.imported} validators imported, ${failed} failed\n`);
      if (failed > 0) process.exitCode = 1;
    });
  } finally {
    await input.handle.close();
  }
};

const exportFile = async (file: string | undefined, values: ExportOptionValues): Promise<void> => {
  const pubkeys = values.pubkeys === undefined ? undefined : readPubkeys(values.pubkeys);
  const output = file === undefined ? undefined : checkOutput(file);
  await withProtection(values, { initialise: false }, async (protection) => {
    const { root: genesisValidatorsRoot } = protection;
    const tally = createTally();
    const total = pubkeys?.length ?? (await countRecords(protection.store));
    await withProgress("exporting validators", async (progress) => {
      const states = selectStates(protection, { pubkeys, total, tally, progress, onlyDisabled: values.onlyDisabled });
      const pieces = Readable.from(renderInterchange(states, { genesisValidatorsRoot }), { objectMode: true });
      if (output === undefined) await pipeline(pieces, process.stdout, { end: false });
      else await writeWhole(output, pieces);
    });
    printFailures("not exported", tally.failures());
    process.stderr.write(describeExport(tally));
    if (tally.failures().count > 0) process.exitCode = 1;
  });
};

/** What went into an export, counted while it was written. */
interface Tally {
  exported: number;
  /** Of those exported. */
  enabled: number;
  /** Enabled and therefore not asked for. */
  leftOut: number;
  readonly fail: (pubkey: string, reason: string) => void;
  readonly failures: () => Failures;
}

const createTally = (): Tally => {
  const collected = createFailures();
  return {
    exported: 0,
    enabled: 0,
    leftOut: 0,
    fail: (pubkey, reason) => collected.add({ pubkey, reason }),
    failures: () => collected.failures,
  };
};

interface Selection {
  readonly pubkeys: readonly Uint8Array[] | undefined;
  readonly onlyDisabled: boolean;
  readonly total: number;
  readonly tally: Tally;
  readonly progress: Progress;
}

async function* selectStates(
  protection: OpenProtection,
  { pubkeys, onlyDisabled, total, tally, progress }: Selection,
): AsyncGenerator<readonly [string, SlashingState]> {
  let done = 0;
  for await (const record of exportFromStore(protection, { pubkeys })) {
    done += 1;
    progress.update(Math.min(done, total), total);
    if (!record.ok) {
      tally.fail(record.pubkey, record.reason);
      continue;
    }
    const { pubkey, state } = record;
    const isEnabled = !state.control.disabled;
    if (isEnabled && onlyDisabled) {
      // Who names a validator wants to be told that it is not there.
      if (pubkeys === undefined) tally.leftOut += 1;
      else tally.fail(pubkey, "it is enabled: disable it first (`testudo slashing disable`)");
      continue;
    }
    tally.exported += 1;
    if (isEnabled) tally.enabled += 1;
    yield [pubkey, state];
  }
}

const describeExport = ({ exported, enabled, leftOut }: Tally): string => {
  const counts = `${exported} validators exported${leftOut > 0 ? `, ${leftOut} enabled ones left out` : ""}.`;
  if (enabled > 0) {
    return (
      `${counts} ${enabled} of them are enabled: they may go on signing, and this file does not know it. Do not move ` +
      "keys with it. Only an export of disabled keys may be used to move them: `testudo slashing disable` first, then " +
      "export again with --only-disabled.\n"
    );
  }
  if (exported === 0) return `${counts}\n`;
  return `${counts} All of them are disabled: this file may be used to move them, while they stay disabled here.\n`;
};

const printFailures = (what: string, { count, named }: Failures): void => {
  for (const { pubkey, reason } of named) process.stderr.write(`${what}: ${pubkey}: ${reason}\n`);
  if (count > named.length) process.stderr.write(`${what}: ${count - named.length} more\n`);
};

/** Keys that have had a record: one that is absent was lost. */
const openRegistered = (data: string): RegisteredKeys => {
  const path = join(data, "keys.sqlite");
  return existsSync(path) ? openRegisteredKeys(path) : { has: () => false, close: () => undefined };
};

interface Input {
  readonly handle: FileHandle;
  readonly bytes: number;
}

const openInput = async (file: string): Promise<Input> => {
  let handle: FileHandle;
  try {
    handle = await open(file);
  } catch (cause) {
    throw new SignerError("bad_request", `${file}: cannot be read`, { cause });
  }
  const status = await handle.stat();
  if (status.isFile()) return { handle, bytes: status.size };
  await handle.close();
  throw new SignerError("bad_request", `${file}: cannot be read twice, as an import does: expected a regular file`);
};

/** The file from its beginning. A chunk is good until the next one is asked for. */
async function* chunksOf({ handle, bytes }: Input, progress: Progress): AsyncGenerator<Uint8Array> {
  const buffer = new Uint8Array(CHUNK_BYTES);
  let position = 0;
  for (;;) {
    const { bytesRead } = await handle.read(buffer, { position });
    if (bytesRead === 0) return;
    yield buffer.subarray(0, bytesRead);
    position += bytesRead;
    progress.update(Math.min(position, bytes), bytes);
  }
}

/** A device or link must not be replaced by a file. */
const checkOutput = (file: string): string => {
  const path = resolve(file);
  if (!existsSync(dirname(path))) throw new SignerError("bad_request", `${file}: there is no folder ${dirname(path)}`);
  const status = lstatSync(path, { throwIfNoEntry: false });
  if (status === undefined || status.isFile()) return path;
  throw new SignerError("bad_request", `${file}: expected a regular file, or nothing there yet`);
};

/** Whoever looks at `path` sees what was there before, or all of the new; also after a power cut. */
const writeWhole = async (path: string, pieces: Readable): Promise<void> => {
  const folder = dirname(path);
  const fresh = join(folder, `.${basename(path)}.${randomBytes(8).toString("hex")}.partial`);
  try {
    await pipeline(pieces, createWriteStream(fresh, { flags: "wx", mode: MODE_PRIVATE, flush: true }));
    await rename(fresh, path);
  } catch (error) {
    await rm(fresh, { force: true });
    throw error;
  }
  // A rename is durable when its folder is (rename(2), fsync(2)).
  const handle = await open(folder);
  await handle.sync().finally(() => handle.close());
};

const withProgress = async <T>(label: string, task: (progress: Progress) => Promise<T>): Promise<T> => {
  const progress = createProgress(label);
  try {
    return await task(progress);
  } finally {
    progress.end();
  }
};

const withProtection = async (
  values: StoreOptionValues,
  options: { initialise: boolean },
  task: (protection: OpenProtection) => Promise<void>,
): Promise<void> => {
  const protection = await openProtection(values, { ...options, network: networkOf(values) });
  try {
    await task(protection);
  } finally {
    await protection.close();
  }
};
