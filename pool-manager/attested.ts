/**
 * A pool whose keys only attested enclaves can open. The pool-manager carries what is sealed and signed from the table to
 * the enclaves, and takes from the document what it needs itself: preset, store and KMS host. It believes the document no
 * more than the enclaves let it: one that is forged is refused by all of them.
 */

import { toHex } from "#protocol/bytes.ts";
import { SignerError } from "#protocol/errors.ts";
import { PORT_NSM } from "#protocol/limits.ts";
import type { Logger } from "#protocol/log.ts";
import type { StoreSettings } from "#protocol/messages/control.ts";
import type { UnsealCredentials } from "#protocol/messages/sealed.ts";
import { type Configuration, parseConfiguration } from "#protocol/sealed/configuration.ts";
import { parseKeyArn } from "#protocol/sealed/key-arn.ts";
import { networkToJson } from "#protocol/signing/network.ts";
import type { OnConnection } from "#protocol/transport/hybrid.ts";
import type { PoolManagerConfig, StoreLocation } from "./config.ts";
import { createKmsEgress, kmsTargetOf } from "./egress/kms-egress.ts";
import type { EgressPort } from "./egress/redis-egress.ts";
import type { KeyTable, StoredConfiguration } from "./keys/key-table.ts";

/** What an attested pool needs of the world. */
export interface AttestedModules {
  readonly table: KeyTable;
  /** Credentials that are good now; called for each unseal. */
  readonly credentials: () => Promise<UnsealCredentials>;
  /** Development: the software NSM of an enclave, behind `PORT_NSM`. */
  readonly softwareNsm?: (cid: number) => OnConnection;
}

/** An attested pool's configuration, as the table had it at the start. */
export interface AttestedPool extends AttestedModules {
  readonly stored: StoredConfiguration;
  readonly configuration: Configuration;
}

/**
 * Reads the configuration.
 * @throws SignerError `unavailable` when the table is, `bad_request` when there is none or it is another authority's
 */
export const openAttestedPool = async (config: PoolManagerConfig, modules: AttestedModules): Promise<AttestedPool> => {
  const stored = await modules.table.configuration();
  if (stored === undefined) {
    throw new SignerError("bad_request", "no configuration is in the table for this group: run `testudo config seal`");
  }
  const configuration = parseConfiguration(stored.document);
  const authorityHex = toHex(configuration.authority);
  const { operatorKeyHex } = config;
  if (operatorKeyHex !== undefined && operatorKeyHex !== authorityHex) {
    throw new SignerError(
      "bad_request",
      `--operator-key: expected the configuration of ${operatorKeyHex}, the table has one of ${authorityHex}`,
    );
  }
  return { ...modules, stored, configuration };
};

/** Settings as the document has them, in the place of those of the command line. */
export const attestedSettings = (config: PoolManagerConfig, { configuration }: AttestedPool): PoolManagerConfig => {
  const { clockBoundEpochs: _, ...rest } = config;
  const { network, store, clockBoundEpochs } = configuration;
  return {
    ...rest,
    network: networkToJson(network),
    store: locationOf(store),
    ...(clockBoundEpochs !== undefined && { clockBoundEpochs }),
  };
};

/** The ways out that an attested enclave has besides its store. @throws SignerError `bad_request` */
export const createAttestedEgress = (
  { configuration, softwareNsm }: AttestedPool,
  { config, logger }: { readonly config: PoolManagerConfig; readonly logger: Logger },
): ((cid: number) => EgressPort[]) => {
  const target = kmsTargetOf(config.kms?.endpoint, parseKeyArn(configuration.kmsKeyArn));
  if (target === undefined) {
    throw new SignerError("bad_request", `KMS key ${configuration.kmsKeyArn}: its partition is not known here`);
  }
  const kms = createKmsEgress(target, logger);
  return (cid) => [kms, ...(softwareNsm === undefined ? [] : [{ port: PORT_NSM, onConnection: softwareNsm(cid) }])];
};

const locationOf = (store: StoreSettings): StoreLocation => {
  if (store.kind === "sqlite") return store;
  const first = store.route?.addresses[0];
  if (store.route === undefined || store.durability === undefined || first === undefined) {
    throw new SignerError("bad_request", "configuration: store: expected a route and a durability level");
  }
  const { kind, route, durability, database, tls, username } = store;
  return {
    kind,
    ...first,
    route,
    durability,
    database,
    ...(tls !== undefined && { tls }),
    ...(username !== undefined && { username }),
  };
};
