/**
 * The independent checker: it is told of every signature that leaves an enclave, and judges them by pairs with the
 * complete rules of EIP-3076 (`test/helpers/slashing-oracle.ts`). Shares no code with the guard.
 */

import { findSlashablePair, type SignedMessage } from "../helpers/slashing-oracle.ts";
import { chanceOf } from "./random.ts";

/** The judge of one run. */
export interface Checker {
  /** A signature left an enclave: the untrusted parent has it, whether or not a client ever hears of it. */
  released(keyName: string, message: SignedMessage): void;
  /** Follows from everything it was told, in order. */
  readonly digest: number;
  /** What is slashable, in words, one entry a validator. */
  violations(): string[];
}

/** A checker that has seen nothing. */
export const createChecker = (): Checker => {
  const histories = new Map<string, Map<string, SignedMessage>>();
  let digest = 0;
  return {
    released: (keyName, message) => {
      const history = histories.get(keyName) ?? new Map<string, SignedMessage>();
      histories.set(keyName, history.set(message.root, message));
      digest = Math.floor(chanceOf(digest, `${keyName} ${message.root}`) * 2 ** 32) | 0;
    },
    get digest() {
      return digest;
    },
    violations: () =>
      [...histories].flatMap(([keyName, history]) => {
        const pair = findSlashablePair([...history.values()]);
        return pair === undefined ? [] : [`${keyName} signed ${pair}`];
      }),
  };
};
