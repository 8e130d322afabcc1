/**
 * The parts of the slashing protection interchange format, version 5 (https://eips.ethereum.org/EIPS/eip-3076): its
 * metadata, a signed block, a signed attestation, a public key; and the file as text, piece by piece. Reading a file is
 * `interchange-reader.ts`. Nothing here touches a store (`import.ts` and `export.ts` do) and controls do not travel.
 */

import { fromHex, PUBKEY_BYTES, quote, ROOT_BYTES, toHex } from "../bytes.ts";
import { SignerError } from "../errors.ts";
import type { AttestationWatermark, BlockWatermark, SlashingState } from "./rules.ts";

/** The only version of the format in use (EIP-3076 `interchange_format_version`). */
const FORMAT_VERSION = "5";
/** Decimal digits of 2^53-1. */
const DECIMAL = /^(?:0|[1-9][0-9]{0,15})$/;

/** A validator that could not be imported or exported, and why. */
export interface ValidatorFailure {
  /** `0x`-prefixed hex, or what stood in its place. */
  readonly pubkey: string;
  readonly reason: string;
}

/** Failures in detail: the first {@link FAILURES_NAMED_MAX}, and how many there are in all. */
export interface Failures {
  readonly count: number;
  readonly named: readonly ValidatorFailure[];
}

/** Failures that are kept with their reason; the others are counted. */
export const FAILURES_NAMED_MAX = 100;

/** Collects failures within bounds. */
export const createFailures = (): { add(failure: ValidatorFailure): void; readonly failures: Failures } => {
  const named: ValidatorFailure[] = [];
  let count = 0;
  return {
    add: (failure) => {
      count += 1;
      if (named.length < FAILURES_NAMED_MAX) named.push(failure);
    },
    get failures() {
      return { count, named };
    },
  };
};

/**
 * The genesis validators root of a file's `metadata`, 32 bytes.
 * @throws SignerError `bad_request` when it is malformed or of another version
 */
export const readMetadata = (value: unknown): Uint8Array => {
  const metadata = expectObject(value, "metadata");
  const version = metadata.interchange_format_version;
  if (version !== FORMAT_VERSION) {
    refuse(`interchange_format_version: expected "${FORMAT_VERSION}", got ${quote(version)}`);
  }
  return fromHex(
    expectText(metadata.genesis_validators_root, "genesis_validators_root"),
    ROOT_BYTES,
    "genesis_validators_root",
  );
};

/** @throws SignerError `bad_request` when a file of the chain `actual` is not for the chain `expected` */
export const checkGenesisRoot = (actual: Uint8Array, expected: Uint8Array): void => {
  if (toHex(actual) !== toHex(expected)) {
    refuse(`genesis_validators_root: expected ${toHex(expected)}, got ${toHex(actual)}`);
  }
};

/** A public key as `0x` lower-case hex. @throws SignerError `bad_request` */
export const readPubkey = (value: unknown): string =>
  toHex(fromHex(expectText(value, "pubkey"), PUBKEY_BYTES, "pubkey"));

/** An element of `signed_blocks`. @throws SignerError `bad_request` */
export const readBlock = (value: unknown): BlockWatermark => {
  const item = expectObject(value, "signed block");
  return { slot: readUint(item.slot, "slot"), ...readRoot(item.signing_root) };
};

/** An element of `signed_attestations`. @throws SignerError `bad_request` */
export const readAttestation = (value: unknown): AttestationWatermark => {
  const item = expectObject(value, "signed attestation");
  return {
    sourceEpoch: readUint(item.source_epoch, "source_epoch"),
    targetEpoch: readUint(item.target_epoch, "target_epoch"),
    ...readRoot(item.signing_root),
  };
};

/**
 * The interchange file of these validators (public key as `0x`-prefixed hex → state) in pieces, in their order, one block
 * and one attestation each at most. A watermark's root is left out where it is unknown.
 */
export async function* renderInterchange(
  entries: AsyncIterable<readonly [string, SlashingState]> | Iterable<readonly [string, SlashingState]>,
  { genesisValidatorsRoot }: { genesisValidatorsRoot: Uint8Array },
): AsyncGenerator<string> {
  const metadata = {
    interchange_format_version: FORMAT_VERSION,
    genesis_validators_root: toHex(genesisValidatorsRoot),
  };
  let piece = `{\n"metadata": ${JSON.stringify(metadata)},\n"data": [`;
  let separator = "\n";
  for await (const [pubkey, state] of entries) {
    piece += `${separator}${JSON.stringify(renderValidator(pubkey, state))}`;
    separator = ",\n";
    if (piece.length < PIECE_CHARS) continue;
    yield piece;
    piece = "";
  }
  yield `${piece}\n]\n}\n`;
}

/** Length at which a piece is handed on: some hundred validators, so that writing costs little. */
const PIECE_CHARS = 64 * 1024;

const renderValidator = (pubkey: string, { block, attestation }: SlashingState) => ({
  pubkey,
  signed_blocks: block === undefined ? [] : [renderBlock(block)],
  signed_attestations: attestation === undefined ? [] : [renderAttestation(attestation)],
});

const renderBlock = ({ slot, signingRoot }: BlockWatermark) => ({
  slot: String(slot),
  ...(signingRoot && { signing_root: toHex(signingRoot) }),
});

const renderAttestation = ({ sourceEpoch, targetEpoch, signingRoot }: AttestationWatermark) => ({
  source_epoch: String(sourceEpoch),
  target_epoch: String(targetEpoch),
  ...(signingRoot && { signing_root: toHex(signingRoot) }),
});

/** An absent root and `null` mean the same: not known. */
const readRoot = (value: unknown): { signingRoot?: Uint8Array } => {
  if (value === undefined || value === null) return {};
  return { signingRoot: fromHex(expectText(value, "signing_root"), ROOT_BYTES, "signing_root") };
};

/** A uint64 as decimal text (or a number). Above 2^53-1 it is refused: no chain gets there, but an attacker may try. */
const readUint = (value: unknown, name: string): number => {
  const number = typeof value === "string" && DECIMAL.test(value) ? Number(value) : value;
  if (typeof number === "number" && Number.isSafeInteger(number) && number >= 0) return number;
  return refuse(`${name}: expected 0..2^53-1, got ${quote(value)}`);
};

const expectObject = (value: unknown, name: string): Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value)
    ? (value as Record<string, unknown>)
    : refuse(`${name}: expected an object, got ${quote(value)}`);

const expectText = (value: unknown, name: string): string =>
  typeof value === "string" ? value : refuse(`${name}: expected hex text, got ${quote(value)}`);

const refuse = (detail: string): never => {
  throw new SignerError("bad_request", detail);
};
