/**
 * Deposit data as the official deposit tool writes it and the Staking Launchpad reads it: hex without `0x`, amounts in
 * gwei. A deposit's signature is made in the network's genesis fork version and for no chain (consensus spec, phase0
 * "Deposits": `compute_domain(DOMAIN_DEPOSIT)`), so that it can be made before there is a chain.
 */

import { PublicKey, Signature, verify } from "@chainsafe/blst";
import { ssz } from "@lodestar/types";
import { toHex } from "#protocol/bytes.ts";
import { SignerError } from "#protocol/errors.ts";
import { computeDomain, computeSigningRoot, DOMAIN_TYPES } from "#protocol/signing/domain.ts";
import type { Network } from "#protocol/signing/network.ts";
import type { ValidatorKey } from "./key-tree.ts";

/**
 * The version of the official tool (ethereum/staking-deposit-cli) whose format this is: its last release. Readers
 * refuse files of versions that they take for too old.
 */
const DEPOSIT_CLI_VERSION = "2.8.0";

/** One validator's entry, members as in the file. */
export interface DepositDatum {
  readonly pubkey: string;
  readonly withdrawal_credentials: string;
  /** Gwei. */
  readonly amount: number;
  readonly signature: string;
  readonly deposit_message_root: string;
  readonly deposit_data_root: string;
  readonly fork_version: string;
  readonly network_name: string;
  readonly deposit_cli_version: string;
}

/** What a deposit says besides its key. */
export interface Deposit {
  /** 32 bytes. */
  readonly credentials: Uint8Array;
  readonly amountGwei: number;
  readonly network: Network;
}

/** Signs a deposit, and verifies the signature: a bad one would burn the stake of the first deposit. */
export const makeDepositDatum = (key: ValidatorKey, { credentials, amountGwei, network }: Deposit): DepositDatum => {
  const message = { pubkey: key.pubkey, withdrawalCredentials: credentials, amount: amountGwei };
  const messageRoot = ssz.phase0.DepositMessage.hashTreeRoot(message);
  const domain = computeDomain(DOMAIN_TYPES.deposit, { forkVersion: network.genesisForkVersion });
  const root = computeSigningRoot(messageRoot, domain);
  const signature = key.sign(root);
  if (!verify(root, PublicKey.fromBytes(key.pubkey), Signature.fromBytes(signature), true, true)) {
    throw new SignerError("internal", `deposit of ${key.path}: the signature does not verify; this machine is faulty`);
  }
  const dataRoot = ssz.phase0.DepositData.hashTreeRoot({ ...message, signature });
  return {
    pubkey: bareHex(key.pubkey),
    withdrawal_credentials: bareHex(credentials),
    amount: amountGwei,
    signature: bareHex(signature),
    deposit_message_root: bareHex(messageRoot),
    deposit_data_root: bareHex(dataRoot),
    fork_version: bareHex(network.genesisForkVersion),
    network_name: network.name,
    deposit_cli_version: DEPOSIT_CLI_VERSION,
  };
};

const bareHex = (bytes: Uint8Array): string => toHex(bytes).slice(2);
