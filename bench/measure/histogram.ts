/**
 * A recorder of latencies in bounded memory: buckets that grow with the value, as HdrHistogram's do, each at most 1/128
 * (0.8 %) wide. The greatest value is kept exactly.
 */

/** Linear buckets of each power of two: 2^7. */
const BITS = 7;
const SPLIT = 1 << BITS;
/** 2^31 µs, 36 minutes: longer than any request is waited for. */
const MICROS_MAX = 2 ** 31 - 1;
const BUCKETS = indexOf(MICROS_MAX) + 1;

/** A histogram as another process sends it: `[bucket, count]` pairs. */
export interface HistogramData {
  readonly buckets: readonly (readonly [index: number, count: number])[];
  readonly max: number;
}

/** Latencies in µs. */
export class Histogram {
  readonly #counts = new Float64Array(BUCKETS);
  #count = 0;
  #max = 0;

  /** Values recorded. */
  get count(): number {
    return this.#count;
  }

  record(micros: number): void {
    const value = Math.min(Math.max(Math.round(micros), 0), MICROS_MAX);
    const index = indexOf(value);
    this.#counts[index] = (this.#counts[index] as number) + 1;
    this.#count += 1;
    if (value > this.#max) this.#max = value;
  }

  /** Adds another process's values. */
  add({ buckets, max }: HistogramData): void {
    for (const [index, count] of buckets) {
      this.#counts[index] = (this.#counts[index] as number) + count;
      this.#count += count;
    }
    this.#max = Math.max(this.#max, max);
  }

  /** The value in µs that `share` (0..1) of all values do not exceed, up to a bucket's width; 0 without values. */
  quantile(share: number): number {
    const rank = Math.max(1, Math.ceil(share * this.#count));
    let seen = 0;
    for (const [index, count] of this.#counts.entries()) {
      seen += count;
      if (seen >= rank) return Math.min(highestOf(index), this.#max);
    }
    return this.#max;
  }

  toData(): HistogramData {
    const buckets = [...this.#counts.entries()].filter(([, count]) => count > 0);
    return { buckets, max: this.#max };
  }
}

function indexOf(value: number): number {
  const shift = Math.max(0, 31 - Math.clz32(value) - BITS);
  return shift * SPLIT + (value >>> shift);
}

const highestOf = (index: number): number => {
  const shift = Math.max(0, Math.floor(index / SPLIT) - 1);
  return (index - shift * SPLIT + 1) * 2 ** shift - 1;
};
