/**
 * Reads every response of a run and judges it, sharing no code with the signer.
 *
 * - slashable: two signatures of one validator that the chain would slash, by EIP-3076's complete rules
 *   (`test/helpers/slashing-oracle.ts`).
 * - backwards: a signature below an earlier one of the same validator that had been answered before anybody asked for
 *   it. The chain would not slash it; but a minimal database (EIP-3076) only does that when it lost a record, so this
 *   notices a loss long before chance makes a slashable pair of it. What was asked for before may have been recorded then,
 *   and an enclave that saw it recorded may repeat the very same signature later.
 * - wrong signature: not a signature of that validator over that message, in a sample; or two different ones for the
 *   same message (BLS signatures are unique).
 */

import { isSignatureOf } from "../helpers/duties.ts";
import { findSlashablePair, type SignedMessage } from "../helpers/slashing-oracle.ts";
import type { Exchange } from "./ledger.ts";

/** Something that must not be, in words. */
export interface Violation {
  readonly kind: "slashable" | "backwards" | "wrong signature";
  readonly pubkey: string;
  readonly detail: string;
}

/** Settings of the check. */
export interface CheckOptions {
  /** Signatures to verify, spread evenly over the run; one takes about a millisecond. */
  readonly verifyMax: number;
}

/** All violations of a run: at most one slashable pair for each validator. */
export const findViolations = (exchanges: readonly Exchange[], { verifyMax }: CheckOptions): Violation[] => {
  const signed = exchanges.filter(({ status }) => status === 200);
  const byKey = Map.groupBy(signed, ({ pubkey }) => pubkey);
  const violations: Violation[] = [];
  for (const [pubkey, own] of byKey) {
    const messages = new Map(own.map(({ message }) => [message.root, message]));
    const pair = findSlashablePair([...messages.values()]);
    if (pair !== undefined) violations.push({ kind: "slashable", pubkey, detail: pair });
    const asked = exchanges.filter((exchange) => exchange.pubkey === pubkey);
    violations.push(...findBackwards(own, firstAskedMs(asked)), ...findDifferent(own));
  }
  return [...violations, ...findWrong(signed, verifyMax)];
};

/** When each message was asked for first, whatever came of it; by root. */
const firstAskedMs = (exchanges: readonly Exchange[]): ReadonlyMap<string, number> => {
  const first = new Map<string, number>();
  for (const { message, startMs } of exchanges) {
    first.set(message.root, Math.min(startMs, first.get(message.root) ?? Number.POSITIVE_INFINITY));
  }
  return first;
};

/** Signatures in the order of their first asking, each against all that were answered before that. */
const findBackwards = (signed: readonly Exchange[], firstAsked: ReadonlyMap<string, number>): Violation[] => {
  const askedMs = ({ message, startMs }: Exchange): number => firstAsked.get(message.root) ?? startMs;
  const asked = signed.toSorted((left, right) => askedMs(left) - askedMs(right));
  const answered = signed.toSorted((left, right) => left.endMs - right.endMs);
  const highest = { slot: -1, source: -1, target: -1 };
  let next = 0;
  return asked.flatMap((exchange) => {
    const { pubkey, message } = exchange;
    const beforeMs = askedMs(exchange);
    for (; next < answered.length && (answered[next] as Exchange).endMs < beforeMs; next += 1) {
      raise(highest, (answered[next] as Exchange).message);
    }
    const isBehind =
      message.kind === "block"
        ? message.slot < highest.slot
        : message.source < highest.source || message.target < highest.target;
    if (!isBehind) return [];
    return [{ kind: "backwards", pubkey, detail: `${JSON.stringify(message)} after ${JSON.stringify(highest)}` }];
  });
};

const raise = (highest: { slot: number; source: number; target: number }, message: SignedMessage): void => {
  if (message.kind === "block") highest.slot = Math.max(highest.slot, message.slot);
  else {
    highest.source = Math.max(highest.source, message.source);
    highest.target = Math.max(highest.target, message.target);
  }
};

const findDifferent = (signed: readonly Exchange[]): Violation[] => {
  const first = new Map<string, string>();
  return signed.flatMap(({ pubkey, message, body }) => {
    const signature = first.get(message.root) ?? body;
    first.set(message.root, signature);
    if (signature === body) return [];
    return [{ kind: "wrong signature", pubkey, detail: `two signatures of ${JSON.stringify(message)}` }];
  });
};

const findWrong = (signed: readonly Exchange[], verifyMax: number): Violation[] => {
  const step = Math.max(1, Math.floor(signed.length / verifyMax));
  const sample = signed.filter((_, index) => index % step === 0).slice(0, verifyMax);
  return sample
    .filter(({ body, pubkey, message }) => !isValid(body, { pubkey, root: message.root }))
    .map(({ pubkey, message }) => ({
      kind: "wrong signature",
      pubkey,
      detail: `does not verify: ${JSON.stringify(message)}`,
    }));
};

const isValid = (signature: string, of: { pubkey: string; root: string }): boolean => {
  try {
    return isSignatureOf(signature, of);
  } catch {
    return false; // no signature at all
  }
};
