/** Interchange files as text and as a whole, over the streaming reader and writer. */

import { createFailures, renderInterchange, type ValidatorFailure } from "#protocol/slashing/interchange.ts";
import { type Chunks, readValidators, surveyInterchange } from "#protocol/slashing/interchange-reader.ts";
import { merge, type SlashingState } from "#protocol/slashing/rules.ts";

/** A file by validator. */
export interface ParsedInterchange {
  readonly validators: ReadonlyMap<string, SlashingState>;
  readonly failures: readonly ValidatorFailure[];
}

interface Options {
  readonly genesisValidatorsRoot: Uint8Array;
}

/** Both passes over the same chunks. @throws SignerError `bad_request` */
export const parseChunks = async (chunks: Iterable<Uint8Array>, options: Options): Promise<ParsedInterchange> => {
  const survey = await surveyInterchange(chunks as Chunks, options);
  const validators = new Map<string, SlashingState>();
  for await (const [pubkey, state] of readValidators(chunks, survey)) {
    const earlier = validators.get(pubkey);
    validators.set(pubkey, earlier === undefined ? state : merge(earlier, state));
  }
  return { validators, failures: survey.failures.named };
};

/** Parses text or bytes. @throws SignerError `bad_request` */
export const parseInterchange = (input: Uint8Array | string, options: Options): Promise<ParsedInterchange> =>
  parseChunks([typeof input === "string" ? Buffer.from(input) : input], options);

/** The file as one text. */
export const renderText = async (
  entries: Iterable<readonly [string, SlashingState]>,
  options: Options,
): Promise<string> => (await Array.fromAsync(renderInterchange(entries, options))).join("");

/** Failures of which each is named. */
export const failuresOf = (...named: ValidatorFailure[]) => {
  const collected = createFailures();
  for (const failure of named) collected.add(failure);
  return collected.failures;
};

/** Cuts bytes at these places (fractions of their length). */
export const cutAt = (bytes: Uint8Array, fractions: readonly number[]): Uint8Array[] => {
  const places = fractions.map((fraction) => Math.floor(fraction * bytes.length)).sort((a, b) => a - b);
  return [0, ...places].map((start, index) => bytes.subarray(start, places[index] ?? bytes.length));
};
