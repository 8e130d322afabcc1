/**
 * Opens what only an attested enclave can open: the secrets of a signed configuration, and bundles of keys. Each is first
 * compared with the configuration, then KMS is asked for its data key, once. Loaded in the attested mode alone: the KMS
 * client takes some 38 MiB.
 *
 * The data key itself proves nothing (`kms/cms.ts`): the digest in the signed document names the one ciphertext of the
 * secrets, and a key is believed when its public key follows from it.
 */

import { setImmediate as nextTurn } from "node:timers/promises";
import { SignerError, toSignerError } from "#protocol/errors.ts";
import { CONNECT_TIMEOUT_MS, PORT_EGRESS_KMS } from "#protocol/limits.ts";
import type { ConfigureSealed, LoadBundle, UnsealCredentials } from "#protocol/messages/sealed.ts";
import { checkKeyBundle, checkSecretsBundle } from "#protocol/sealed/binding.ts";
import { type Configuration, parseConfiguration, verifyConfiguration } from "#protocol/sealed/configuration.ts";
import { type BundleHeader, decodeBundleHeader, encryptionContextOf } from "#protocol/sealed/header.ts";
import { createKeyOpener } from "#protocol/sealed/sealed-key.ts";
import { type ConfigurationSecrets, openSecrets } from "#protocol/sealed/sealed-secrets.ts";
import type { AttestedChoices } from "../config.ts";
import type { EnclaveModules } from "../enclave.ts";
import { derivePubkey } from "../keys/seal.ts";
import { createKmsClient, type KmsClient } from "../kms/kms-client.ts";
import type { Nsm } from "../kms/nsm.ts";
import { createRecipient, type Recipient } from "../kms/recipient.ts";
import type { RetryBounds } from "../kms/retry.ts";
import type { NsmHere } from "./nsm-here.ts";

/** A configuration that was verified and whose secrets are open; the enclave keeps both as long as it lives. */
export interface Unsealed {
  readonly configuration: Configuration;
  readonly secrets: ConfigurationSecrets;
  /** Opens the keys of one bundle under this configuration. */
  readonly openBundle: BundleOpener;
  /** The security module that vouched for this enclave. */
  readonly nsm: Nsm;
}

/** A key of a bundle that did not open. */
export interface KeyFailure {
  readonly pubkey: Uint8Array;
  readonly reason: string;
}

/**
 * Hands each secret that opens to `onSecret`, and wipes it; returns those that do not open.
 * @throws SignerError when none can: the bundle is another's, or KMS gives no data key (KmsError)
 */
export type BundleOpener = (
  bundle: LoadBundle,
  onSecret: (key: LoadBundle["keys"][number], secret: Uint8Array) => void,
) => Promise<KeyFailure[]>;

/** Opens configurations; one for the enclave's life, with one key pair for KMS to encrypt to. */
export interface Unsealer {
  /** @throws SignerError `bad_request` saying what is wrong, KmsError, or of the NSM */
  unseal(
    message: Omit<ConfigureSealed, "choices">,
    choices: Pick<AttestedChoices, "kmsEndpoint" | "kmsCa">,
  ): Promise<Unsealed>;
}

/** What unsealing needs of the world. */
export interface UnsealerModules extends NsmHere, Pick<EnclaveModules, "connectParent" | "now"> {
  /** 0 ≤ random() < 1, for the pauses between calls. */
  readonly random: () => number;
  /** Of KMS calls; undefined: the client's own. */
  readonly bounds?: Partial<RetryBounds>;
}

/** Keys opened in one turn of the event loop: 32 × ≈150 µs, so that a reload does not hold up signing. */
const KEYS_PER_TURN = 32;

/** Makes the key pair of this boot. */
export const createUnsealer = async (modules: UnsealerModules): Promise<Unsealer> => {
  const recipient = await createRecipient(modules.nsm);
  return {
    unseal: async ({ configuration: sealed, credentials }, choices) => {
      refuseSimulatorInNitro(choices, modules);
      const { authority } = parseConfiguration(sealed.document);
      const configuration = verifyConfiguration(sealed.document, sealed.signature, authority);
      const header = decodeBundleHeader(sealed.secretsHeader);
      checkSecretsBundle({ header, sealed: sealed.sealedSecrets }, configuration);
      const client = clientOf(configuration, { choices, modules, recipient });
      const secrets = await withDataKey({ client, credentials, header }, (dataKey) =>
        openSecrets({ header, dataKey }, sealed.sealedSecrets),
      );
      return { configuration, secrets, openBundle: bundleOpener(client, configuration), nsm: modules.nsm };
    },
  };
};

/**
 * A parent may name a KMS of its own only where it also plays the security module. In a Nitro Enclave the answer must
 * come from the host that AWS's certificate names.
 */
const refuseSimulatorInNitro = (
  { kmsEndpoint, kmsCa }: Pick<AttestedChoices, "kmsEndpoint" | "kmsCa">,
  { isDevelopment }: NsmHere,
): void => {
  if (isDevelopment || (kmsEndpoint === undefined && kmsCa === undefined)) return;
  throw new SignerError(
    "bad_request",
    "KMS endpoint: expected none in a Nitro Enclave, which asks AWS's own: start without --kms-endpoint and --kms-ca",
  );
};

const clientOf = (
  { kmsKeyArn }: Configuration,
  context: {
    readonly choices: Pick<AttestedChoices, "kmsEndpoint" | "kmsCa">;
    readonly modules: UnsealerModules;
    readonly recipient: Recipient;
  },
): KmsClient => {
  const { choices, modules, recipient } = context;
  const { connectParent, now, random, bounds } = modules;
  const connect = () => connectParent(PORT_EGRESS_KMS, { timeoutMs: CONNECT_TIMEOUT_MS });
  return createKmsClient(
    { keyArn: kmsKeyArn, endpoint: choices.kmsEndpoint, ca: choices.kmsCa, bounds },
    { recipient, connect, now, random },
  );
};

const bundleOpener =
  (client: KmsClient, configuration: Configuration): BundleOpener =>
  async ({ credentials, header: encoded, keys }, onSecret) => {
    const header = decodeBundleHeader(encoded);
    checkKeyBundle(header, configuration);
    const opener = await withDataKey({ client, credentials, header }, (dataKey) =>
      createKeyOpener({ header, dataKey, derivePubkey }),
    );
    const failures: KeyFailure[] = [];
    try {
      for (const [index, key] of keys.entries()) {
        if (index % KEYS_PER_TURN === 0) await nextTurn();
        try {
          const secret = opener.open(key.pubkey, key.sealed);
          try {
            onSecret(key, secret);
          } finally {
            secret.fill(0);
          }
        } catch (error) {
          failures.push({ pubkey: key.pubkey, reason: toSignerError(error).detail });
        }
      }
    } finally {
      opener.close();
    }
    return failures;
  };

/** One session and one call for one data key: afterwards neither key nor credentials are held. */
const withDataKey = async <T>(
  call: { readonly client: KmsClient; readonly credentials: UnsealCredentials; readonly header: BundleHeader },
  use: (dataKey: Uint8Array) => T,
): Promise<T> => {
  const session = call.client.session(call.credentials);
  try {
    const dataKey = await session.decryptDataKey(call.header.wrappedDataKey, encryptionContextOf(call.header));
    try {
      return use(dataKey);
    } finally {
      dataKey.fill(0);
    }
  } finally {
    session.close();
  }
};
