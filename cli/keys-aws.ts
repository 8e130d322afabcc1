/** The keys of a fleet in its DynamoDB table: `testudo keys list --from aws` and `testudo keys remove --from aws`. */

import { styleText } from "node:util";
import { Command, Option } from "commander";
import { toHex } from "#protocol/bytes.ts";
import { createProgress } from "./output.ts";
import { readPubkeys } from "./pubkeys.ts";
import { addTableOptions, type TableValues } from "./sealing/aws-options.ts";

/** Removals at the same time: some 10 ms each. */
const LANES = 16;

/** Lists keys and tombstones, as lines or as a JSON array. Bad items are named on standard error. */
export const listTableKeys = async (values: TableValues & { readonly json: boolean }): Promise<void> => {
  const { openTable } = await import("./sealing/aws-sessions.ts");
  const { session, table } = openTable(values);
  const counts = { live: 0, removed: 0, problems: 0 };
  const rows: unknown[] = [];
  try {
    const entries = table.entries(({ item, reason }) => {
      counts.problems += 1;
      process.stderr.write(`table: ${item}: ${reason}\n`);
    });
    for await (const entry of entries) {
      counts[entry.kind] += 1;
      const pubkey = toHex(entry.pubkey);
      if (entry.kind === "live") {
        const { bundleHex } = entry;
        if (values.json) rows.push({ pubkey, state: "live", bundle: bundleHex });
        else process.stdout.write(`${pubkey}  live     ${styleText("gray", `bundle ${bundleHex}`)}\n`);
      } else {
        const removedAt = timeOf(entry.removedAtSeconds);
        if (values.json) rows.push({ pubkey, state: "removed", removedAt });
        else process.stdout.write(`${pubkey}  removed  ${styleText("gray", removedAt)}\n`);
      }
    }
  } finally {
    session.close();
  }
  if (values.json) process.stdout.write(`${JSON.stringify(rows, null, 2)}\n`);
  else process.stderr.write(`${counts.live} keys, ${counts.removed} removed\n`);
  if (counts.problems > 0) process.exitCode = 1;
};

/** The command `remove`. */
export const keysRemoveCommand = (): Command =>
  addTableOptions(new Command("remove"))
    .description("Remove keys from a fleet's table. Enclaves drop them when the pool-manager reads the table again.")
    .addOption(new Option("--from <where>", "where they are").choices(["aws"]).makeOptionMandatory())
    .requiredOption("--pubkeys <list|file>", "0x public keys with commas, or a file with one a line")
    .addHelpText(
      "after",
      `
A tombstone stays in each key's place: no import brings the key back, unless it is told to (keys import --restore).
Before you move keys to another signer, \`testudo slashing disable\` them and take their history along.
Example:
  testudo keys remove --from aws --pubkeys 0x… --group main --table testudo-keys --region eu-central-1`,
    )
    .action(removeKeys);

const removeKeys = async (values: TableValues & { readonly pubkeys: string }): Promise<void> => {
  const pubkeys = readPubkeys(values.pubkeys);
  const { openTable } = await import("./sealing/aws-sessions.ts");
  const { session, table } = openTable(values);
  const counts = { removed: 0, "already removed": 0, absent: 0 };
  const progress = createProgress("removing keys");
  let next = 0;
  let done = 0;
  const lane = async (): Promise<void> => {
    for (let pubkey = pubkeys[next]; pubkey !== undefined; pubkey = pubkeys[next]) {
      next += 1;
      const outcome = await table.removeKey(pubkey);
      counts[outcome] += 1;
      done += 1;
      progress.update(done, pubkeys.length);
      if (outcome === "absent") process.stderr.write(`not in group ${values.group}: ${toHex(pubkey)}\n`);
    }
  };
  try {
    await Promise.all(Array.from({ length: LANES }, lane));
  } finally {
    progress.end();
    session.close();
  }
  process.stdout.write(
    `${counts.removed} removed, ${counts["already removed"]} removed before, ${counts.absent} not there\n`,
  );
  if (counts.absent > 0) process.exitCode = 1;
};

/** The table is not trusted: its numbers may be no time that can be written down. */
const timeOf = (seconds: number): string => {
  const date = new Date(seconds * 1000);
  return Number.isNaN(date.getTime()) ? "at an impossible time" : date.toISOString();
};
