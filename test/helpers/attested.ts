/**
 * An attested fleet without a cloud: a KMS that verifies genuine documents of a development authority and lets one
 * measurement in, an operator who seals and signs, a table in memory, and the ports of a parent. What is sealed here is
 * sealed by the real formats under real data keys.
 */

import { createPublicKey, generateKeyPairSync, type KeyObject, randomBytes } from "node:crypto";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { EncryptCommand, KMSClient } from "@aws-sdk/client-kms";
import { SecretKey } from "@chainsafe/blst";
import { derivePubkey } from "#enclave/keys/seal.ts";
import type { AttestationVerifier } from "#infra/local/kms/attestation.ts";
import { createDocumentVerifier } from "#infra/local/kms/document-verifier.ts";
import type { LocalCredentials } from "#infra/local/kms/sigv4.ts";
import { type LocalKms, startLocalKms } from "#infra/local/kms/start.ts";
import { type DevelopmentAuthority, makeDevelopmentAuthority } from "#infra/local/nsm/authority.ts";
import { measureWorker, pcrsOfWorker } from "#infra/local/nsm/measure.ts";
import { createSoftwareNsm, serveSoftwareNsm } from "#infra/local/nsm/software-nsm.ts";
import type { KeyTable, StoredBundle, StoredConfiguration } from "#pool-manager/keys/key-table.ts";
import { type Configuration, encodeConfiguration, signConfiguration } from "#protocol/sealed/configuration.ts";
import { type BundleHeader, encodeBundleHeader, encryptionContextOf } from "#protocol/sealed/header.ts";
import { createKeySealer } from "#protocol/sealed/sealed-key.ts";
import { sealSecrets, secretsDigestOf } from "#protocol/sealed/sealed-secrets.ts";
import { NAMED_NETWORKS } from "#protocol/signing/named-networks.ts";
import { networkFromJson } from "#protocol/signing/network.ts";
import { SIGNING_TYPES } from "#protocol/signing/types.ts";
import type { OnConnection } from "#protocol/transport/hybrid.ts";
import { attestedPolicy, CREDENTIALS } from "./kms.ts";

/** The program that is measured. */
export const ROOT_FOLDER = dirname(dirname(dirname(fileURLToPath(import.meta.url))));

/** Credentials whose session token is over. */
export const EXPIRED: LocalCredentials = {
  ...CREDENTIALS,
  accessKeyId: "AKIATESTUDOEXPIRED",
  expiresAtMs: 1_000_000_000_000,
};

/** A validator's key. */
export interface TestKey {
  readonly pubkey: Uint8Array;
  readonly secret: Uint8Array;
}

/** An authority with its private key. */
export interface Operator {
  readonly privateKey: KeyObject;
  /** 32 bytes. */
  readonly publicKey: Uint8Array;
}

/** A table whose contents a test sets. */
export interface MemoryTable extends KeyTable {
  stored: StoredConfiguration | undefined;
  live: StoredBundle[];
}

/** See the top of the file. */
export interface AttestedFleet {
  readonly kms: LocalKms;
  readonly operator: Operator;
  readonly authority: DevelopmentAuthority;
  readonly table: MemoryTable;
  /** The public key of the last document that KMS has verified. */
  lastRecipient(): KeyObject;
  /** The security module of an enclave that runs this program, or one with another PCR0. */
  nsm(options?: { pcr0?: Uint8Array; authority?: DevelopmentAuthority }): OnConnection;
  /** Signs a configuration, with members changed and secrets of its own. */
  configuration(
    changes?: Partial<Configuration>,
    how?: { by?: Operator; macKey?: Uint8Array },
  ): Promise<StoredConfiguration>;
  /** Seals keys in a bundle, with members of the header changed. */
  bundle(keys: readonly TestKey[], changes?: Partial<BundleHeader>): Promise<StoredBundle>;
  close(): Promise<void>;
}

/** A random validator key. */
export const makeKey = (): TestKey => {
  const secret = SecretKey.fromKeygen(randomBytes(32)).toBytes();
  return { pubkey: derivePubkey(secret), secret };
};

/** A random authority. */
export const makeOperator = (): Operator => {
  const { privateKey } = generateKeyPairSync("ed25519");
  const x = createPublicKey(privateKey).export({ format: "jwk" }).x as string;
  return { privateKey, publicKey: new Uint8Array(Buffer.from(x, "base64url")) };
};

/** Starts KMS and makes an authority; nothing is in the table yet. */
export const startAttestedFleet = async (): Promise<AttestedFleet> => {
  const authority = makeDevelopmentAuthority(Date.now());
  const measurement = measureWorker(ROOT_FOLDER);
  const operator = makeOperator();
  const storeId = new Uint8Array(randomBytes(16));
  let last: Uint8Array | undefined;
  const genuine = createDocumentVerifier(authority.root);
  const verify: AttestationVerifier = (document, nowMs) => {
    const verdict = genuine(document, nowMs);
    if (verdict.ok) last = verdict.publicKey;
    return verdict;
  };
  const kms = await startLocalKms({
    credentials: [CREDENTIALS, EXPIRED],
    keyPolicy: attestedPolicy({
      StringEqualsIgnoreCase: { "kms:RecipientAttestation:PCR0": Buffer.from(measurement.pcr0).toString("hex") },
    }),
    verifyAttestation: verify,
  });
  const client = new KMSClient({
    region: kms.region,
    endpoint: kms.url,
    credentials: { ...CREDENTIALS } as never,
    requestHandler: { httpsAgent: { ca: kms.caPem } },
  });

  /** A data key as an operator makes it: wrapped under the context of the header. */
  const wrap = async (header: BundleHeader): Promise<{ header: BundleHeader; dataKey: Uint8Array }> => {
    const dataKey = new Uint8Array(randomBytes(32));
    const command = new EncryptCommand({
      KeyId: kms.keyArn,
      Plaintext: dataKey,
      EncryptionContext: { ...encryptionContextOf(header) },
    });
    const { CiphertextBlob: wrappedDataKey = new Uint8Array() } = await client.send(command);
    return { header: { ...header, wrappedDataKey }, dataKey };
  };
  const headerOf = (kind: BundleHeader["kind"]): BundleHeader => ({
    kind,
    authority: operator.publicKey,
    group: "test-fleet",
    storeId,
    generation: 1,
    bundleId: new Uint8Array(randomBytes(16)),
    kmsKeyArn: kms.keyArn,
    wrappedDataKey: new Uint8Array([0]),
  });

  const table: MemoryTable = {
    stored: undefined,
    live: [],
    configuration: async () => table.stored,
    bundles: async function* () {
      yield* table.live;
    },
  };

  return {
    kms,
    operator,
    authority,
    table,
    lastRecipient: () => createPublicKey({ key: Buffer.from(last ?? []), format: "der", type: "spki" }),
    nsm: ({ pcr0 = measurement.pcr0, authority: by = authority } = {}) => {
      const instanceId = "i-test";
      const pcrs = pcrsOfWorker({ ...measurement, pcr0 }, { instanceId });
      const nsm = createSoftwareNsm({ authority: by, moduleId: `${instanceId}-enc16`, pcrs, now: Date.now });
      return serveSoftwareNsm(nsm);
    },
    configuration: async (changes = {}, { by = operator, macKey = new Uint8Array(randomBytes(32)) } = {}) => {
      const named = { ...headerOf("configuration-secrets"), authority: by.publicKey };
      const { header, dataKey } = await wrap({ ...named, storeId: changes.storeId ?? storeId });
      const secrets = {
        macKeys: { macKeys: new Map([[1, macKey]]), writingKeyId: 1 },
        storePassword: new Uint8Array(),
      };
      const sealedSecrets = sealSecrets({ header, dataKey }, secrets);
      const document = encodeConfiguration({
        authority: by.publicKey,
        version: 1,
        group: header.group,
        storeId,
        generation: 1,
        oldestGeneration: 1,
        network: networkFromJson({ name: "mainnet", ...NAMED_NETWORKS.mainnet }) as Configuration["network"],
        store: { kind: "sqlite" },
        kmsKeyArn: kms.keyArn,
        signingTypes: [...SIGNING_TYPES],
        clockBoundEpochs: undefined,
        secretsDigest: secretsDigestOf(header, sealedSecrets),
        ...changes,
      });
      const signature = signConfiguration(document, by.privateKey);
      return { document, signature, secretsHeader: encodeBundleHeader(header), sealedSecrets };
    },
    bundle: async (keys, changes = {}) => {
      const { header, dataKey } = await wrap({ ...headerOf("keys"), ...changes });
      const sealer = createKeySealer({ header, dataKey, derivePubkey });
      return {
        header: encodeBundleHeader(header),
        keys: keys.map(({ pubkey, secret }) => ({ pubkey, sealed: sealer.seal(pubkey, secret) })),
      };
    },
    close: async () => {
      client.destroy();
      await kms.close();
    },
  };
};
