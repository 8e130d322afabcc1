/**
 * The process-wide SSZ preset. Lodestar fixes it at its first import from the environment variable `LODESTAR_PRESET`;
 * one process cannot serve two.
 */

import { ACTIVE_PRESET, SLOTS_PER_EPOCH } from "@lodestar/params";
import { SignerError } from "../errors.ts";
import type { Network } from "./network.ts";

/**
 * Checks, once at start, that this process runs with the network's preset: under another one, list limits and roots
 * would be wrong.
 * @throws SignerError `internal` that says which environment variable to set
 */
export const assertPreset = (network: Network): void => {
  if (network.preset === ACTIVE_PRESET && network.slotsPerEpoch === SLOTS_PER_EPOCH) return;
  const detail =
    `network ${network.name}: expected preset ${network.preset} (${network.slotsPerEpoch} slots per epoch) in this ` +
    `process, got ${ACTIVE_PRESET} (${SLOTS_PER_EPOCH}): set LODESTAR_PRESET=${network.preset} before it starts`;
  throw new SignerError("internal", detail);
};
