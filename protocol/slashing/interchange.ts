/**
 * The slashing protection interchange format, version 5, as text and as states (https://eips.ethereum.org/EIPS/eip-3076).
 *
 * Histories are folded to their maxima at once: the highest block slot, the highest source and the highest target of
 * *all* attestations of a validator (perhaps of different ones), and the signing root at the highest slot and target,
 * when all entries there agree on it. Nothing here touches a store (`import.ts` does) and controls do not travel.
 */

import { fromHex, PUBKEY_BYTES, quote, ROOT_BYTES, toHex } from "../bytes.ts";
import { SignerError } from "../errors.ts";
import { type AttestationWatermark, type BlockWatermark, EMPTY_STATE, merge, type SlashingState } from "./rules.ts";

/** The only version of the format in use (EIP-3076 `interchange_format_version`). */
const FORMAT_VERSION = "5";
/** Longest accepted file: below V8's longest string (512 MiB), and 20,000 validators × 64 attestations of 200 bytes. */
export const INTERCHANGE_BYTES_MAX = 256 * 1024 * 1024;
/** Decimal digits of 2^53-1. */
const DECIMAL = /^(?:0|[1-9][0-9]{0,15})$/;

/** A validator that could not be imported or exported, and why. */
export interface ValidatorFailure {
  /** `0x`-prefixed hex, or a quotation of what stood in its place. */
  readonly pubkey: string;
  readonly reason: string;
}

/** An interchange file by validator. A validator with any malformed entry is in `failures` alone: nothing of it is used. */
export interface ParsedInterchange {
  /** By public key, `0x`-prefixed lower-case hex. */
  readonly validators: ReadonlyMap<string, SlashingState>;
  readonly failures: readonly ValidatorFailure[];
}

/**
 * Parses an interchange file (UTF-8 bytes or text). Fields that EIP-3076 does not name are ignored.
 * @throws SignerError `bad_request` when the file as a whole is unusable: not JSON, another version, another chain.
 */
export const parseInterchange = (
  input: Uint8Array | string,
  { genesisValidatorsRoot }: { genesisValidatorsRoot: Uint8Array },
): ParsedInterchange => {
  const file = expectObject(parseJson(input), "interchange");
  checkMetadata(expectObject(file.metadata, "metadata"), genesisValidatorsRoot);
  const validators = new Map<string, SlashingState>();
  const failures = new Map<string, string>();
  for (const entry of expectArray(file.data, "data")) {
    const pubkey = readPubkey(entry);
    try {
      const key = pubkey.ok ? pubkey.pubkeyHex : refuse(pubkey.reason);
      validators.set(key, merge(validators.get(key) ?? EMPTY_STATE, foldEntry(entry as Record<string, unknown>)));
    } catch (error) {
      if (!(error instanceof SignerError)) throw error;
      failures.set(pubkey.ok ? pubkey.pubkeyHex : pubkey.shown, error.detail);
    }
  }
  for (const pubkeyHex of failures.keys()) validators.delete(pubkeyHex);
  return { validators, failures: [...failures].map(([pubkey, reason]) => ({ pubkey, reason })) };
};

/**
 * The interchange file of these validators (public key as `0x`-prefixed hex → state), one block and one attestation
 * each at most, in order of public keys. A watermark's root is left out where it is unknown.
 */
export const renderInterchange = (
  entries: Iterable<readonly [string, SlashingState]>,
  { genesisValidatorsRoot }: { genesisValidatorsRoot: Uint8Array },
): string => {
  const sorted = [...entries].sort(([left], [right]) => (left < right ? -1 : Number(left > right)));
  const metadata = {
    interchange_format_version: FORMAT_VERSION,
    genesis_validators_root: toHex(genesisValidatorsRoot),
  };
  const data = sorted.map(([pubkey, { block, attestation }]) => ({
    pubkey,
    signed_blocks: block === undefined ? [] : [renderBlock(block)],
    signed_attestations: attestation === undefined ? [] : [renderAttestation(attestation)],
  }));
  return `${JSON.stringify({ metadata, data }, undefined, 2)}\n`;
};

const renderBlock = ({ slot, signingRoot }: BlockWatermark) => ({
  slot: String(slot),
  ...(signingRoot && { signing_root: toHex(signingRoot) }),
});

const renderAttestation = ({ sourceEpoch, targetEpoch, signingRoot }: AttestationWatermark) => ({
  source_epoch: String(sourceEpoch),
  target_epoch: String(targetEpoch),
  ...(signingRoot && { signing_root: toHex(signingRoot) }),
});

const parseJson = (input: Uint8Array | string): unknown => {
  if (input.length > INTERCHANGE_BYTES_MAX) {
    refuse(`interchange: expected at most ${INTERCHANGE_BYTES_MAX} bytes, got ${input.length}`);
  }
  try {
    return JSON.parse(typeof input === "string" ? input : new TextDecoder("utf-8", { fatal: true }).decode(input));
  } catch (cause) {
    throw new SignerError("bad_request", "interchange: expected JSON in UTF-8", { cause });
  }
};

const checkMetadata = (metadata: Record<string, unknown>, genesisValidatorsRoot: Uint8Array): void => {
  const version = metadata.interchange_format_version;
  if (version !== FORMAT_VERSION) {
    refuse(`interchange_format_version: expected "${FORMAT_VERSION}", got ${quote(version)}`);
  }
  const root = metadata.genesis_validators_root;
  const expected = toHex(genesisValidatorsRoot);
  if (typeof root !== "string" || toHex(fromHex(root, ROOT_BYTES, "genesis_validators_root")) !== expected) {
    refuse(`genesis_validators_root: expected ${expected}, got ${JSON.stringify(root)?.slice(0, 70)}`);
  }
};

type PubkeyField = { ok: true; pubkeyHex: string } | { ok: false; shown: string; reason: string };

const readPubkey = (entry: unknown): PubkeyField => {
  const pubkey = isObject(entry) ? entry.pubkey : undefined;
  if (typeof pubkey !== "string") {
    return { ok: false, shown: quote(pubkey), reason: `pubkey: expected hex text, got ${quote(pubkey)}` };
  }
  try {
    return { ok: true, pubkeyHex: toHex(fromHex(pubkey, PUBKEY_BYTES, "pubkey")) };
  } catch (error) {
    return { ok: false, shown: quote(pubkey), reason: error instanceof SignerError ? error.detail : "pubkey: not hex" };
  }
};

/** Folds one validator's history into its maxima. */
const foldEntry = (entry: Record<string, unknown>): SlashingState => {
  let state = EMPTY_STATE;
  for (const item of expectArray(entry.signed_blocks, "signed_blocks")) {
    state = merge(state, { ...EMPTY_STATE, block: readBlock(expectObject(item, "signed block")) });
  }
  for (const item of expectArray(entry.signed_attestations, "signed_attestations")) {
    state = merge(state, { ...EMPTY_STATE, attestation: readAttestation(expectObject(item, "signed attestation")) });
  }
  return state;
};

const readBlock = (item: Record<string, unknown>): BlockWatermark => ({
  slot: readUint(item.slot, "slot"),
  ...readRoot(item.signing_root),
});

const readAttestation = (item: Record<string, unknown>): AttestationWatermark => ({
  sourceEpoch: readUint(item.source_epoch, "source_epoch"),
  targetEpoch: readUint(item.target_epoch, "target_epoch"),
  ...readRoot(item.signing_root),
});

/** An absent root and `null` mean the same: not known. */
const readRoot = (value: unknown): { signingRoot?: Uint8Array } => {
  if (value === undefined || value === null) return {};
  if (typeof value !== "string") refuse(`signing_root: expected hex text, got ${quote(value)}`);
  return { signingRoot: fromHex(value as string, ROOT_BYTES, "signing_root") };
};

/** A uint64 as decimal text (or a number). Above 2^53-1 it is refused: no chain gets there, but an attacker may try. */
const readUint = (value: unknown, name: string): number => {
  const number = typeof value === "string" && DECIMAL.test(value) ? Number(value) : value;
  if (typeof number === "number" && Number.isSafeInteger(number) && number >= 0) return number;
  return refuse(`${name}: expected 0..2^53-1, got ${quote(value)}`);
};

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

const expectObject = (value: unknown, name: string): Record<string, unknown> =>
  isObject(value) ? value : refuse(`${name}: expected an object, got ${quote(value)}`);

const expectArray = (value: unknown, name: string): readonly unknown[] =>
  Array.isArray(value) ? value : refuse(`${name}: expected an array, got ${quote(value)}`);

const refuse = (detail: string): never => {
  throw new SignerError("bad_request", detail);
};
