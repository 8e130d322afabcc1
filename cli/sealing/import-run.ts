/** What every command has that brings keys into the table: its options, its way from listing to report. */

import { availableParallelism, freemem } from "node:os";
import type { Command } from "commander";
import { fromHex, toHex } from "#protocol/bytes.ts";
import { U32_MAX } from "#protocol/sealed/header.ts";
import { STORE_ID_BYTES } from "#protocol/slashing/record.ts";
import { integerBetween } from "../integers.ts";
import { createProgress } from "../output.ts";
import { addKmsOptions, addTableOptions, type KmsValues, type TableValues } from "./aws-options.ts";
import type { ImportListing, ImportReport } from "./import-keystores.ts";

/** Values of {@link addSealingOptions}. */
export interface SealingValues extends TableValues, KmsValues {
  readonly authority: string;
  readonly kmsKey?: string;
  readonly storeId?: string;
  readonly generation?: number;
  readonly createTable: boolean;
  readonly restore: boolean;
  readonly threads?: number;
}

/** Free memory for each thread: scrypt's 256 MiB twice. */
const BYTES_PER_THREAD = 512 * 1024 * 1024;
const THREADS_MAX = 64;
/** So that threads have work while keys are being written; openers queue 64 at most. */
const LANES_PER_THREAD = 4;
const LANES_MAX = 64;
const FAILURES_SHOWN_MAX = 100;

/** For whom keys are sealed, and where they go. */
export const addSealingOptions = (command: Command): Command =>
  addKmsOptions(addTableOptions(command))
    .requiredOption("--authority <0x…|file>", "the operator's public key: keys load under its configurations alone")
    .option("--kms-key <arn>", "KMS key that wraps the data keys (default: of the sealed configuration)")
    .option("--store-id <0x…>", "16 bytes: the slashing store (default: of the sealed configuration)")
    .option("--generation <n>", "of the bundles (default: of the sealed configuration)", integerBetween(1, U32_MAX))
    .option("--create-table", "make the table when there is none", false)
    .option("--restore", "bring back keys that were removed from the table, too", false)
    .option("--threads <n>", "keystores opened at the same time; each takes 256 MiB", integerBetween(1, THREADS_MAX));

/**
 * Imports what `list` gives, with progress and a report for people; exit code 1 when a key was left behind.
 * @throws SignerError
 */
export const runKeyImport = async (values: SealingValues, list: () => Promise<ImportListing>): Promise<void> => {
  // Loaded here, so that the long-lived commands never hold the AWS SDK for it.
  const [{ openTable, openKms }, { resolveTarget }, { createTable }, { createBundleWriter }, sealing, enclave, seal] =
    await Promise.all([
      import("./aws-sessions.ts"),
      import("./target.ts"),
      import("#pool-manager/keys/dynamo-create-table.ts"),
      import("./bundle-writer.ts"),
      import("./import-keystores.ts"),
      import("#enclave/keys/keystore.ts"),
      import("#enclave/keys/seal.ts"),
    ]);
  const { session, table } = openTable(values);
  try {
    if (values.createTable) await createTable(session);
    const { kmsKey: kmsKeyArn, generation, authority, storeId } = values;
    const target = await resolveTarget(
      {
        authority,
        group: session.options.group,
        kmsKeyArn,
        generation,
        storeId: storeId === undefined ? undefined : fromHex(storeId, STORE_ID_BYTES, "--store-id"),
      },
      table,
    );
    const listing = await list();
    const kms = openKms(target.kmsKeyArn, values);
    const threads = values.threads ?? threadsThatFit();
    const opener = enclave.createKeystoreOpener({ threads });
    const writer = createBundleWriter(target, { kms, table, derivePubkey: seal.derivePubkey });
    const progress = createProgress("importing keys");
    try {
      const report = await sealing.importKeystores(
        listing,
        { restore: values.restore, lanes: Math.min(LANES_MAX, threads * LANES_PER_THREAD) },
        {
          table,
          writer,
          opener,
          onProgress: progress.update,
          onProblem: ({ item, reason }) => process.stderr.write(`table: ${item}: ${reason}\n`),
        },
      );
      progress.end();
      show(report, { bundles: writer.bundles, authority: target.authority });
    } finally {
      progress.end();
      writer.close();
      kms.close();
      await opener.close();
    }
  } finally {
    session.close();
  }
};

const threadsThatFit = (): number =>
  Math.max(1, Math.min(availableParallelism(), Math.floor(freemem() / BYTES_PER_THREAD), THREADS_MAX));

const show = (
  { counts, failures }: ImportReport,
  { bundles, authority }: { bundles: number; authority: Uint8Array },
): void => {
  for (const { name, reason } of failures.slice(0, FAILURES_SHOWN_MAX)) {
    process.stderr.write(`failed: ${name}: ${reason}\n`);
  }
  if (failures.length > FAILURES_SHOWN_MAX) {
    process.stderr.write(`failed: ${failures.length - FAILURES_SHOWN_MAX} more\n`);
  }
  const removed = counts.removed === 0 ? "" : `, ${counts.removed} removed before (--restore brings them back)`;
  process.stdout.write(
    `imported ${counts.added} keys in ${bundles} bundles for authority ${toHex(authority)}\n` +
      `${counts.present} were there already${removed}, ${failures.length} failed\n`,
  );
  if (failures.length > 0) process.exitCode = 1;
};
