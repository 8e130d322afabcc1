/**
 * Seals a configuration's secrets and signs its document. What was made is verified as an enclave does, before anybody
 * gets it: a configuration that no enclave accepts would stop a fleet.
 */

import { type KeyObject, randomBytes } from "node:crypto";
import type { StoredConfiguration } from "#pool-manager/keys/key-table.ts";
import { checkSecretsBundle } from "#protocol/sealed/binding.ts";
import {
  type Configuration,
  encodeConfiguration,
  signConfiguration,
  verifyConfiguration,
} from "#protocol/sealed/configuration.ts";
import {
  BUNDLE_ID_BYTES,
  decodeBundleHeader,
  encodeBundleHeader,
  encryptionContextOf,
} from "#protocol/sealed/header.ts";
import {
  type ConfigurationSecrets,
  openSecrets,
  sealSecrets,
  secretsDigestOf,
  wipeSecrets,
} from "#protocol/sealed/sealed-secrets.ts";
import type { OperatorKms } from "./operator-kms.ts";

/** What is sealed. */
export interface SealInput {
  /** Its secrets digest is replaced. */
  readonly draft: Configuration;
  /** They stay the caller's to wipe. */
  readonly secrets: ConfigurationSecrets;
  /** Ed25519, of the draft's authority. */
  readonly authorityKey: KeyObject;
}

/** One KMS call. @throws SignerError */
export const sealConfiguration = async (
  { draft, secrets, authorityKey }: SealInput,
  kms: Pick<OperatorKms, "newDataKey">,
): Promise<StoredConfiguration> => {
  const { authority, group, storeId, generation, kmsKeyArn } = draft;
  const bundleId = new Uint8Array(randomBytes(BUNDLE_ID_BYTES));
  const named = { kind: "configuration-secrets", authority, group, storeId, generation, bundleId, kmsKeyArn } as const;
  const { dataKey, wrapped } = await kms.newDataKey(
    encryptionContextOf({ ...named, wrappedDataKey: new Uint8Array() }),
  );
  try {
    const header = { ...named, wrappedDataKey: wrapped };
    const sealedSecrets = sealSecrets({ header, dataKey }, secrets);
    const document = encodeConfiguration({ ...draft, secretsDigest: secretsDigestOf(header, sealedSecrets) });
    const signature = signConfiguration(document, authorityKey);
    const stored = { document, signature, secretsHeader: encodeBundleHeader(header), sealedSecrets };
    verify(stored, { authority, dataKey });
    return stored;
  } finally {
    dataKey.fill(0);
  }
};

const verify = (
  { document, signature, secretsHeader, sealedSecrets }: StoredConfiguration,
  { authority, dataKey }: { authority: Uint8Array; dataKey: Uint8Array },
): void => {
  const configuration = verifyConfiguration(document, signature, authority);
  const header = decodeBundleHeader(secretsHeader);
  checkSecretsBundle({ header, sealed: sealedSecrets }, configuration);
  wipeSecrets(openSecrets({ header, dataKey }, sealedSecrets));
};
