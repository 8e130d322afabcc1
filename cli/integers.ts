/** Whole numbers on the command line. */

import { InvalidArgumentError } from "commander";

/** A parser of whole numbers in a range, for commander. */
export const integerBetween =
  (min: number, max: number) =>
  (text: string): number => {
    const value = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
    if (value >= min && value <= max) return value;
    throw new InvalidArgumentError(`expected a whole number ${min}..${max}`);
  };
