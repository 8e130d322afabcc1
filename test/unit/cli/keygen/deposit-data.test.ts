/** Deposit data: equal to the official tool's, and to roots computed by a second implementation. */

import { PublicKey, Signature, verify } from "@chainsafe/blst";
import { describe, expect, it } from "vitest";
import { NAMED_NETWORKS } from "#protocol/signing/named-networks.ts";
import { networkFromJson } from "#protocol/signing/network.ts";
import { type DepositDatum, makeDepositDatum } from "../../../../cli/keygen/deposit-data.ts";
import { createKeyTree } from "../../../../cli/keygen/key-tree.ts";
import { seedOf } from "../../../../cli/keygen/mnemonic.ts";
import { parseAddress, type Withdrawal, withdrawalCredentials } from "../../../../cli/keygen/withdrawal.ts";
import * as naive from "../../../helpers/naive-ssz.ts";
import { DEPOSIT_TOOL_DEPOSITS, DEPOSIT_TOOL_KEYS, DEPOSIT_TOOL_MNEMONIC } from "./deposit-tool-vectors.ts";

const tree = createKeyTree(await seedOf(DEPOSIT_TOOL_MNEMONIC));
const address = parseAddress("0x0000000000000000000000000000000000000001");
type Name = keyof typeof NAMED_NETWORKS;
const make = (index: number, of: { withdrawal: Withdrawal; amountGwei?: number; network?: Name }): DepositDatum => {
  const { withdrawal, amountGwei = 32_000_000_000, network = "mainnet" } = of;
  const key = tree.at(index);
  return makeDepositDatum(key, {
    credentials: withdrawalCredentials(withdrawal, key.withdrawalPubkey),
    amountGwei,
    network: networkFromJson({ name: network, ...NAMED_NETWORKS[network] }),
  });
};

describe("deposit data", () => {
  it("are the official tool's, but for its version", () => {
    const { deposit_cli_version: version, ...execution } = make(0, { withdrawal: { kind: "execution", address } });
    expect(execution).toEqual(DEPOSIT_TOOL_DEPOSITS.execution);
    expect(version).toBe("2.8.0");
    const { deposit_cli_version: _version, ...bls } = make(0, { withdrawal: { kind: "bls" } });
    expect(bls).toEqual(DEPOSIT_TOOL_DEPOSITS.bls);
  });

  it("have the official tool's members in its order", () => {
    expect(Object.keys(make(0, { withdrawal: { kind: "bls" } }))).toEqual([
      "pubkey",
      "withdrawal_credentials",
      "amount",
      "signature",
      "deposit_message_root",
      "deposit_data_root",
      "fork_version",
      "network_name",
      "deposit_cli_version",
    ]);
  });

  it.each(DEPOSIT_TOOL_KEYS.map((key, index) => [index, key] as const))(
    "of key %i name its BLS credentials",
    (index, key) => {
      const datum = make(index, { withdrawal: { kind: "bls" } });
      expect(datum).toMatchObject({ pubkey: key.pubkey, withdrawal_credentials: key.credentials });
    },
  );

  it.each<[Name, Withdrawal, number]>([
    ["mainnet", { kind: "bls" }, 32_000_000_000],
    ["hoodi", { kind: "execution", address }, 32_000_000_000],
    ["sepolia", { kind: "compounding", address }, 2_048_000_000_000],
    ["gnosis", { kind: "compounding", address }, 32_000_000_001],
    ["chiado", { kind: "execution", address }, 32_000_000_000],
    ["minimal", { kind: "bls" }, 32_000_000_000],
  ])("on %s with %j have the roots of the spec and a signature that verifies", (network, withdrawal, amountGwei) => {
    const datum = make(1, { withdrawal, amountGwei, network });
    const message = [
      naive.bytes(`0x${datum.pubkey}`),
      naive.bytes(`0x${datum.withdrawal_credentials}`),
      naive.uint64(amountGwei),
    ];
    const messageRoot = naive.container(...message);
    expect(datum.deposit_message_root).toBe(messageRoot.toString("hex"));
    expect(datum.deposit_data_root).toBe(
      naive.container(...message, naive.bytes(`0x${datum.signature}`)).toString("hex"),
    );
    expect(datum.fork_version).toBe(NAMED_NETWORKS[network].forkVersions[0].slice(2));
    expect(datum).toMatchObject({ amount: amountGwei, network_name: network });
    const root = naive.signingRoot(messageRoot, {
      domainType: "0x03000000",
      version: NAMED_NETWORKS[network].forkVersions[0],
      genesisValidatorsRoot: `0x${"00".repeat(32)}`,
    });
    const pubkey = PublicKey.fromHex(datum.pubkey);
    const signature = Signature.fromHex(datum.signature);
    expect(verify(naive.hex(root), pubkey, signature, true, true)).toBe(true);
    expect(verify(messageRoot, pubkey, signature, true, true)).toBe(false);
  });

  it("are not made when the signature does not verify", () => {
    const faulty = { ...tree.at(0), sign: (root: Uint8Array) => tree.at(1).sign(root) };
    const network = networkFromJson({ name: "mainnet", ...NAMED_NETWORKS.mainnet });
    const deposit = { credentials: new Uint8Array(32), amountGwei: 32_000_000_000, network };
    expect(() => makeDepositDatum(faulty, deposit)).toThrow(/does not verify; this machine is faulty/);
  });
});
