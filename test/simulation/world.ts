/** One simulated world: its time, chance, store and judge, and what was acknowledged to whom. */

import { createRecordCodec, type RecordCodec } from "#protocol/slashing/record.ts";
import { EMPTY_STATE, type SlashingState } from "#protocol/slashing/rules.ts";
import { type Checker, createChecker } from "./checker.ts";
import { type Clock, createClock } from "./clock.ts";
import { createNoise, type Noise } from "./noise.ts";
import { type Plan, START_MS } from "./plan.ts";
import { countOne, createStats, type Stats } from "./stats.ts";
import { createSimulatedStore, type SimulatedStore } from "./store.ts";

/** A validator key of the simulation. */
export interface SimulatedKey {
  readonly name: string;
  readonly pubkey: Uint8Array;
}

/** A key whose acknowledged writes were lost. */
export interface LostKey {
  /** Names of the enclaves whose floor has all that was lost: only they may ask the store for the key. */
  readonly holders: ReadonlySet<string>;
  /** The newest record that was acknowledged before. */
  readonly acknowledged: SlashingState;
}

/** What every part of a run shares. */
export interface World {
  readonly plan: Plan;
  readonly clock: Clock;
  readonly noise: Noise;
  readonly checker: Checker;
  readonly store: SimulatedStore;
  readonly codec: RecordCodec;
  readonly stats: Stats;
  readonly keys: readonly SimulatedKey[];
  keyOf(pubkey: Uint8Array): SimulatedKey;
  /** The newest of each key's records that any enclave was told is durable. */
  readonly acknowledged: Map<string, SlashingState>;
  /** What a record says; undefined: it cannot be verified, or there is none. */
  stateOf(key: SimulatedKey, record: Uint8Array | undefined): SlashingState | undefined;
  /** Calls of enclaves that wait for the store; each ends as `unknown` when its connection is cut. */
  readonly storeCalls: Set<() => void>;
  /** Messages to the store that were sent before this term of it never arrive. */
  severedTerm: number;
  /** The registers of a primary that was replaced and does not know it. */
  fork: Map<string, Uint8Array> | undefined;
  /** Keys whose acknowledged writes were lost, and who holds their floor (class 2). */
  readonly lost: Map<string, LostKey>;
  /** Why every enclave refuses: one has found out, and all have seen it in the store's marker. */
  suspicion: string | undefined;
  /** A loss was caused. */
  lossCaused: boolean;
  /** Whether a suspect store is known to be sound, so that an operator may restart an enclave that suspects it. */
  readonly storeIsSound: () => boolean;
  /** Broken promises other than slashable pairs. */
  readonly broken: string[];
  /** One line of the trace; built only when somebody reads it. */
  readonly tell: (line: () => string) => void;
}

/** Builds the world of a plan; nobody lives there yet. */
export const createWorld = (plan: Plan, options: { readonly trace: string[] | undefined }): World => {
  const clock = createClock(START_MS);
  const stats = createStats();
  stats.seeds = 1;
  const codec = createRecordCodec({
    macKeys: new Map([[1, new Uint8Array(32).fill(0x11)]]),
    writingKeyId: 1,
    genesisValidatorsRoot: new Uint8Array(32).fill(0x22),
    storeId: new Uint8Array(16).fill(0x33),
  });
  const keys = Array.from({ length: plan.keys }, (_, index) => createKey(index));
  const byLastByte = new Map(keys.map((key) => [key.pubkey[47], key]));
  const registered = new Map(keys.map((key) => [key.name, codec.encode(key.pubkey, EMPTY_STATE)]));
  const world: World = {
    plan,
    clock,
    stats,
    codec,
    keys,
    noise: createNoise({ ...plan, onNoise: (kind) => countOne(stats.faults, kind) }),
    checker: createChecker(),
    store: createSimulatedStore(registered, clock),
    keyOf: (pubkey) => byLastByte.get(pubkey[47]) ?? unknownKey(),
    acknowledged: new Map(),
    stateOf: (key, record) => {
      const decoded = record && codec.decode(key.pubkey, record);
      return decoded?.kind === "record" ? decoded.state : undefined;
    },
    storeCalls: new Set(),
    severedTerm: 0,
    fork: undefined,
    lost: new Map(),
    suspicion: undefined,
    lossCaused: false,
    storeIsSound: () => !world.lossCaused || plan.scenario === "class-3-recovered",
    broken: [],
    tell: (line) => {
      options.trace?.push(`${((clock.nowMs - START_MS) / 1000).toFixed(4).padStart(9)} s  ${line()}`);
    },
  };
  return world;
};

/** Whether `state` is nowhere below `other`. Says nothing of roots, and shares no code with the guard. */
export const covers = (state: SlashingState | undefined, other: SlashingState | undefined): boolean => {
  const below = (a: number | undefined, b: number | undefined): boolean =>
    b !== undefined && (a === undefined || a < b);
  return !(
    below(state?.block?.slot, other?.block?.slot) ||
    below(state?.attestation?.sourceEpoch, other?.attestation?.sourceEpoch) ||
    below(state?.attestation?.targetEpoch, other?.attestation?.targetEpoch)
  );
};

/** A state in a few words, for traces. */
export const describeState = (state: SlashingState | undefined): string => {
  if (state === undefined) return "nothing that can be verified";
  const { block, attestation } = state;
  const root = (bytes: Uint8Array | undefined) =>
    bytes === undefined ? "?" : String.fromCharCode(97 + (bytes[17] ?? 0));
  const parts = [
    ...(block ? [`block ${block.slot} root ${root(block.signingRoot)}`] : []),
    ...(attestation
      ? [`attestation ${attestation.sourceEpoch}→${attestation.targetEpoch} root ${root(attestation.signingRoot)}`]
      : []),
  ];
  return parts.length === 0 ? "nothing signed" : parts.join(", ");
};

/** Public keys whose last bytes differ, as those that the balancer looks at do. */
const createKey = (index: number): SimulatedKey => {
  const pubkey = new Uint8Array(48).fill(0x40 + 37 * index);
  pubkey[47] = index;
  return { name: `validator ${index}`, pubkey };
};

const unknownKey = (): never => {
  throw new Error("simulation: a public key that is not part of it");
};
