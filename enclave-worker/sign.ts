/**
 * THE pipeline: parse strictly → signing root (compared with the sent one) → key → type → chain → clock bound → slashing
 * protection ∥ BLS signature → release. Every step can only refuse or fail; nothing is released on the way.
 */

import { SignerError } from "#protocol/errors.ts";
import type { SignCommand, SignOutcome } from "#protocol/messages/sign.ts";
import type { Duty } from "#protocol/signing/duty.ts";
import type { SignRequest } from "#protocol/signing/request.ts";
import { DUTY_CLASS_OF, type SigningType } from "#protocol/signing/types.ts";
import type { Candidate } from "#protocol/slashing/rules.ts";
import type { Engine, SignWork } from "./engine/engine.ts";
import type { KeySet } from "./keys/key-set.ts";
import { anotherChain, type ClockBoundOptions, checkClockBound, checkType } from "./policy.ts";
import { createRequestCache } from "./request-cache.ts";
import type { Protection } from "./slashing/protection.ts";

/** What the pipeline is made of. */
export interface PipelineModules extends ClockBoundOptions {
  readonly keys: KeySet;
  readonly engine: Engine;
  readonly protection: Protection;
  /** Whether this key is loaded and its record is known to stand in the store. */
  readonly isOpen: (pubkey: Uint8Array) => boolean;
  /** Types that may be signed; undefined: all. */
  readonly signingTypes?: ReadonlySet<SigningType> | undefined;
  /** Monotonic milliseconds. */
  readonly now: () => number;
}

/** Answers one signing request. @throws SignerError */
export type Pipeline = (command: SignCommand) => Promise<SignOutcome>;

/** Builds the pipeline. */
export const createPipeline = (modules: PipelineModules): Pipeline => {
  const { keys, engine, protection } = modules;
  const parse = createRequestCache(modules.network);

  /** Signs under its own hold of the key: the guard may have refused, and the key be gone, while the work still waits. */
  const sign = async (pubkey: Uint8Array, work: Omit<SignWork, "slot">): Promise<Uint8Array> => {
    const key = keys.hold(pubkey);
    if (key === undefined) throw new SignerError("unknown_key", "no such key is loaded");
    try {
      return await engine.sign({ slot: key.slot, ...work });
    } finally {
      key.release();
    }
  };

  const decide = async (request: SignRequest, pubkey: Uint8Array, deadlineMs: number): Promise<SignOutcome> => {
    const { type, duty, signingRoot, genesisValidatorsRoot } = request;
    const dutyClass = DUTY_CLASS_OF[type];
    const signature = () => sign(pubkey, { root: signingRoot, dutyClass, deadlineMs });
    const forbidden = checkType(type, modules.signingTypes);
    if (forbidden !== undefined) return forbidden;
    const beyond = checkClockBound(duty, modules);
    if (beyond !== undefined) return beyond;

    // DEPOSIT and VALIDATOR_REGISTRATION belong to no chain.
    if (genesisValidatorsRoot !== undefined && !(await protection.isOwnChain(genesisValidatorsRoot))) {
      return anotherChain(genesisValidatorsRoot, protection.genesisValidatorsRoot);
    }
    const candidate = toCandidate(duty, signingRoot);
    if (candidate === undefined) return { kind: "signed", signature: await signature() };
    return protection.guard().sign({ pubkey, candidate, sign: signature, deadlineMs });
  };

  return async (command) => {
    const deadlineMs = modules.now() + command.timeoutMs;
    const request = parse(command.body);
    const pubkey = command.pubkey.slice(); // outlives the receive buffer
    if (!modules.isOpen(pubkey)) throw new SignerError("unknown_key", "no such key is loaded");
    return decide(request, pubkey, deadlineMs);
  };
};

const toCandidate = (duty: Duty, signingRoot: Uint8Array): Candidate | undefined => {
  switch (duty.kind) {
    case "block":
      return { kind: "block", slot: duty.slot, signingRoot };
    case "attestation":
      return { kind: "attestation", sourceEpoch: duty.sourceEpoch, targetEpoch: duty.targetEpoch, signingRoot };
    case "other":
      return undefined;
  }
};
