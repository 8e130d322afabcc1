/**
 * For whom keys are sealed: what the command line says, completed from the configuration in the table, which counts for
 * nothing unless the authority of the command line signed it.
 */

import type { OperatorTable } from "#pool-manager/keys/dynamo-operator-table.ts";
import { SignerError } from "#protocol/errors.ts";
import { checkKeyBundle } from "#protocol/sealed/binding.ts";
import { type Configuration, verifyConfiguration } from "#protocol/sealed/configuration.ts";
import { BUNDLE_ID_BYTES, checkKmsKeyArn } from "#protocol/sealed/header.ts";
import { readAuthority } from "./authority.ts";
import type { BundleTarget } from "./bundle-writer.ts";

/** What the command line says. */
export interface TargetOptions {
  /** `0x` hex or a file. */
  readonly authority: string;
  readonly group: string;
  /** 16 bytes. */
  readonly storeId: Uint8Array | undefined;
  readonly generation: number | undefined;
  readonly kmsKeyArn: string | undefined;
}

/**
 * The target, which agrees with the configuration if there is one: what does not would be refused in the enclave.
 * @throws SignerError `bad_request` naming what is missing or does not agree
 */
export const resolveTarget = async (
  options: TargetOptions,
  table: Pick<OperatorTable, "configuration">,
): Promise<BundleTarget> => {
  const authority = readAuthority(options.authority);
  const stored = await table.configuration();
  const configuration = stored && verifyConfiguration(stored.document, stored.signature, authority);
  const storeId = pick("storeId", "--store-id", { options, configuration });
  const generation = pick("generation", "--generation", { options, configuration });
  const kmsKeyArn = checkKmsKeyArn(pick("kmsKeyArn", "--kms-key", { options, configuration }), "--kms-key");
  const target = { authority, group: options.group, storeId, generation, kmsKeyArn };
  if (configuration !== undefined) {
    const unmade = { bundleId: new Uint8Array(BUNDLE_ID_BYTES), wrappedDataKey: new Uint8Array() };
    checkKeyBundle({ kind: "keys", ...target, ...unmade }, configuration);
  }
  return target;
};

const pick = <Name extends "storeId" | "generation" | "kmsKeyArn">(
  name: Name,
  option: string,
  { options, configuration }: { options: TargetOptions; configuration: Configuration | undefined },
): Configuration[Name] => {
  const value = (options[name] as Configuration[Name] | undefined) ?? configuration?.[name];
  if (value !== undefined) return value;
  throw new SignerError(
    "bad_request",
    `${option}: expected, because the table has no configuration yet (\`testudo config seal\` first, and it is not needed)`,
  );
};
