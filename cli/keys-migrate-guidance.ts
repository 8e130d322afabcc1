/** `testudo keys migrate-guidance`: keys out of the table of AWS's guidance for Web3Signer in Nitro Enclaves. */

import { Command } from "commander";
import { addSealingOptions, runKeyImport, type SealingValues } from "./sealing/import-run.ts";

interface MigrateValues extends SealingValues {
  readonly guidanceTable: string;
  readonly guidanceUuid: string;
  readonly guidanceKmsKey: string;
  readonly inactive: boolean;
}

/** The command. */
export const keysMigrateGuidanceCommand = (): Command =>
  addSealingOptions(new Command("migrate-guidance"))
    .description("Take keys over from the table of AWS's guidance for Web3Signer in Nitro Enclaves; it stays as it is.")
    .requiredOption("--guidance-table <name>", "its DynamoDB table, in the same region")
    .requiredOption("--guidance-uuid <uuid>", "the web3signer_uuid of the keys")
    .requiredOption("--guidance-kms-key <arn>", "the KMS key that its rows are encrypted under")
    .option("--inactive", "take rows, too, whose `active` is not true", false)
    .addHelpText(
      "after",
      `
Stop the old signer first, and bring its slashing history along (testudo slashing import). The old KMS key must let
you decrypt for this one time. See docs/keys.md.
Example:
  testudo keys migrate-guidance --guidance-table old-keys --guidance-uuid none --guidance-kms-key arn:aws:kms:… \\
    --authority 0x… --group main --table testudo-keys --region eu-central-1`,
    )
    .action(runMigration);

const runMigration = async (values: MigrateValues): Promise<void> => {
  const [{ openKms, openTable }, { listGuidanceKeys }] = await Promise.all([
    import("./sealing/aws-sessions.ts"),
    import("./sealing/guidance-table.ts"),
  ]);
  const kms = openKms(values.guidanceKmsKey, values);
  const { session } = openTable({ ...values, table: values.guidanceTable });
  try {
    await runKeyImport(values, async () => {
      const { uuid, inactive } = { uuid: values.guidanceUuid, inactive: values.inactive };
      const listing = await listGuidanceKeys({ uuid, inactive }, { session, kms });
      if (listing.inactive > 0) {
        process.stderr.write(`${listing.inactive} rows are not active and were left out (--inactive takes them)\n`);
      }
      return listing;
    });
  } finally {
    kms.close();
    session.close();
  }
};
