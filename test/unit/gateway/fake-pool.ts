/** A pool whose answers a test decides, and the few values that tests of the gateway share. */

import type {
  MemberView,
  Pool,
  PoolAttestRequest,
  PoolSignRequest,
  PoolView,
  ReloadStatus,
} from "#pool-manager/pool-port.ts";
import type { AttestOutcome } from "#protocol/messages/attest.ts";
import { ENCLAVE_COUNTERS, type EnclaveStatus } from "#protocol/messages/control.ts";
import type { SignOutcome } from "#protocol/messages/sign.ts";

/** A public key; no point of the curve is needed. */
export const PUBKEY_HEX =
  "0x876dd4705157eb66dc71bc2e07fb151ea53e1a62a0bb980a7ce72d15f58944a8a3752d754f52f4a60dbfc7b18169f268";
/** {@link SIGNED} as text. */
export const SIGNATURE_HEX = `0x${"ab".repeat(96)}`;
/** The answer of a fake pool that was told nothing. */
export const SIGNED: SignOutcome = { kind: "signed", signature: new Uint8Array(96).fill(0xab) };

/** A pool whose members a test sets. */
export interface FakePool extends Pool {
  /** What was asked, in order. */
  readonly asked: PoolSignRequest[];
  /** Decides about the next requests. */
  answer: (request: PoolSignRequest) => Promise<SignOutcome>;
  /** Decides about questions to an enclave. */
  attestAnswer: (request: PoolAttestRequest) => Promise<AttestOutcome>;
  current: PoolView;
  reloadAnswer: () => Promise<"accepted" | "running">;
  reloadState: ReloadStatus;
}

/** The status of an enclave that is well. */
export const enclaveStatus = (changes: Partial<EnclaveStatus> = {}): EnclaveStatus => ({
  phase: "ready",
  keys: 1,
  storeInitialised: true,
  reachesStore: true,
  commandSequence: 0,
  inFlight: 0,
  counters: Object.fromEntries(ENCLAVE_COUNTERS.map((name) => [name, 0])) as EnclaveStatus["counters"],
  ...changes,
});

/** An enclave that is ready. */
export const member = (changes: Partial<MemberView> = {}): MemberView => ({
  cid: 16,
  state: "ready",
  path: "/tmp/none.sock",
  incarnation: 1,
  status: enclaveStatus(),
  ...changes,
});

/** A pool that is well: one member, one key. */
export const poolView = (changes: Partial<PoolView> = {}): PoolView => ({
  connected: true,
  members: [member()],
  publicKeys: [PUBKEY_HEX],
  keyErrors: 0,
  ...changes,
});

/** A fake pool that signs everything. */
export const createFakePool = (): FakePool => {
  const pool: FakePool = {
    asked: [],
    answer: async () => SIGNED,
    current: poolView(),
    reloadAnswer: async () => "accepted",
    reloadState: { status: "idle" },
    sign: (request) => {
      pool.asked.push(request);
      return pool.answer(request);
    },
    attestAnswer: async () => ({ kind: "development" }),
    attest: (request) => pool.attestAnswer(request),
    view: () => pool.current,
    onChange: () => () => undefined,
    reload: () => pool.reloadAnswer(),
    reloadStatus: async () => pool.reloadState,
    close: async () => undefined,
  };
  return pool;
};
