/**
 * What signatures will cost, so that a batch can be bounded by time before it is made. The figures are those of one
 * machine; a factor learnt from finished batches carries them over to this one and to its load.
 */

/** What a signing thread had or made for a root, as it tells after a batch. */
export interface RootWarmth {
  /** The hash of the root to the curve is cached. */
  readonly hashed: boolean;
  /** The multiplication table of the hash is kept. */
  readonly tabled: boolean;
}

/** Estimates, in µs. */
export interface Costs {
  /** Of `count` signatures over one root. */
  ofGroup(count: number, warmth: RootWarmth | undefined): number;
  /** Signatures over one root that fit into `micros`, at least 1. */
  fitting(micros: number, warmth: RootWarmth | undefined): number;
  /** Learns from a batch that was estimated at `estimated` and took `actual`. */
  learn(estimated: number, actual: number): void;
}

/** µs on the machine of `../native/README.md`: hash to the curve, one multiplication, one by a table that is there. */
const HASH = 130;
const MULTIPLICATION = 126;
const BY_TABLE = 27;
/** Making the table, which is done from {@link TABLE_PAYS_FROM} signatures on. */
const TABLE = 670;
const TABLE_PAYS_FROM = 8;
/** `@chainsafe/blst`, which hashes for every signature. */
const PORTABLE = 268;

/**
 * A batch counts for an eighth, and for twice or half of its estimate at most: one that was interrupted moves the factor
 * by an eighth, not to its bound.
 */
const LEARNING = 1 / 8;
const SURPRISE_MAX = 2;
/** Far slower or faster than measured means a stalled thread or clock, not another machine. */
const FACTOR_MIN = 0.25;
const FACTOR_MAX = 8;

/** Costs of the native signer, or of the portable one. */
export const createCosts = ({ native }: { native: boolean }): Costs => {
  let factor = 1;
  const ofGroup = (count: number, warmth: RootWarmth | undefined): number => {
    if (!native) return count * PORTABLE;
    if (warmth?.tabled === true) return count * BY_TABLE;
    const hash = warmth?.hashed === true ? 0 : HASH;
    return hash + (count < TABLE_PAYS_FROM ? count * MULTIPLICATION : TABLE + count * BY_TABLE);
  };
  const fitting = (micros: number, warmth: RootWarmth | undefined): number => {
    if (!native) return micros / PORTABLE;
    const few = (micros - ofGroup(0, warmth)) / (warmth?.tabled === true ? BY_TABLE : MULTIPLICATION);
    if (warmth?.tabled === true || few < TABLE_PAYS_FROM) return few;
    return TABLE_PAYS_FROM + (micros - ofGroup(TABLE_PAYS_FROM, warmth)) / BY_TABLE;
  };
  return {
    ofGroup: (count, warmth) => factor * ofGroup(count, warmth),
    fitting: (micros, warmth) => Math.max(1, Math.floor(fitting(micros / factor, warmth))),
    learn: (estimated, actual) => {
      if (estimated <= 0 || actual <= 0) return;
      const surprise = Math.min(SURPRISE_MAX, Math.max(1 / SURPRISE_MAX, actual / estimated));
      const learnt = factor * (1 + LEARNING * (surprise - 1));
      factor = Math.min(FACTOR_MAX, Math.max(FACTOR_MIN, learnt));
    },
  };
};
