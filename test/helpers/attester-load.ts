/**
 * Honest attesters: each validator asks for one vote after the other, with rising targets, over keep-alive connections,
 * and never for two votes that conflict. Every answer is kept, so that a test can say what was lost.
 */

import { setTimeout as sleep } from "node:timers/promises";
import { type Asked, attestation, isSignatureOf } from "./duties.ts";

/** What became of one request. */
export interface Outcome {
  readonly pubkey: string;
  readonly target: number;
  /** HTTP status; 0 when the connection failed. */
  readonly status: number;
  readonly body: string;
  readonly ms: number;
}

/** The last vote of a validator that was signed. */
export interface LastVote {
  readonly duty: Asked;
  readonly target: number;
  readonly signature: string;
}

/** Load that goes on until it is stopped. */
export interface AttesterLoad {
  /** Everything answered so far. */
  readonly outcomes: readonly Outcome[];
  /** By public key. */
  readonly last: ReadonlyMap<string, LastVote>;
  /** Takes no new vote, and waits for those under way. */
  stop(): Promise<void>;
}

/** Pause of a validator between two votes. */
const PAUSE_MS = 4;

/** Starts one attester for each key. Targets begin at `firstTarget`. */
export const startAttesters = (
  url: string,
  keys: readonly string[],
  { firstTarget = 1 }: { firstTarget?: number } = {},
): AttesterLoad => {
  const outcomes: Outcome[] = [];
  const last = new Map<string, LastVote>();
  let stopping = false;

  const attest = async (pubkey: string): Promise<void> => {
    for (let target = firstTarget; !stopping; target += 1) {
      const duty = attestation({ source: target - 1, target });
      const outcome = await ask(url, { pubkey, target, body: duty.body });
      outcomes.push(outcome);
      if (outcome.status === 200) last.set(pubkey, { duty, target, signature: outcome.body });
      await sleep(PAUSE_MS);
    }
  };
  const running = Promise.all(keys.map(attest));
  return {
    outcomes,
    last,
    stop: async () => {
      stopping = true;
      await running;
      for (const [pubkey, { duty, signature, target }] of last) {
        if (!isSignatureOf(signature, { pubkey, root: duty.root })) throw new Error(`vote ${target} does not verify`);
      }
    },
  };
};

/** `fetch` keeps its connections alive, one for each request under way. */
const ask = async (
  url: string,
  { pubkey, target, body }: { pubkey: string; target: number; body: unknown },
): Promise<Outcome> => {
  const startedMs = performance.now();
  const ended = (status: number, text: string): Outcome => ({
    pubkey,
    target,
    status,
    body: text,
    ms: performance.now() - startedMs,
  });
  try {
    const response = await fetch(`${url}/api/v1/eth2/sign/${pubkey}`, {
      method: "POST",
      headers: { "content-type": "application/json", accept: "text/plain" },
      body: JSON.stringify(body),
    });
    return ended(response.status, await response.text());
  } catch (error) {
    return ended(0, String(error));
  }
};
