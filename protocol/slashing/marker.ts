/**
 * The store's marker: proof that the store was initialised for this chain and this group of enclaves, and the memory of
 * the lowest configuration version that is still allowed. Missing or different means: refuse.
 *
 * | offset | bytes | field                                                       |
 * |-------:|------:|-------------------------------------------------------------|
 * |      0 |     1 | version, 1                                                  |
 * |      1 |    16 | store id                                                    |
 * |     17 |    32 | genesis validators root                                     |
 * |     49 |     4 | minimum configuration version                               |
 * |     53 |     8 | created, unix seconds                                       |
 * |     61 |     4 | sequence of the last signed operator command                |
 * |     65 |     8 | suspect since, unix seconds; 0: trusted                     |
 * |     73 |     4 | sequence of the last recovery; 0: none                      |
 * |     77 |     2 | MAC key id                                                  |
 * |     79 |    32 | HMAC-SHA-256("testudo-slashing-marker-v1" ‖ bytes 0..78)    |
 */

import { ByteWriter, bytesEqual, ROOT_BYTES, toHex } from "../bytes.ts";
import { SignerError } from "../errors.ts";
import { createMacKeyring, MAC_BYTES, type MacKeys } from "./mac.ts";
import { STORE_ID_BYTES } from "./record.ts";

/** Length of a marker in bytes. */
export const MARKER_BYTES = 111;
/** Id of the one MAC key of a data folder; sealed configurations bring their own. */
export const DEVELOPMENT_MAC_KEY_ID = 1;
/** Configuration version of an installation without a sealed configuration. */
export const DEVELOPMENT_CONFIG_VERSION = 1;

const VERSION = 1;
const DOMAIN = Buffer.from("testudo-slashing-marker-v1");
const BODY_BYTES = MARKER_BYTES - MAC_BYTES;

/** What a store says about itself. */
export interface Marker {
  /** 16 random bytes, chosen once by `init`. */
  readonly storeId: Uint8Array;
  /** 32 bytes. */
  readonly genesisValidatorsRoot: Uint8Array;
  /** Lowest configuration version that enclaves may still load, 0..2^32-1. Only ever raised. */
  readonly configVersionMin: number;
  /** When the store was initialised, unix seconds, 0..2^53-1. For people only; nothing is decided by it. */
  readonly createdUnixSeconds: number;
  /** Sequence of the last signed operator command, 0..2^32-1: the next one must name a higher. Only ever raised. */
  readonly commandSequence: number;
  /** When an enclave found data lost or altered, unix seconds; 0: the store is trusted. Cleared by `recover` alone. */
  readonly suspectSinceUnixSeconds: number;
  /** Sequence of the last `recover`, 0..2^32-1; 0: none. Proof to whoever refuses that the store was recovered. */
  readonly recoverySequence: number;
}

/** The marker of a store that is initialised now. */
export const newMarker = (
  storeId: Uint8Array,
  { genesisValidatorsRoot, nowMs }: { genesisValidatorsRoot: Uint8Array; nowMs: number },
): Marker => ({
  storeId,
  genesisValidatorsRoot,
  configVersionMin: 0,
  createdUnixSeconds: Math.floor(nowMs / 1000),
  commandSequence: 0,
  suspectSinceUnixSeconds: 0,
  recoverySequence: 0,
});

/** What {@link decodeMarker} answers. Whether a verified marker is the *expected* one is {@link verifyMarker}'s matter. */
export type DecodedMarker =
  | { readonly kind: "marker"; readonly marker: Marker; readonly macKeyId: number }
  | { readonly kind: "unverifiable"; readonly reason: string };

/**
 * The bytes of a marker, {@link MARKER_BYTES} long, under the writing key.
 * @throws SignerError `bad_request` when a length or number is out of range.
 */
export const encodeMarker = (marker: Marker, keys: MacKeys): Uint8Array => {
  const keyring = createMacKeyring(keys);
  expectLength(marker.storeId, STORE_ID_BYTES, "store id");
  expectLength(marker.genesisValidatorsRoot, ROOT_BYTES, "genesis validators root");
  expectNumber(marker.configVersionMin, 0xffff_ffff, "minimum configuration version");
  expectNumber(marker.createdUnixSeconds, Number.MAX_SAFE_INTEGER, "created");
  expectNumber(marker.commandSequence, 0xffff_ffff, "command sequence");
  expectNumber(marker.suspectSinceUnixSeconds, Number.MAX_SAFE_INTEGER, "suspect since");
  expectNumber(marker.recoverySequence, 0xffff_ffff, "recovery sequence");
  const body = new ByteWriter()
    .u8(VERSION)
    .bytes(marker.storeId)
    .bytes(marker.genesisValidatorsRoot)
    .u32(marker.configVersionMin)
    .u64(marker.createdUnixSeconds)
    .u32(marker.commandSequence)
    .u64(marker.suspectSinceUnixSeconds)
    .u32(marker.recoverySequence)
    .u16(keyring.writingKeyId)
    .finish();
  return Buffer.concat([body, keyring.sign(Buffer.concat([DOMAIN, body]))]);
};

/** Total: any bytes give a verified marker or a reason. */
export const decodeMarker = (bytes: Uint8Array, keys: MacKeys): DecodedMarker => {
  if (bytes.length !== MARKER_BYTES) {
    return unverifiable(`length: expected ${MARKER_BYTES} bytes, got ${bytes.length}`);
  }
  const copy = Buffer.from(bytes);
  const version = copy.readUInt8(0);
  if (version !== VERSION) return unverifiable(`version: expected ${VERSION}, got ${version}`);
  const body = copy.subarray(0, BODY_BYTES);
  const macKeyId = copy.readUInt16BE(77);
  const problem = createMacKeyring(keys).problem(macKeyId, Buffer.concat([DOMAIN, body]), copy.subarray(BODY_BYTES));
  if (problem !== undefined) return unverifiable(problem);
  const created = Number(copy.readBigUInt64BE(53));
  const suspectSince = Number(copy.readBigUInt64BE(65));
  if (!Number.isSafeInteger(created)) return unverifiable("created: above 2^53-1");
  if (!Number.isSafeInteger(suspectSince)) return unverifiable("suspect since: above 2^53-1");
  const marker: Marker = {
    storeId: new Uint8Array(copy.subarray(1, 17)),
    genesisValidatorsRoot: new Uint8Array(copy.subarray(17, 49)),
    configVersionMin: copy.readUInt32BE(49),
    createdUnixSeconds: created,
    commandSequence: copy.readUInt32BE(61),
    suspectSinceUnixSeconds: suspectSince,
    recoverySequence: copy.readUInt32BE(73),
  };
  return { kind: "marker", marker, macKeyId };
};

/** What a reader of a store expects of its marker. */
export interface ExpectedMarker {
  /** 16 bytes. */
  readonly storeId: Uint8Array;
  /** 32 bytes; undefined: any chain. */
  readonly genesisValidatorsRoot: Uint8Array | undefined;
  /** Version of the configuration that is in force. */
  readonly configVersion: number;
}

/** What {@link verifyMarker} answers; the reason says what to do. */
export type VerifiedMarker =
  | { readonly kind: "ok"; readonly marker: Marker /** key it is written under */; readonly macKeyId: number }
  | { readonly kind: "refused"; readonly reason: string };

/** Whether these bytes are the marker of the store that is expected here. Total. */
export const verifyMarker = (bytes: Uint8Array, expected: ExpectedMarker, keys: MacKeys): VerifiedMarker => {
  const decoded = decodeMarker(bytes, keys);
  if (decoded.kind === "unverifiable") {
    return refused(`${decoded.reason}. The store belongs to another installation or was altered: ${OWN_FOLDER}`);
  }
  const { marker, macKeyId } = decoded;
  if (!bytesEqual(marker.storeId, expected.storeId)) {
    const detail = `the store is ${toHex(marker.storeId)}, expected ${toHex(expected.storeId)}`;
    return refused(`marker: ${detail}: ${OWN_FOLDER}`);
  }
  const chain = expected.genesisValidatorsRoot;
  if (chain !== undefined && !bytesEqual(marker.genesisValidatorsRoot, chain)) {
    const detail = `the store protects the chain ${toHex(marker.genesisValidatorsRoot)}, expected ${toHex(chain)}`;
    return refused(`marker: ${detail}: one store serves one network`);
  }
  if (expected.configVersion >= marker.configVersionMin) return { kind: "ok", marker, macKeyId };
  return refused(
    `marker: configuration version ${expected.configVersion} is below the minimum ${marker.configVersionMin}: ` +
      "use the newest configuration",
  );
};

const OWN_FOLDER = "use the data folder that it was initialised with, or another store";

const refused = (reason: string): VerifiedMarker => ({ kind: "refused", reason });

const unverifiable = (reason: string): DecodedMarker => ({ kind: "unverifiable", reason: `marker ${reason}` });

const expectLength = (bytes: Uint8Array, length: number, name: string): void => {
  if (bytes.length !== length) {
    throw new SignerError("bad_request", `${name}: expected ${length} bytes, got ${bytes.length}`);
  }
};

const expectNumber = (value: number, max: number, name: string): void => {
  if (!Number.isSafeInteger(value) || value < 0 || value > max) {
    throw new SignerError("bad_request", `${name}: expected 0..${max}, got ${value}`);
  }
};
