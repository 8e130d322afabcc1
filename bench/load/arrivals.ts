/** When requests arrive in open loop: a Poisson process, as from many clients that do not know of each other. */

import { createRandom } from "../../test/simulation/random.ts";

/** More would not fit into memory in good order: ten minutes at 10,000 a second. */
const ARRIVALS_MAX = 6_000_000;

/** Times of all arrivals within `seconds`, in ms from the start, rising. The same for the same seed. */
export const arrivalTimes = (load: { ratePerSecond: number; seconds: number; seed: number }): Float64Array => {
  const { ratePerSecond, seconds, seed } = load;
  const random = createRandom(seed);
  const endMs = seconds * 1_000;
  const times: number[] = [];
  for (let ms = 0; times.length < ARRIVALS_MAX; ) {
    // The gaps of a Poisson process are exponentially distributed.
    ms += (-Math.log(1 - random.next()) / ratePerSecond) * 1_000;
    if (ms >= endMs) break;
    times.push(ms);
  }
  return Float64Array.from(times);
};
