/**
 * The interchange format read the plain way, by `JSON.parse` of the whole file: what the streaming reader is compared with.
 * It shares nothing with it but the rules' `merge` and hex.
 */

import { fromHex, toHex } from "#protocol/bytes.ts";
import { EMPTY_STATE, merge, type SlashingState } from "#protocol/slashing/rules.ts";

/** What a file says; `failed` are public keys, or the JSON of what stood in their place. */
export interface NaiveInterchange {
  readonly validators: Map<string, SlashingState>;
  readonly failed: Set<string>;
}

/** @throws when the file as a whole is unusable */
export const parseNaively = (
  bytes: Uint8Array,
  { genesisValidatorsRoot }: { genesisValidatorsRoot: Uint8Array },
): NaiveInterchange => {
  const file = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  if (!isObject(file) || !isObject(file.metadata) || !Array.isArray(file.data)) throw new Error("shape");
  if (file.metadata.interchange_format_version !== "5") throw new Error("version");
  if (toHex(hex(file.metadata.genesis_validators_root, 32)) !== toHex(genesisValidatorsRoot)) throw new Error("root");
  const validators = new Map<string, SlashingState>();
  const failed = new Set<string>();
  for (const entry of file.data) {
    let pubkey: string | undefined;
    try {
      if (!isObject(entry)) throw new Error("entry");
      pubkey = toHex(hex(entry.pubkey, 48));
      validators.set(pubkey, merge(validators.get(pubkey) ?? EMPTY_STATE, foldEntry(entry)));
    } catch {
      failed.add(pubkey ?? JSON.stringify(entry));
    }
  }
  for (const pubkey of failed) validators.delete(pubkey);
  return { validators, failed };
};

const foldEntry = (entry: Record<string, unknown>): SlashingState => {
  let state = EMPTY_STATE;
  for (const item of entry.signed_blocks as unknown[]) {
    if (!isObject(item)) throw new Error("block");
    state = merge(state, { ...EMPTY_STATE, block: { slot: uint(item.slot), ...root(item.signing_root) } });
  }
  if (!Array.isArray(entry.signed_blocks) || !Array.isArray(entry.signed_attestations)) throw new Error("arrays");
  for (const item of entry.signed_attestations) {
    if (!isObject(item)) throw new Error("attestation");
    const epochs = { sourceEpoch: uint(item.source_epoch), targetEpoch: uint(item.target_epoch) };
    state = merge(state, { ...EMPTY_STATE, attestation: { ...epochs, ...root(item.signing_root) } });
  }
  return state;
};

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

const hex = (value: unknown, length: number): Uint8Array => {
  if (typeof value !== "string") throw new Error("hex");
  return fromHex(value, length, "hex");
};

const root = (value: unknown): { signingRoot?: Uint8Array } =>
  value === undefined || value === null ? {} : { signingRoot: hex(value, 32) };

const uint = (value: unknown): number => {
  const big = typeof value === "string" && /^(0|[1-9]\d*)$/.test(value) ? BigInt(value) : value;
  const number = typeof big === "bigint" && big <= Number.MAX_SAFE_INTEGER ? Number(big) : big;
  if (typeof number !== "number" || !Number.isSafeInteger(number) || number < 0) throw new Error("number");
  return number;
};
