/**
 * Resolves a network by name or from a consensus config.yaml. For the command line: the enclave gets the result as
 * JSON, so that a YAML parser is no part of what it trusts.
 */

import { quote, toHex } from "../bytes.ts";
import { SignerError } from "../errors.ts";
import { refuse } from "./json.ts";
import { NAMED_NETWORKS } from "./named-networks.ts";
import { type Network, networkFromJson } from "./network.ts";
import { type NetworkFile, parseNetworkFile } from "./network-file.ts";

/** Where a network comes from; given values win over the known ones. */
export interface NetworkOptions {
  /** A known name (mainnet, hoodi, sepolia, gnosis, chiado, minimal) or the path of a config.yaml. */
  readonly network: string;
  /** Must be the network's own preset when given. */
  readonly preset?: string | undefined;
  /** 32 bytes. */
  readonly genesisValidatorsRoot?: Uint8Array | undefined;
  /** Unix time, whole seconds. */
  readonly genesisTimeSeconds?: number | undefined;
  /** The text of a file; may throw. Called only when `network` is no known name. */
  readonly readFile: (path: string) => string;
}

/**
 * Resolves a network.
 * @throws SignerError `bad_request` naming the option or the member of the file, also when `preset` contradicts the network
 */
export const loadNetwork = (options: NetworkOptions): Network => {
  const known = Object.hasOwn(NAMED_NETWORKS, options.network);
  const constants: NetworkFile = known
    ? { name: options.network, ...NAMED_NETWORKS[options.network as keyof typeof NAMED_NETWORKS] }
    : readNetworkFile(options);
  if (options.preset !== undefined && options.preset !== constants.preset) {
    refuse("preset", `${constants.preset}, which network ${options.network} is built on`, options.preset);
  }
  return networkFromJson({
    ...constants,
    name: constants.name ?? "custom",
    ...(options.genesisValidatorsRoot && { genesisValidatorsRoot: toHex(options.genesisValidatorsRoot) }),
    ...(options.genesisTimeSeconds !== undefined && { genesisTimeSeconds: options.genesisTimeSeconds }),
  });
};

const readNetworkFile = ({ network, readFile }: NetworkOptions): NetworkFile => {
  let text: string;
  try {
    text = readFile(network);
  } catch (cause) {
    const names = Object.keys(NAMED_NETWORKS).join(", ");
    const detail = `network: expected ${names} or the path of a readable config.yaml, got ${quote(network)}`;
    throw new SignerError("bad_request", detail, { cause });
  }
  return parseNetworkFile(text, network);
};
