/**
 * Several enclaves at one slashing store, in any interleaving: requests, crashes that lose the cache, slow and lost
 * answers. Everything that is ever released is kept for the oracle. An enclave that "crashed" goes on with what it had
 * begun, like one that was cut off and not ended: stricter than a real crash.
 */

import fc from "fast-check";
import type { Guard } from "#enclave/slashing/guard.ts";
import { toHex } from "#protocol/bytes.ts";
import { type Candidate, isBehind, type SlashingState } from "#protocol/slashing/rules.ts";
import { codec, filledBytes, validator, type Watched, watchedGuard } from "./guarded.ts";
import { createMemoryStore, type MemoryStore, type Script, UNKNOWN } from "./memory-store.ts";
import { findSlashablePair, type SignedMessage } from "./slashing-oracle.ts";

const ENCLAVES = 3;
const KEYS = [validator(1), validator(2)];

/** One thing that happens. */
export type Step =
  | { readonly kind: "ask"; readonly enclave: number; readonly key: number; readonly candidate: Candidate }
  | { readonly kind: "crash"; readonly enclave: number };

/** What an honest store may do to a call. */
export const HONEST_FATES = ["true", "true", "true", "unknown, lost", "unknown, written", "unknown, late"] as const;
/** What a crash may do besides: a write that others have seen, but that nobody was told is durable, is gone. */
export const CRASHING_FATES = [...HONEST_FATES, "unknown, undone", "unknown, undone"] as const;
/** What a broken store does to a call: each breaks a promise of the port. */
export const BROKEN_FATES = ["stored, lost", "stored, late", "blind", "rollback"] as const;
/** One of all. */
export type Fate = (typeof CRASHING_FATES)[number] | (typeof BROKEN_FATES)[number];

/** A random history of things that happen, and the fates of the store's calls, used in turn. */
export interface Plan {
  readonly steps: readonly Step[];
  readonly fates: readonly Fate[];
}

/** What came out. */
export interface Outcome {
  /** A slashable pair in words; undefined: none. */
  readonly slashable: string | undefined;
  /** Releases whose record was not in the store at that moment. */
  readonly unrecorded: readonly string[];
  readonly released: number;
  readonly counts: Watched["counts"];
  readonly suspicions: readonly string[];
}

/** A message's root follows from its content, as on the chain; `variant` stands for everything else in it. */
const rootOf = (...content: number[]): Uint8Array => {
  const root = new Uint8Array(32);
  root.set(content);
  return root;
};
const small = fc.integer({ min: 0, max: 3 });
const variant = fc.integer({ min: 0, max: 1 });
const candidates: fc.Arbitrary<Candidate> = fc.oneof(
  fc.tuple(small, variant).map(([slot, v]) => ({ kind: "block" as const, slot, signingRoot: rootOf(1, slot, v) })),
  fc.tuple(small, small, variant).map(([sourceEpoch, targetEpoch, v]) => {
    const signingRoot = rootOf(2, sourceEpoch, targetEpoch, v);
    return { kind: "attestation" as const, sourceEpoch, targetEpoch, signingRoot };
  }),
);
const enclave = fc.nat(ENCLAVES - 1);
const key = fc.nat(KEYS.length - 1);
const steps = fc.array(
  fc.oneof(
    { weight: 8, arbitrary: fc.record({ kind: fc.constant("ask" as const), enclave, key, candidate: candidates }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant("crash" as const), enclave }) },
  ),
  { minLength: 2, maxLength: 24 },
);

/** Plans whose store calls have these fates. */
export const plans = (fates: readonly Fate[]): fc.Arbitrary<Plan> =>
  fc.record({ steps, fates: fc.array(fc.constantFrom(...fates), { minLength: 1, maxLength: 12 }) });

/** Carries a plan out in the order that the scheduler wants. */
export const simulate = async (scheduler: fc.Scheduler, plan: Plan): Promise<Outcome> => {
  const store = createMemoryStore();
  const turn = (label: string): Promise<unknown> => scheduler.schedule(Promise.resolve(), label);
  const guards: Watched[] = [];
  const histories = KEYS.map((): SignedMessage[] => []);
  const unrecorded: string[] = [];
  const all: Watched[] = [];

  const boot = async (index: number): Promise<void> => {
    const watched = watchedGuard(store);
    all.push(watched);
    guards[index] = watched;
    await watched.guard.track(KEYS.map((pubkey) => ({ pubkey, registered: true }))).catch(() => undefined);
  };
  for (const pubkey of KEYS) store.put(pubkey, codec.encode(pubkey, { control: { generation: 0, disabled: false } }));
  for (let index = 0; index < ENCLAVES; index += 1) await boot(index);
  store.readGate = () => turn("read");
  store.script = scriptOf(store, plan.fates, turn);

  const release = async (guard: Guard, step: Step & { kind: "ask" }): Promise<void> => {
    const pubkey = KEYS[step.key] as Uint8Array;
    const sign = async () => {
      await turn("sign");
      return filledBytes(0x99, 96);
    };
    try {
      const outcome = await guard.sign({
        pubkey,
        candidate: step.candidate,
        sign,
        deadlineMs: Number.MAX_SAFE_INTEGER,
      });
      if (outcome.kind !== "signed") return;
      histories[step.key]?.push(toMessage(step.candidate));
      if (!isRecorded(store, pubkey, step.candidate)) unrecorded.push(JSON.stringify(step));
    } catch {
      // A failure releases nothing.
    }
  };

  scheduler.scheduleSequence(
    plan.steps.map((step) => ({
      label: step.kind,
      builder: async () => {
        if (step.kind === "crash") void boot(step.enclave);
        else void release((guards[step.enclave] as Watched).guard, step);
      },
    })),
  );
  await scheduler.waitIdle();
  return {
    slashable: histories.map(findSlashablePair).find((pair) => pair !== undefined),
    unrecorded,
    released: histories.reduce((sum, history) => sum + history.length, 0),
    counts: sumCounts(all),
    suspicions: all.flatMap((watched) => watched.suspicions),
  };
};

const scriptOf = (store: MemoryStore, fates: readonly Fate[], turn: (label: string) => Promise<unknown>) => {
  const first = new Map([...store.values].map(([name, value]) => [name, new Uint8Array(value)]));
  let calls = 0;
  return (call: { keyHex: string }): Script => {
    const fate = fates[calls % fates.length] as Fate;
    calls += 1;
    const before = turn("effect");
    const after = turn("answer");
    switch (fate) {
      case "true":
        return { before, after };
      case "unknown, lost":
        return { effect: "never", after, answer: UNKNOWN };
      case "unknown, written":
        return { before, after, answer: UNKNOWN };
      case "unknown, late":
        return { effect: "late", before, after, answer: UNKNOWN };
      case "unknown, undone":
        return { effect: "undone", before, after, answer: UNKNOWN };
      case "stored, lost":
        return { effect: "never", after, answer: { kind: "stored" } };
      case "stored, late":
        return { effect: "late", before, answer: { kind: "stored" } };
      case "blind":
        return { effect: "blind", before, after };
      case "rollback":
        // A fail-over to a replica that never heard of the acknowledged writes.
        store.values.set(call.keyHex, new Uint8Array(first.get(call.keyHex) ?? []));
        return { before, after };
    }
  };
};

const toMessage = (candidate: Candidate): SignedMessage => {
  const root = toHex(candidate.signingRoot);
  return candidate.kind === "block"
    ? { kind: "block", slot: candidate.slot, root }
    : { kind: "attestation", source: candidate.sourceEpoch, target: candidate.targetEpoch, root };
};

/** Whether the store's record stands for this message now: at its slot or target with its root, or above it. */
const isRecorded = (store: MemoryStore, pubkey: Uint8Array, candidate: Candidate): boolean => {
  const decoded = codec.decode(pubkey, store.get(pubkey) ?? new Uint8Array());
  if (decoded.kind !== "record") return false;
  const { kind, ...watermark } = candidate;
  const least: SlashingState = { [kind]: watermark, control: { generation: 0, disabled: false } };
  return !isBehind(decoded.state, least);
};

const sumCounts = (all: readonly Watched[]): Watched["counts"] => ({
  repeated: all.reduce((sum, { counts }) => sum + counts.repeated, 0),
  conflicts: all.reduce((sum, { counts }) => sum + counts.conflicts, 0),
  storeRoundTrips: all.reduce((sum, { counts }) => sum + counts.storeRoundTrips, 0),
});
