/** From a seed to a plan: who is there, who asks for what and when, and what fails. Plain data, so that it can be shrunk. */

import { CLOCK_BOUND_EPOCHS, EPOCH_MS, type SimulatedDuty, SLOTS_PER_EPOCH } from "./duty.ts";
import { createRandom, type Random } from "./random.ts";

/**
 * What is simulated, and what is promised there.
 * - `class-1`: acknowledged writes survive; anything else fails in any order.
 * - `class-2`: acknowledged writes are lost, and an enclave that holds the floor of the key is asked first.
 * - `class-3`: acknowledged writes are lost and no floor is asked: not promised.
 * - `class-3-recovered`: the same, but recovery runs before anything is signed.
 */
export const SCENARIOS = ["class-1", "class-2", "class-3", "class-3-recovered"] as const;
/** One of {@link SCENARIOS}. */
export type Scenario = (typeof SCENARIOS)[number];

/** Failures that leave acknowledged writes alone. */
export const CRASH_KINDS = [
  "enclave crash",
  "enclave cut off",
  "enclave replaced",
  "enclave without store",
  "store crash",
  "store failover",
  "gateway restart",
  "parent lost",
  "clock skew",
] as const;
/** Failures that lose acknowledged writes. */
export const LOSS_KINDS = ["store rollback", "store record corrupted", "store emptied"] as const;
/** Every failure. */
export type FaultKind = (typeof CRASH_KINDS)[number] | (typeof LOSS_KINDS)[number];

/** One failure. What a number means is the failure's matter (`faults.ts`). */
export interface Fault {
  readonly id: number;
  readonly kind: FaultKind;
  readonly atMs: number;
  readonly durationMs: number;
  /** Whom it hits: 0 ≤ x < 1 of all there are at that time. */
  readonly whom: number;
  /** How much: 0 ≤ x < 1. */
  readonly extent: number;
}

/** One request of a validator client, with its retries. */
export interface Request {
  readonly id: number;
  readonly atMs: number;
  readonly key: number;
  readonly duty: SimulatedDuty;
  /** The gateway that is asked first; each retry goes `stride` further. */
  readonly gateway: number;
  readonly stride: number;
  readonly retries: number;
  readonly retryAfterMs: number;
  readonly timeoutMs: number;
  /** What the gateway's look at the body says. A wrong hint may cost time, never safety. */
  readonly slashableHint: boolean;
}

/** Everything that one run is. */
export interface Plan {
  readonly seed: number;
  readonly scenario: Scenario;
  readonly keys: number;
  /** Enclaves and gateways of each parent instance; all parents hold all keys. */
  readonly parents: readonly { readonly enclaves: number; readonly gateways: number }[];
  /** Factor on the probability of every mishap of a message. */
  readonly roughness: number;
  readonly endMs: number;
  readonly requests: readonly Request[];
  readonly faults: readonly Fault[];
  /** Mishaps of messages that do not happen, by name (`noise.ts`). */
  readonly muted: ReadonlySet<string>;
}

/** Start of every run: there is a past, so that sources and targets below the present exist. */
export const START_MS = 10 * EPOCH_MS;
const EPOCHS = 5;
/** Time after the last request in which late messages arrive. */
const DRAIN_MS = 12_000;
const BURSTS = 24;
/** Part of the duties that are as early as the clock bound lets through. Few: after one, little is left to sign. */
const EARLY = 0.08;

/** The plan of a seed. The class-3 scenarios of one seed differ in nothing but recovery. */
export const createPlan = (seed: number, scenario: Scenario): Plan => {
  const salt = scenario === "class-3-recovered" ? SCENARIOS.indexOf("class-3") : SCENARIOS.indexOf(scenario);
  const random = createRandom(seed * SCENARIOS.length + salt);
  const keys = 1 + random.below(3);
  const parents = Array.from({ length: random.chance(0.8) ? 2 : 1 }, () => ({
    enclaves: 1 + random.below(3),
    gateways: 1 + random.below(2),
  }));
  const bursts = Array.from({ length: BURSTS }, () => {
    const atMs = START_MS + random.next() * EPOCHS * EPOCH_MS;
    return { atMs, key: random.below(keys), duty: planDuty(random, { atMs, early: EARLY }) };
  });
  const faults = planFaults(
    random,
    scenario,
    bursts.map(({ atMs }) => atMs),
  );
  const loss = faults.find(({ kind }) => isLoss(kind));
  const gateways = parents.reduce((sum, parent) => sum + parent.gateways, 0);
  return {
    seed,
    scenario,
    keys,
    parents,
    roughness: random.pick([0, 0.5, 1, 1, 3]),
    endMs: START_MS + EPOCHS * EPOCH_MS + DRAIN_MS,
    requests: [...bursts, ...(loss === undefined ? [] : planAroundLoss(random, loss.atMs, keys))]
      .flatMap((burst) => planBurst(random, burst, { keys, gateways }))
      .sort((a, b) => a.atMs - b.atMs)
      .map((request, id) => ({ ...request, id })),
    faults: faults.map((fault, id) => ({ ...fault, id })),
    muted: new Set(),
  };
};

const isLoss = (kind: FaultKind): boolean => LOSS_KINDS.some((loss) => loss === kind);

/** A duty that some clients ask for at nearly the same time. */
interface Burst {
  readonly atMs: number;
  readonly key: number;
  readonly duty: SimulatedDuty;
}

/** What was asked for just before writes are lost is asked for again after it: the loss shows, if it can. */
const planAroundLoss = (random: Random, lossMs: number, keys: number): Burst[] => {
  const key = random.below(keys);
  const duty = planDuty(random, { atMs: lossMs, early: 0.5 });
  const beforeMs = random.pick([5, 50, 500]) * random.next();
  const afterMs = random.between(50, 2_500);
  return [lossMs - beforeMs, lossMs + afterMs].map((atMs) => ({ atMs, key, duty }));
};

/** The clients do not all mean the same. */
const planBurst = (
  random: Random,
  { atMs, key, duty }: Burst,
  { keys, gateways }: { keys: number; gateways: number },
): Omit<Request, "id">[] => {
  const spreadMs = random.pick([0, 2, 20, 300]);
  return Array.from({ length: 1 + random.below(6) }, () => ({
    atMs: atMs + random.next() * spreadMs,
    key: random.chance(0.95) ? key : random.below(keys),
    duty: varyDuty(random, duty, atMs),
    gateway: random.below(gateways),
    stride: random.below(gateways),
    retries: random.below(4),
    retryAfterMs: random.pick([1, 50, 500, 2_000]),
    timeoutMs: random.pick([300, 2_000, 5_000, 5_000]),
    slashableHint: random.chance(0.9),
  }));
};

/** A duty that is due now, or one at the very end of what the clock bound lets through. */
const planDuty = (random: Random, { atMs, early }: { atMs: number; early: number }): SimulatedDuty => {
  const epoch = Math.floor(atMs / EPOCH_MS);
  const isEarly = random.chance(early);
  if (random.chance(0.35)) {
    const now = Math.floor((atMs * SLOTS_PER_EPOCH) / EPOCH_MS);
    const last = (epoch + CLOCK_BOUND_EPOCHS + 1) * SLOTS_PER_EPOCH - 1;
    return { kind: "block", slot: isEarly ? last - random.below(2) : now, variant: 0 };
  }
  const target = isEarly ? epoch + CLOCK_BOUND_EPOCHS : epoch;
  return { kind: "attestation", source: target - 1, target, variant: 0 };
};

/** What another client makes of the same duty: mostly the same, or the same with another root. */
const varyDuty = (random: Random, duty: SimulatedDuty, atMs: number): SimulatedDuty => {
  const variant = random.chance(0.6) ? 0 : random.below(3);
  if (random.chance(0.04)) return { ...planDuty(random, { atMs, early: EARLY }), variant };
  if (duty.kind === "block") {
    return { ...duty, variant, slot: duty.slot + (random.chance(0.8) ? 0 : random.pick([-1, 1])) };
  }
  const target = duty.target + (random.chance(0.85) ? 0 : random.pick([-2, -1, 1]));
  const source = random.chance(0.75) ? duty.source : target - random.below(5);
  return { kind: "attestation", source, target, variant };
};

const planFaults = (random: Random, scenario: Scenario, bursts: readonly number[]): Omit<Fault, "id">[] => {
  const soonAfterABurst = (): number => random.pick(bursts) + random.pick([0.5, 2, 5, 50, 500]) * random.next();
  const fault = (kind: FaultKind, atMs: number): Omit<Fault, "id"> => ({
    kind,
    atMs,
    durationMs: random.pick([20, 200, 1_000, 4_000]) * (0.5 + random.next()),
    whom: random.next(),
    extent: random.next(),
  });
  const faults = Array.from({ length: random.below(8) }, () => fault(random.pick(CRASH_KINDS), soonAfterABurst()));
  if (scenario === "class-1") return faults;
  const loss = fault(planLoss(random), START_MS + random.between(0.2, 0.8) * EPOCHS * EPOCH_MS);
  // Where the bound on the future is what recovery rests on, the parent does not turn the clock.
  const kept = scenario === "class-2" ? faults : faults.filter(({ kind }) => kind !== "clock skew");
  return [...kept, loss];
};

const planLoss = (random: Random): FaultKind =>
  random.chance(0.7) ? "store rollback" : random.pick(["store record corrupted", "store emptied"]);
