/**
 * What may happen to each single message, by chance of the seed. Every mishap has a name of its own, so that a shrinking
 * run can leave out one and keep all others.
 */

import { chanceOf } from "./random.ts";

/** Every mishap of a message or a signature. */
export const NOISE_KINDS = [
  "request lost",
  "request duplicated",
  "request delayed",
  "answer lost",
  "answer delayed",
  "connection broken",
  "store request lost",
  "store request duplicated",
  "store request delayed",
  "store answer lost",
  "store answer delayed",
  "store slow to disk",
  "signature slow",
  "signature failed",
] as const;
/** One of {@link NOISE_KINDS}. */
export type NoiseKind = (typeof NOISE_KINDS)[number];

/** How often each happens to a message, at roughness 1. */
const PROBABILITIES = {
  "request lost": 0.02,
  "request duplicated": 0.06,
  "request delayed": 0.06,
  "answer lost": 0.04,
  "answer delayed": 0.05,
  "connection broken": 0.03,
  "store request lost": 0.02,
  "store request duplicated": 0.05,
  "store request delayed": 0.05,
  "store answer lost": 0.05,
  "store answer delayed": 0.06,
  "store slow to disk": 0.15,
  "signature slow": 0.05,
  "signature failed": 0.005,
} as const satisfies Record<NoiseKind, number>;

/** Fates of messages. */
export interface Noise {
  /** Whether this happens there, now; a second asking for the same place is another chance. */
  happens(kind: NoiseKind, place: string): boolean;
  /** An ordinary delay in ms: mostly below a millisecond, so that messages overtake each other. */
  delayMs(place: string): number;
  /** A long delay in ms, up to `maxMs`: each length is about as likely as its double. */
  longMs(place: string, maxMs: number): number;
  /** Names of all that happened. */
  readonly fired: readonly string[];
}

/** Noise of one run. */
export const createNoise = (options: {
  readonly seed: number;
  readonly roughness: number;
  readonly muted: ReadonlySet<string>;
  readonly onNoise: (kind: NoiseKind) => void;
}): Noise => {
  const { seed, roughness, muted } = options;
  const fired: string[] = [];
  const asked = new Map<string, number>();
  const chance = (place: string): { readonly name: string; readonly value: number } => {
    const times = asked.get(place) ?? 0;
    asked.set(place, times + 1);
    const name = `${place} ${times}`;
    return { name, value: chanceOf(seed, name) };
  };
  return {
    happens: (kind, place) => {
      const { name, value } = chance(`${kind}: ${place}`);
      if (value >= PROBABILITIES[kind] * roughness || muted.has(name)) return false;
      fired.push(name);
      options.onNoise(kind);
      return true;
    },
    delayMs: (place) => {
      const { value } = chance(`delay: ${place}`);
      return 0.05 + 3 * value ** 3;
    },
    longMs: (place, maxMs) => maxMs ** chance(`long delay: ${place}`).value,
    fired,
  };
};
