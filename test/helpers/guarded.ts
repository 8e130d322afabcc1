/** A slashing guard on a scriptable store, for tests: one chain, fixed MAC key, a clock and a signer by hand. */

import { createGuard, type Guard, type GuardedRequest } from "#enclave/slashing/guard.ts";
import type { SignOutcome } from "#protocol/messages/sign.ts";
import { createRecordCodec, type RecordCodecOptions } from "#protocol/slashing/record.ts";
import type { Candidate, SlashingState } from "#protocol/slashing/rules.ts";
import type { SlashingStore } from "#protocol/slashing/store.ts";

/** What the records of these tests are bound to. */
export const CODEC_OPTIONS: RecordCodecOptions = {
  macKeys: new Map([[1, new Uint8Array(32).fill(0x11)]]),
  writingKeyId: 1,
  genesisValidatorsRoot: new Uint8Array(32).fill(0x22),
  storeId: new Uint8Array(16).fill(0x33),
};
/** The codec of these tests. */
export const codec = createRecordCodec(CODEC_OPTIONS);

/** A public key, root or signature that is one byte over and over. */
export const filledBytes = (byte: number, length: number): Uint8Array => new Uint8Array(length).fill(byte);
/** A validator. */
export const validator = (byte: number): Uint8Array => filledBytes(byte, 48);

export const block = (slot: number, root: number): Candidate => ({
  kind: "block",
  slot,
  signingRoot: filledBytes(root, 32),
});

export const attestation = (sourceEpoch: number, targetEpoch: number, root: number): Candidate => ({
  kind: "attestation",
  sourceEpoch,
  targetEpoch,
  signingRoot: filledBytes(root, 32),
});

/** A state with this highest block. */
export const blockState = (slot: number, root: number): SlashingState => ({
  block: { slot, signingRoot: filledBytes(root, 32) },
  control: { generation: 0, disabled: false },
});

/** A guard and what it told the world. */
export interface Watched {
  readonly guard: Guard;
  readonly counts: Record<"repeated" | "conflicts" | "storeRoundTrips", number>;
  readonly suspicions: string[];
  /** Its monotonic clock; change it at will. */
  nowMs: number;
}

/** Makes a guard that tracks nothing yet. */
export const watchedGuard = (store: SlashingStore): Watched => {
  const watched = { counts: { repeated: 0, conflicts: 0, storeRoundTrips: 0 }, suspicions: [] as string[], nowMs: 0 };
  const guard = createGuard(
    { slotsPerEpoch: 32 },
    {
      store,
      codec,
      now: () => watched.nowMs,
      count: (event) => {
        watched.counts[event] += 1;
      },
      onSuspect: (reason) => watched.suspicions.push(reason),
    },
  );
  return Object.assign(watched, { guard });
};

/** A signer that is finished by hand, or at once. */
export interface ManualSigner {
  readonly sign: () => Promise<Uint8Array>;
  readonly calls: number;
  readonly finish: () => void;
  readonly fail: (error: Error) => void;
}

/** A signer that waits for `finish` or `fail`. */
export const manualSigner = (): ManualSigner => {
  const { promise, resolve, reject } = Promise.withResolvers<Uint8Array>();
  let calls = 0;
  return {
    sign: () => {
      calls += 1;
      return promise;
    },
    get calls() {
      return calls;
    },
    finish: () => resolve(filledBytes(0x99, 96)),
    fail: reject,
  };
};

/** Asks for a signature; the signer is instant and the deadline far, unless said otherwise. */
export const ask = (
  guard: Guard,
  request: Pick<GuardedRequest, "pubkey" | "candidate"> & Partial<GuardedRequest>,
): Promise<SignOutcome> =>
  guard.sign({ sign: async () => filledBytes(0x99, 96), deadlineMs: Number.MAX_SAFE_INTEGER, ...request });

/** `signed`, the rule of a refusal, or the code of a failure. */
export const resultOf = (outcome: Promise<SignOutcome>): Promise<string> =>
  outcome.then(
    (value) => (value.kind === "signed" ? "signed" : value.rule),
    (error: { code?: string }) => error.code ?? String(error),
  );

/** Whether a promise has settled once everything that can run has run. */
export const hasSettled = async (promise: Promise<unknown>): Promise<boolean> => {
  let settled = false;
  const mark = (): void => {
    settled = true;
  };
  promise.then(mark, mark);
  for (let turn = 0; turn < 5; turn += 1) await new Promise((resolve) => setImmediate(resolve));
  return settled;
};
