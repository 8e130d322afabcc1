/** Chance that a seed decides: the same seed gives the same numbers on every machine. */

/** A stream of chance. */
export interface Random {
  /** 0 ≤ x < 1. */
  next(): number;
  /** A whole number, 0 ≤ x < `limit`. */
  below(limit: number): number;
  /** `min` ≤ x < `max`. */
  between(min: number, max: number): number;
  chance(probability: number): boolean;
  pick<T>(list: readonly T[]): T;
}

/** A stream that follows from `seed` (splitmix32, Steele, Lea, Flood: "Fast splittable pseudorandom number generators"). */
export const createRandom = (seed: number): Random => {
  let state = mix(seed ^ 0x5bf0_3635);
  const next = (): number => {
    state = (state + 0x9e37_79b9) | 0;
    return (mix(state) >>> 0) / 2 ** 32;
  };
  const below = (limit: number): number => Math.floor(next() * limit);
  return {
    next,
    below,
    between: (min, max) => min + next() * (max - min),
    chance: (probability) => next() < probability,
    pick: (list) => list[below(list.length)] as (typeof list)[number],
  };
};

/**
 * Chance by name, 0 ≤ x < 1: the same for the same seed and name, whatever else was asked before. So that leaving one
 * event out of a run does not change the fate of all others.
 */
export const chanceOf = (seed: number, name: string): number => {
  let hash = 0x811c_9dc5 ^ mix(seed); // FNV-1a
  for (let index = 0; index < name.length; index += 1) hash = Math.imul(hash ^ name.charCodeAt(index), 0x0100_0193);
  return (mix(hash) >>> 0) / 2 ** 32;
};

const mix = (word: number): number => {
  let hash = word | 0;
  hash = Math.imul(hash ^ (hash >>> 16), 0x21f0_aaad);
  hash = Math.imul(hash ^ (hash >>> 15), 0x735a_2d97);
  return hash ^ (hash >>> 15);
};
