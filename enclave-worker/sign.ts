/**
 * THE pipeline: parse strictly → signing root (compared with the sent one) → key → chain → clock bound → slashing
 * protection ∥ BLS signature → release. Every step can only refuse or fail; nothing is released on the way.
 */

import { SignerError } from "#protocol/errors.ts";
import type { SignCommand, SignOutcome } from "#protocol/messages/sign.ts";
import type { Duty } from "#protocol/signing/duty.ts";
import { parseSignRequest, type SignRequest } from "#protocol/signing/request.ts";
import type { Candidate } from "#protocol/slashing/rules.ts";
import type { Engine } from "./engine/engine.ts";
import type { HeldKey, KeySet } from "./keys/key-set.ts";
import { anotherChain, type ClockBoundOptions, checkClockBound } from "./policy.ts";
import type { Protection } from "./slashing/protection.ts";

/** What the pipeline is made of. */
export interface PipelineModules extends ClockBoundOptions {
  readonly keys: KeySet;
  readonly engine: Engine;
  readonly protection: Protection;
  /** Monotonic milliseconds. */
  readonly now: () => number;
}

/** Answers one signing request. @throws SignerError */
export type Pipeline = (command: SignCommand) => Promise<SignOutcome>;

/** Builds the pipeline. */
export const createPipeline = (modules: PipelineModules): Pipeline => {
  return async (command) => {
    const deadlineMs = modules.now() + command.timeoutMs;
    const { pubkey } = command;
    const request = parseSignRequest(command.body, modules.network);
    const key = modules.keys.hold(pubkey);
    if (key === undefined) throw new SignerError("unknown_key", "no such key is loaded");
    try {
      return await signHeld({ request, key, pubkey: pubkey.slice(), deadlineMs }, modules);
    } finally {
      key.release();
    }
  };
};

interface Work {
  readonly request: SignRequest;
  readonly key: HeldKey;
  readonly pubkey: Uint8Array;
  readonly deadlineMs: number;
}

const signHeld = async (work: Work, modules: PipelineModules): Promise<SignOutcome> => {
  const { request, key, pubkey, deadlineMs } = work;
  const sign = () => modules.engine.sign(key.slot, request.signingRoot);
  const denied = checkClockBound(request.duty, modules);
  if (denied !== undefined) return denied;

  const candidate = toCandidate(request.duty, request.signingRoot);
  const root = request.genesisValidatorsRoot;
  if (root === undefined) {
    // DEPOSIT and VALIDATOR_REGISTRATION belong to no chain and to no slashing rule.
    if (candidate !== undefined) throw new SignerError("internal", "a slashable message without a chain");
    return { kind: "signed", signature: await sign() };
  }
  const guard = await modules.protection.guardFor(root);
  if (guard === undefined) return anotherChain(root, modules.protection.genesisValidatorsRoot);
  if (candidate === undefined) return { kind: "signed", signature: await sign() };
  return guard.sign({ pubkey, candidate, sign, deadlineMs });
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
