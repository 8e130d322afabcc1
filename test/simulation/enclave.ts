/** A simulated enclave: the real guard and the real clock bound, between a message that arrives and one that leaves. */

import { checkClockBound } from "#enclave/policy.ts";
import { createGuard } from "#enclave/slashing/guard.ts";
import { bytesEqual } from "#protocol/bytes.ts";
import { SignerError } from "#protocol/errors.ts";
import { decodeSignCommand, encodeSignOutcome, type SignOutcome } from "#protocol/messages/sign.ts";
import type { SlashingState } from "#protocol/slashing/rules.ts";
import {
  type Asking,
  CLOCK_BOUND,
  decodeAsking,
  describeDuty,
  type SimulatedDuty,
  SLOTS_PER_EPOCH,
  toCandidate,
  toDuty,
  toMessage,
} from "./duty.ts";
import { countOne } from "./stats.ts";
import { createStoreClient, type StoreClientOwner } from "./store-client.ts";
import { covers, type LostKey, type SimulatedKey, type World } from "./world.ts";

/** One enclave, from launch to crash. A restart makes another. */
export interface Enclave extends StoreClientOwner {
  readonly cid: number;
  readonly path: string;
  readonly incarnation: number;
  state: "launching" | "ready" | "draining";
  readonly alive: boolean;
  /** Until then its messages to and from gateways are held. */
  cutOffUntilMs: number;
  storeCutUntilMs: number;
  onForkUntilMs: number;
  /** How far the parent has turned its clock. */
  clockSkewMs: number;
  /** The newest of what it was told of each key: what its floor must be. */
  readonly floors: ReadonlyMap<string, SlashingState>;
  readonly problem: string | undefined;
  /** Connections that end when it does. */
  readonly connections: Set<() => void>;
  /** Answers one message of the data port. @throws SignerError */
  handle(payload: Uint8Array): Promise<Uint8Array>;
  /** What the guard's floor holds of a key. */
  seen(key: SimulatedKey): SlashingState | undefined;
  /** Reads all records again, after a recovery. @throws SignerError */
  trustAgain(): Promise<void>;
  crash(): void;
}

/** Whom an enclave calls. */
export interface EnclaveEvents {
  readonly onReady: () => void;
  readonly onSuspect: (enclave: Enclave) => void;
}

const SIGNATURE_BYTES = 96;
const SLOW_SIGNATURE_MS_MAX = 1_000;
/** Between attempts to read the records at the start. */
const RETRY_MS = 100;

/** Launches an enclave; it is ready once it has read all records. */
export const launchEnclave = (
  world: World,
  options: { readonly cid: number; readonly path: string; readonly incarnation: number },
  events: EnclaveEvents,
): Enclave => {
  const { clock, stats } = world;
  const floors = new Map<string, SlashingState>();
  const name = `enclave ${options.path}`;
  let alive = true;

  const enclave: Enclave = {
    ...options,
    name,
    state: "launching",
    cutOffUntilMs: 0,
    storeCutUntilMs: 0,
    onForkUntilMs: 0,
    clockSkewMs: 0,
    floors,
    connections: new Set(),
    get alive() {
      return alive;
    },
    get problem() {
      return guard.problem;
    },
    heard: (key, record, acknowledged) => {
      const state = world.stateOf(key, record);
      if (state === undefined) return;
      if (covers(state, floors.get(key.name))) floors.set(key.name, state);
      if (acknowledged && covers(state, world.acknowledged.get(key.name))) world.acknowledged.set(key.name, state);
    },
    handle: async (payload) => {
      const command = decodeSignCommand(payload);
      const asking = decodeAsking(command.body);
      const key = world.keyOf(command.pubkey);
      const outcome = await decide(key, asking, clock.nowMs + command.timeoutMs);
      if (!alive) return never();
      if (outcome.kind === "signed") release(key, asking, outcome.signature);
      else countOne(stats.refusals, outcome.rule);
      return encodeSignOutcome(outcome);
    },
    seen: (key) => guard.seen(key.pubkey),
    trustAgain: () => guard.refresh({ trust: true }),
    crash: () => {
      alive = false;
      for (const end of [...enclave.connections]) end();
    },
  };

  const guard = createGuard(
    { slotsPerEpoch: SLOTS_PER_EPOCH },
    {
      store: createStoreClient(world, enclave),
      codec: world.codec,
      now: () => clock.nowMs,
      count: (event) => countOne(stats.guards, event),
      onSuspect: (reason) => {
        countOne(stats.guards, "suspicions");
        world.tell(() => `${name} suspects the store: ${reason.replace(/0x[0-9a-f]+/, "a key")}`);
        events.onSuspect(enclave);
      },
      suspicion: () => world.suspicion,
    },
  );

  /** The order of the pipeline (`enclave-worker/sign.ts`): loaded → clock bound → slashing protection ∥ signature. */
  const decide = async (key: SimulatedKey, asking: Asking, deadlineMs: number): Promise<SignOutcome> => {
    if (enclave.state === "launching") throw new SignerError("unavailable", "the keys are not loaded yet");
    const beyond = checkClockBound(toDuty(asking.duty), {
      ...CLOCK_BOUND,
      wallClock: () => clock.nowMs + enclave.clockSkewMs,
    });
    if (beyond !== undefined) return beyond;
    const candidate = toCandidate(asking.duty);
    const place = `${name} signs r${asking.requestId}.${asking.attempt}`;
    const sign = async (): Promise<Uint8Array> => {
      const slow = world.noise.happens("signature slow", place);
      await clock.sleep(slow ? world.noise.longMs(place, SLOW_SIGNATURE_MS_MAX) : 0.4);
      if (world.noise.happens("signature failed", place)) throw new SignerError("internal", "the signature failed");
      const signature = new Uint8Array(SIGNATURE_BYTES);
      signature.set(candidate.signingRoot);
      return signature;
    };
    return guard.sign({ pubkey: key.pubkey, candidate, sign, deadlineMs });
  };

  const release = (key: SimulatedKey, { duty }: Asking, signature: Uint8Array): void => {
    const message = toMessage(duty);
    world.tell(() => `${name} RELEASES the signature of ${describeDuty(duty)} (${key.name})`);
    stats.signatures += 1;
    if (!bytesEqual(signature.subarray(0, 32), toCandidate(duty).signingRoot)) {
      world.broken.push(`${name} released the signature of another message than ${describeDuty(duty)}`);
    }
    if (isNew(duty, world.lost.get(key.name))) {
      world.broken.push(`${key.name} signed ${describeDuty(duty)} after acknowledged writes of it were lost`);
    }
    world.checker.released(key.name, message);
  };

  const boot = async (): Promise<void> => {
    while (alive) {
      try {
        await guard.track(world.keys.map(({ pubkey }) => ({ pubkey, registered: true })));
        break;
      } catch {
        await clock.sleep(RETRY_MS);
      }
    }
    if (!alive) return;
    enclave.state = "ready";
    events.onReady();
  };
  void boot();
  return enclave;
};

/** Whether a duty goes beyond what was acknowledged of a key whose records were lost since. */
const isNew = (duty: SimulatedDuty, lost: LostKey | undefined): boolean => {
  if (lost === undefined) return false;
  const { block, attestation } = lost.acknowledged;
  return duty.kind === "block" ? duty.slot > (block?.slot ?? -1) : duty.target > (attestation?.targetEpoch ?? -1);
};

const never = <Value>(): Promise<Value> => new Promise(() => undefined);
