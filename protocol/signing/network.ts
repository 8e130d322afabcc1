/**
 * The chain that a process signs for: fork versions, times and SSZ preset. Resolved by `load-network.ts`,
 * and carried to the enclave process as JSON.
 *
 * This file and what it imports load no Lodestar code: the preset is process-wide there (`preset.ts`), and the command
 * line must know it before it starts the process that needs it.
 */

import { ROOT_BYTES, toHex } from "../bytes.ts";
import { type JsonObject, ownMember, readBytes, readObject, refuse } from "./json.ts";
import { type NetworkConstants, PRESETS, type Preset, SLOTS_PER_EPOCH_OF } from "./named-networks.ts";

/** A chain, as far as signing depends on it. Versions are 4 bytes. */
export interface Network {
  /** A label for people, 1..64 characters; nothing is decided by it. */
  readonly name: string;
  readonly preset: Preset;
  readonly genesisForkVersion: Uint8Array;
  readonly capellaForkVersion: Uint8Array;
  /** Versions of genesis, Altair, Bellatrix and Capella: the forks before EIP-7044. */
  readonly preDenebForkVersions: readonly Uint8Array[];
  readonly slotsPerEpoch: number;
  /** Length of a slot; may be a fraction on devnets. */
  readonly secondsPerSlot: number;
  /** 32 bytes; absent when the chain has no known genesis. */
  readonly genesisValidatorsRoot?: Uint8Array;
  /** Unix time of slot 0; absent when it is not known. */
  readonly genesisTimeSeconds?: number;
}

/** A {@link Network} as plain data: bytes as 0x-hex, nothing that follows from the rest. */
export interface NetworkJson extends NetworkConstants {
  readonly name: string;
}

/** The plain data of a network; {@link networkFromJson} gives the same network back. */
export const networkToJson = (network: Network): NetworkJson => ({
  name: network.name,
  preset: network.preset,
  forkVersions: network.preDenebForkVersions.map(toHex) as [string, string, string, string],
  secondsPerSlot: network.secondsPerSlot,
  ...(network.genesisValidatorsRoot && { genesisValidatorsRoot: toHex(network.genesisValidatorsRoot) }),
  ...(network.genesisTimeSeconds !== undefined && { genesisTimeSeconds: network.genesisTimeSeconds }),
});

/**
 * Reads a network from plain data.
 * @throws SignerError `bad_request` naming the member that is missing, ill-typed, out of range or unknown
 */
export const networkFromJson = (json: unknown): Network => {
  const members = readObject(json, "network");
  for (const key of Object.keys(members)) {
    if (!MEMBERS.has(key)) refuse("network", `only ${[...MEMBERS].join(", ")}`, key);
  }
  const preset = ownMember(members, "preset");
  const known = PRESETS.find((name) => name === preset) ?? refuse("network.preset", PRESETS.join(" or "), preset);
  const [genesis, altair, bellatrix, capella] = readForkVersions(ownMember(members, "forkVersions"));
  return Object.freeze({
    name: readLabel(ownMember(members, "name")),
    preset: known,
    genesisForkVersion: genesis,
    capellaForkVersion: capella,
    preDenebForkVersions: Object.freeze([genesis, altair, bellatrix, capella]),
    slotsPerEpoch: SLOTS_PER_EPOCH_OF[known],
    secondsPerSlot: readSecondsPerSlot(ownMember(members, "secondsPerSlot")),
    ...readGenesis(members),
  });
};

const MEMBERS: ReadonlySet<string> = new Set<keyof NetworkJson>([
  "name",
  "preset",
  "forkVersions",
  "secondsPerSlot",
  "genesisValidatorsRoot",
  "genesisTimeSeconds",
]);
/** Bytes of a fork version (consensus spec, `Version`). */
const VERSION_BYTES = 4;
/** Longest slot; the longest in use is 12 s. */
const SECONDS_PER_SLOT_MAX = 3600;

const readForkVersions = (json: unknown): [Uint8Array, Uint8Array, Uint8Array, Uint8Array] => {
  const path = "network.forkVersions";
  if (!Array.isArray(json) || json.length !== 4) return refuse(path, "an array of 4", json);
  const version = (index: number) => readBytes(json[index], `${path}[${index}]`, VERSION_BYTES);
  return [version(0), version(1), version(2), version(3)];
};

const readLabel = (json: unknown): string =>
  typeof json === "string" && /^[\x20-\x7e]{1,64}$/.test(json)
    ? json
    : refuse("network.name", "1..64 characters of ASCII", json);

const readSecondsPerSlot = (json: unknown): number =>
  typeof json === "number" && json >= 0.001 && json <= SECONDS_PER_SLOT_MAX
    ? json
    : refuse("network.secondsPerSlot", `0.001..${SECONDS_PER_SLOT_MAX}`, json);

const readGenesis = (members: JsonObject): Pick<Network, "genesisValidatorsRoot" | "genesisTimeSeconds"> => {
  const root = ownMember(members, "genesisValidatorsRoot");
  const time = ownMember(members, "genesisTimeSeconds");
  if (time !== undefined && !(Number.isSafeInteger(time) && (time as number) >= 0)) {
    refuse("network.genesisTimeSeconds", "0..2^53-1", time);
  }
  return {
    ...(root !== undefined && { genesisValidatorsRoot: readBytes(root, "network.genesisValidatorsRoot", ROOT_BYTES) }),
    ...(time !== undefined && { genesisTimeSeconds: time as number }),
  };
};
