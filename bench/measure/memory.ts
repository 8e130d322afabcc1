/** Growth of resident memory over a soak. */

import { median } from "./statistics.ts";

/** Resident memory at one moment, MiB. */
export interface MemoryPoint {
  readonly seconds: number;
  readonly gateway: number;
  readonly enclaves: number;
  readonly poolManager: number;
}

/** Of the points, at the beginning: heaps find their size. */
const WARM_UP_SHARE = 0.1;

/**
 * Growth of all processes together, 0.05 is 5 %: the median of the last third against that of the first, after warm-up.
 * Medians, because a heap between two collections goes up and down. Undefined with fewer than three points left.
 */
export const memoryGrowth = (points: readonly MemoryPoint[]): number | undefined => {
  const warm = points.slice(Math.ceil(points.length * WARM_UP_SHARE));
  const third = Math.floor(warm.length / 3);
  if (third === 0) return undefined;
  const level = (part: readonly MemoryPoint[]): number =>
    median(part.map(({ gateway, enclaves, poolManager }) => gateway + enclaves + poolManager));
  return level(warm.slice(-third)) / level(warm.slice(0, third)) - 1;
};
