/** A custom network for operator commands on real processes: its epochs last eight seconds, so that tests can wait for them. */

import { attestation, block, rootOf } from "./duties.ts";
import type { Testbed } from "./testudo.ts";

const SLOTS = 8;
const NOW_EPOCH = 1000;
const CHAIN = rootOf(0x77);
const CONFIG = `
PRESET_BASE: 'minimal'
CONFIG_NAME: 'operatornet'
GENESIS_FORK_VERSION: 0x10000099
ALTAIR_FORK_VERSION: 0x20000099
BELLATRIX_FORK_VERSION: 0x30000099
CAPELLA_FORK_VERSION: 0x40000099
DENEB_FORK_VERSION: 0x04000000
SECONDS_PER_SLOT: 1
`;

/** Its constants and duties. */
export const OPERATOR_NET = {
  chain: CHAIN,
  slotsPerEpoch: SLOTS,
  /** The epoch in which {@link operatorNetArguments} was called. */
  firstEpoch: NOW_EPOCH,
  vote: (source: number, target: number, head?: number) =>
    attestation({ source, target }, { chain: CHAIN, slot: target * SLOTS, ...(head !== undefined && { head }) }),
  proposal: (slot: number, body?: number) => block(slot, { chain: CHAIN, ...(body !== undefined && { body }) }),
} as const;

/** Arguments of `up` and `slashing recover` for a network whose first epoch of these tests begins now. */
export const operatorNetArguments = (bed: Testbed): string[] => [
  ...["--network", bed.file("config.yaml", CONFIG), "--genesis-validators-root", CHAIN],
  ...["--genesis-time", String(Math.floor(Date.now() / 1000) - NOW_EPOCH * SLOTS)],
];

/** The epoch at a time (ms since 1970; now unless said otherwise) on the network of these arguments. */
export const epochAt = (network: readonly string[], nowMs = Date.now()): number =>
  Math.floor((nowMs / 1000 - Number(network.at(-1))) / SLOTS);
