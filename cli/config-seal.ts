/** `testudo config seal`: what a fleet may sign, signed by its authority, with its secrets sealed for its enclaves. */

import { createHash } from "node:crypto";
import { resolve } from "node:path";
import { Command } from "commander";
import type { OperatorTable } from "#pool-manager/keys/dynamo-operator-table.ts";
import { bytesEqual, fromHex, toHex } from "#protocol/bytes.ts";
import { SignerError } from "#protocol/errors.ts";
import { PASSWORD_BYTES_MAX } from "#protocol/limits.ts";
import type { Configuration } from "#protocol/sealed/configuration.ts";
import { AUTHORITY_BYTES, decodeBundleHeader } from "#protocol/sealed/header.ts";
import type { MacKeys } from "#protocol/slashing/mac.ts";
import { addKmsOptions, addTableOptions, type KmsValues, type TableValues } from "./sealing/aws-options.ts";

interface SealValues extends TableValues, KmsValues {
  readonly document?: string;
  readonly authorityKey?: string;
  readonly macKeysFile?: string;
  readonly storePasswordFile?: string;
  readonly createTable: boolean;
  readonly printTemplate: boolean;
  readonly kmsKey?: string;
  readonly network?: string;
}

/** The command. */
export const configCommand = (): Command =>
  new Command("config").description("The sealed configuration of a fleet of attested enclaves.").addCommand(
    addKmsOptions(addTableOptions(new Command("seal")))
      .description("Seal MAC keys and store password, sign the configuration document, and put both into the table.")
      .option("--document <file>", "the configuration as JSON; begin with --print-template")
      .option("--authority-key <file>", "the operator's private key (`testudo operator init`)")
      .option("--mac-keys-file <file>", "MAC keys of slashing records: made at the first seal, read at all later ones")
      .option("--store-password-file <file>", "file with the slashing store's password (mode 600)")
      .option("--create-table", "make the table when there is none", false)
      .option("--print-template", "print a document to fill in, and do nothing else", false)
      .option("--kms-key <arn>", "for the template")
      .option("--network <name|file>", "for the template")
      .addHelpText(
        "after",
        `
The authority's key and the MAC keys file never leave this machine: keep both offline, with copies (docs/keys.md).
Example:
  testudo config seal --print-template --group main --kms-key arn:aws:kms:… > config.json
  testudo config seal --document config.json --authority-key authority.pem --mac-keys-file mac-keys.bin \\
    --store-password-file redis.txt --table testudo-keys --region eu-central-1`,
      )
      .action(runSeal),
  );

const runSeal = async (values: SealValues): Promise<void> => {
  // Loaded here, so that the long-lived commands never hold the AWS SDK for it.
  const drafts = await import("./sealing/configuration-draft.ts");
  if (values.printTemplate) {
    const { group, kmsKey, network } = values;
    process.stdout.write(drafts.draftTemplate({ group, kmsKeyArn: kmsKey, network }));
    return;
  }
  const [{ openTable, openKms, required }, { sealConfiguration }, { createTable }, operatorKey] = await Promise.all([
    import("./sealing/aws-sessions.ts"),
    import("./sealing/seal-configuration.ts"),
    import("#pool-manager/keys/dynamo-create-table.ts"),
    import("#pool-manager/operator-key.ts"),
  ]);
  const keyPath = resolve(required(values.authorityKey, "--authority-key <file>"));
  const macKeysPath = resolve(required(values.macKeysFile, "--mac-keys-file <file>"));
  const authorityKey = operatorKey.readOperatorPrivateKey(keyPath);
  const authority = fromHex(operatorKey.readOperatorPublicKey(keyPath), AUTHORITY_BYTES, "--authority-key");
  const draft = drafts.readDraft(required(values.document, "--document <file>"), authority);
  if (values.group !== undefined && values.group !== draft.group) {
    throw new SignerError("bad_request", `--group: the document names ${draft.group}, the command ${values.group}`);
  }
  const { session, table } = openTable(values, draft.group);
  const kms = openKms(draft.kmsKeyArn, values);
  const storePassword = await readStorePassword(values.storePasswordFile);
  let macKeys: MacKeys | undefined;
  try {
    if (values.createTable) await createTable(session);
    const before = await checkSuccession(draft, table);
    macKeys = await macKeysOf({ path: macKeysPath, storeId: draft.storeId, isFirst: before === undefined });
    const stored = await sealConfiguration({ draft, secrets: { macKeys, storePassword }, authorityKey }, kms);
    await table.putConfiguration(draft.version, stored);
    process.stdout.write(
      `authority     ${toHex(authority)}\n` +
        `group         ${draft.group}\n` +
        `version       ${draft.version}${before === undefined ? ", the first" : `, after ${before}`}\n` +
        `generation    ${draft.oldestGeneration}..${draft.generation}\n` +
        `digest        0x${createHash("sha256").update(stored.document).digest("hex")} (SHA-256 of the document)\n` +
        `MAC keys      ${values.macKeysFile}: keep it offline, and a copy of it\n`,
    );
  } finally {
    for (const key of macKeys?.macKeys.values() ?? []) key.fill(0);
    storePassword.fill(0);
    kms.close();
    session.close();
  }
};

/**
 * Refuses a version that is not higher than the one in the table, before KMS is asked and a file written.
 * @returns the version there; undefined: none
 */
const checkSuccession = async (
  draft: Configuration,
  table: Pick<OperatorTable, "configuration">,
): Promise<number | undefined> => {
  const stored = await table.configuration();
  if (stored === undefined) return undefined;
  if (draft.version <= stored.version) {
    const detail = `document.version: expected ${stored.version + 1} or more, for ${stored.version} is in the table`;
    throw new SignerError("bad_request", `${detail}; got ${draft.version}`);
  }
  // A claim of the table, for a warning alone.
  const { authority } = decodeBundleHeader(stored.secretsHeader);
  if (!bytesEqual(authority, draft.authority)) {
    process.stderr.write(
      `the configuration in the table is of authority ${toHex(authority)}: keys that were sealed for it will not load ` +
        "under this one, and have to be imported again\n",
    );
  }
  return stored.version;
};

/** New ones only where no record can have been written under older ones. */
const macKeysOf = async (at: { path: string; storeId: Uint8Array; isFirst: boolean }): Promise<MacKeys> => {
  const { readMacKeysFile, newMacKeys, writeMacKeysFile } = await import("./sealing/mac-keys-file.ts");
  const kept = readMacKeysFile(at.path, at.storeId);
  if (kept !== undefined) return kept;
  if (!at.isFirst) {
    throw new SignerError(
      "bad_request",
      `--mac-keys-file ${at.path}: expected the file of the first seal: records of this fleet carry MACs of its keys, ` +
        "and under others its store would be suspect",
    );
  }
  const fresh = newMacKeys();
  // Before anything is sealed with them: a configuration whose MAC keys nobody has could never be followed by another.
  writeMacKeysFile(at.path, at.storeId, fresh);
  return fresh;
};

/** The file's last newline is no part of the password. */
const readStorePassword = async (file: string | undefined): Promise<Uint8Array> => {
  if (file === undefined) return new Uint8Array();
  const { readSecretFile } = await import("./secret-file.ts");
  const option = "--store-password-file";
  const bytes = readSecretFile(resolve(file), { option, bytesMax: PASSWORD_BYTES_MAX });
  return bytes.at(-1) === 0x0a ? bytes.subarray(0, -1) : bytes;
};
