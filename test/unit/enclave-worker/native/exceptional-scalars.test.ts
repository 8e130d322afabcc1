/**
 * Which scalars the comb cannot do, by exhaustion. An addition of two partial sums fails when they are equal or opposite
 * modulo r: when some choice of signs for the powers of two in both makes a multiple of r. For every addition that the
 * comb makes (`comb_multiply.c`, `add_rows` and the steps after it) this tries every multiple that is small enough.
 */

import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { buildOptions } from "./native.ts";

/** Order of G2 (draft-irtf-cfrg-pairing-friendly-curves, section 4.2.1). */
const ORDER = 0x73eda753299d7d483339d80809a1d80553bda402fffe5bfeffffffff00000001n;

const header = readFileSync(`${buildOptions().sources}/comb.h`, "utf8");
const constant = (name: string): number => Number(new RegExp(`${name} = (\\d+),`).exec(header)?.[1]);
const TEETH = constant("COMB_TEETH");
const BLOCKS = constant("COMB_BLOCKS");
const STEPS = constant("COMB_STEPS");
const COLUMNS = BLOCKS * STEPS;
const BITS = TEETH * COLUMNS;

/** Powers of two that a block's entries are made of, before the steps tell its columns apart. */
const blockPowers = (block: number): Set<number> =>
  new Set(Array.from({ length: TEETH }, (_, tooth) => tooth * COLUMNS + block * STEPS));

/** The powers of both sides of each addition in the tree, which is the same for every step. */
const treeAdditions = (): Set<number>[] => {
  const additions: Set<number>[] = [];
  let rows = Array.from({ length: BLOCKS }, (_, block) => blockPowers(block));
  while (rows.length > 1) {
    const half = Math.floor(rows.length / 2);
    const kept = rows.length - half;
    rows = rows.slice(0, kept).map((row, index) => {
      if (index >= half) return row;
      const sum = new Set([...row, ...(rows[kept + index] as Set<number>)]);
      additions.push(sum);
      return sum;
    });
  }
  return additions;
};

/** All ways to write `value` as a sum of plus or minus each of `powers`; each as the set of powers with a plus. */
const signings = (value: bigint, powers: ReadonlySet<number>): Set<number>[] => {
  const top = Math.max(...powers);
  let open = [{ rest: value, plus: new Set<number>() }];
  for (let power = 0; power <= top; power++) {
    open = open.flatMap(({ rest, plus }) => {
      const isOdd = (rest & 1n) === 1n;
      if (isOdd !== powers.has(power)) return [];
      if (!isOdd) return [{ rest: rest >> 1n, plus }];
      return [
        { rest: (rest - 1n) >> 1n, plus: new Set([...plus, power]) },
        { rest: (rest + 1n) >> 1n, plus },
      ];
    });
    // What is left must be reachable with the powers that are left.
    const bound = 1n << BigInt(top - power);
    open = open.filter(({ rest }) => rest <= bound && rest >= -bound);
  }
  return open.filter(({ rest }) => rest === 0n).map(({ plus }) => plus);
};

/** Multiples of r, 0 among them, that the powers can reach. */
const multiplesWithin = (powers: ReadonlySet<number>): bigint[] => {
  const largest = [...powers].reduce((sum, power) => sum + (1n << BigInt(power)), 0n) / ORDER;
  return Array.from({ length: Number(2n * largest + 1n) }, (_, index) => (BigInt(index) - largest) * ORDER);
};

/** The sum in which the powers of step 0 are added and those of the other step subtracted, or as the powers are. */
const sumOf = (plus: ReadonlySet<number>, flip: (power: number) => boolean): bigint =>
  Array.from({ length: BITS }, (_, power) => {
    const isPlus = plus.has(power) !== flip(power);
    return isPlus ? 1n << BigInt(power) : -(1n << BigInt(power));
  }).reduce((sum, term) => sum + term, 0n);

test("no addition of the tree can meet a multiple of r", () => {
  const additions = treeAdditions();
  expect(additions.length).toBe(BLOCKS - 1);
  for (const powers of additions) {
    for (const multiple of multiplesWithin(powers)) expect(signings(multiple, powers)).toEqual([]);
  }
});

test("the last addition meets one for two scalars, which are each other's negative", () => {
  // The steps after the tree below are those of two steps: double the one sum, add the other.
  expect(STEPS).toBe(2);
  const all = new Set(Array.from({ length: BITS }, (_, power) => power));
  const exceptional = new Set<bigint>();
  for (const multiple of multiplesWithin(all)) {
    for (const plus of signings(multiple, all)) {
      // Sum and difference of the two sides: one is the multiple, the other, up to its sign, the odd scalar.
      const other = sumOf(plus, (power) => power % STEPS === 0);
      if (other > 0n && other < ORDER) exceptional.add(other);
      expect(sumOf(plus, () => false)).toBe(multiple);
    }
  }
  expect([...exceptional]).toEqual([0x1251c3d2e247d5f9da85897c85fdb572f8ec22c0573fd02c5555542daaaaabd3n]);
  // Even scalars are done as their negatives: r - k is the other one.
});
