/** What `up` prints when everything runs: what is where, a request to try, and how to point each client at it. */

import { styleText } from "node:util";
import { toHex } from "#protocol/bytes.ts";
import type { Network } from "#protocol/signing/network.ts";
import { describeRoot } from "./options.ts";

/** Facts of a running Testudo. */
export interface WelcomeFacts {
  /** As a client on this machine reaches it. */
  readonly url: string;
  /** As the gateway says. */
  readonly listensAt: string;
  readonly metricsUrl: string | undefined;
  readonly network: Network;
  readonly publicKeys: readonly string[];
  readonly cids: readonly number[];
  readonly dataPath: string;
  readonly store: string;
  /** The keys were made here. */
  readonly development: boolean;
  /** Keys are opened by attestation. */
  readonly attested: boolean;
  readonly clockBound: number | undefined;
}

const KEYS_SHOWN = 3;

/** The text, ending with a newline. */
export const welcome = (facts: WelcomeFacts): string => {
  const { url, network, publicKeys } = facts;
  const rows: [string, string][] = [
    ["Web3Signer API", url === facts.listensAt ? url : `${url} (listens at ${facts.listensAt})`],
    ["metrics", facts.metricsUrl === undefined ? "off" : `${facts.metricsUrl}/metrics`],
    ["enclaves", `CID ${facts.cids.join(", ")} (local processes behind a mock vsock)`],
    ["network", `${network.name}, genesis validators root ${describeRoot(network.genesisValidatorsRoot)}`],
    ["clock bound", describeClockBound(facts)],
    ["slashing store", facts.store === "sqlite" ? `sqlite in ${facts.dataPath}` : facts.store],
    ["data folder", facts.dataPath],
    ["keys", `${publicKeys.length}${facts.development ? " development keys, made here" : ""}`],
  ];
  const more = publicKeys.length - KEYS_SHOWN;
  return [
    "",
    styleText("bold", "Testudo is up."),
    "",
    ...rows.map(([name, value]) => `  ${styleText("cyan", name.padEnd(15))} ${value}`),
    ...publicKeys.slice(0, KEYS_SHOWN).map((key) => `  ${" ".repeat(15)} ${key}`),
    ...(more > 0 ? [`  ${" ".repeat(15)} … and ${more} more`] : []),
    "",
    styleText(
      "yellow",
      facts.attested
        ? "  Attested mode with local processes: this machine vouches for its own enclaves. Not for real keys."
        : "  Development mode: the data folder holds the sealing key. Whoever can read it can read the keys.",
    ),
    "",
    styleText("bold", "Try it"),
    "",
    exampleCurl(facts),
    "",
    styleText("bold", "Point your validator client at it"),
    "",
    `  Lighthouse  validator_definitions.yml, each key:  type: web3signer    url: "${url}"`,
    `  Teku        --validators-external-signer-url=${url} --validators-external-signer-public-keys=external-signer`,
    `  Prysm       --validators-external-signer-url=${url} --validators-external-signer-public-keys=${url}/api/v1/eth2/publicKeys`,
    `  Nimbus      --web3-signer-url=${url}`,
    `  Lodestar    --externalSigner.url=${url} --externalSigner.fetch`,
    "",
    "Ctrl-C drains and stops.",
    "",
  ].join("\n");
};

const describeClockBound = ({ clockBound, network }: WelcomeFacts): string => {
  if (clockBound === undefined) return "off (--clock-bound)";
  if (network.genesisTimeSeconds === undefined) return "off: the genesis time is not known (--genesis-time)";
  return `nothing later than now + ${clockBound} epochs is signed`;
};

/**
 * A request that is worth nothing to whoever sees its signature: the RANDAO reveal of epoch 0, or, where the chain is
 * not known and must not be pinned by an example, a registration as of 1970.
 */
const exampleCurl = ({ url, publicKeys, network }: WelcomeFacts): string => {
  const pubkey = publicKeys[0] ?? "0x…";
  const version = toHex(network.genesisForkVersion);
  const root = network.genesisValidatorsRoot;
  const body =
    root === undefined
      ? {
          type: "VALIDATOR_REGISTRATION",
          validator_registration: { fee_recipient: `0x${"00".repeat(20)}`, gas_limit: "0", timestamp: "0", pubkey },
        }
      : {
          type: "RANDAO_REVEAL",
          fork_info: {
            fork: { previous_version: version, current_version: version, epoch: "0" },
            genesis_validators_root: toHex(root),
          },
          randao_reveal: { epoch: "0" },
        };
  return `curl -s -H 'Content-Type: application/json' -H 'Accept: application/json' '${url}/api/v1/eth2/sign/${pubkey}' -d '${JSON.stringify(body)}'`;
};
