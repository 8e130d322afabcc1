/**
 * The bytes of a validator's register in the store: 136 bytes, versioned, canonical, with a MAC that binds them to the
 * validator, the chain and the store. The MAC is checked before any field is looked at.
 *
 * | offset | bytes | field                                                         |
 * |-------:|------:|---------------------------------------------------------------|
 * |      0 |     1 | version, 1                                                    |
 * |      1 |     1 | flags, see `FLAG_*`                                           |
 * |      2 |     2 | MAC key id                                                    |
 * |      4 |     4 | control generation                                            |
 * |      8 |     8 | block slot                                                    |
 * |     16 |    32 | block signing root                                            |
 * |     48 |     8 | source epoch                                                  |
 * |     56 |     8 | target epoch                                                  |
 * |     64 |    32 | attestation signing root                                      |
 * |     96 |     8 | stop epoch                                                    |
 * |    104 |    32 | HMAC-SHA-256(domain ‖ bytes 0..103 ‖ pubkey ‖ genesis validators root ‖ store id) |
 *
 * Integers are big-endian. An absent field is zero bytes and nothing else, so that one state has one encoding (under
 * one MAC key). A MAC does not show that a record is the *newest*: that is what floors are for (`isBehind`).
 */

import { PUBKEY_BYTES, ROOT_BYTES } from "../bytes.ts";
import { SignerError } from "../errors.ts";
import { createMacKeyring, type MacKeys } from "./mac.ts";
import type { AttestationWatermark, BlockWatermark, SlashingState } from "./rules.ts";

/** Length of a record in bytes. */
export const RECORD_BYTES = 136;
/** Length of a store id in bytes: 128 random bits. */
export const STORE_ID_BYTES = 16;

const VERSION = 1;
const DOMAIN = Buffer.from("testudo-slashing-record-v1");
/** Length of a record without its MAC. */
const BODY_BYTES = 104;

const FLAG_BLOCK = 1;
const FLAG_BLOCK_ROOT = 2;
const FLAG_ATTESTATION = 4;
const FLAG_ATTESTATION_ROOT = 8;
const FLAG_DISABLED = 16;
const FLAG_STOP_AT = 32;
const FLAGS_ALL = 63;

/** What a codec is bound to. */
export interface RecordCodecOptions extends MacKeys {
  /** 32 bytes. */
  readonly genesisValidatorsRoot: Uint8Array;
  /** {@link STORE_ID_BYTES} bytes. */
  readonly storeId: Uint8Array;
}

/** What {@link RecordCodec.decode} answers. An unverifiable record must never be overwritten. */
export type DecodedRecord =
  | { readonly kind: "record"; readonly state: SlashingState; readonly macKeyId: number }
  | { readonly kind: "unverifiable"; readonly reason: string };

/** Turns states into records and back, for one chain, one store and one set of MAC keys. */
export interface RecordCodec {
  /**
   * The record of `state`, {@link RECORD_BYTES} long, under the writing key.
   * @throws SignerError `internal` when a length or number is out of range: parsers let none through.
   */
  encode(pubkey: Uint8Array, state: SlashingState): Uint8Array;
  /** Total: any bytes give a verified state or a reason. Roots are copies. */
  decode(pubkey: Uint8Array, bytes: Uint8Array): DecodedRecord;
}

/**
 * Makes the codec of one store. Encoding and decoding cost about 3 µs each, nearly all of it the HMAC.
 * @throws SignerError `bad_request` for wrong MAC keys, `internal` when the root or the store id has a wrong length.
 */
export const createRecordCodec = (options: RecordCodecOptions): RecordCodec => {
  const keyring = createMacKeyring(options);
  expectLength(options.genesisValidatorsRoot, ROOT_BYTES, "genesis validators root");
  expectLength(options.storeId, STORE_ID_BYTES, "store id");
  // One scratch message for all calls: they are synchronous, and the fixed parts need no second copy.
  const bodyStart = DOMAIN.length;
  const pubkeyStart = bodyStart + BODY_BYTES;
  const blank = Buffer.alloc(BODY_BYTES + PUBKEY_BYTES);
  const message = Buffer.concat([DOMAIN, blank, options.genesisValidatorsRoot, options.storeId]);
  const setMessage = (body: Uint8Array, pubkey: Uint8Array): void => {
    message.set(body, bodyStart);
    message.set(pubkey, pubkeyStart);
  };
  return {
    encode: (pubkey, state) => {
      expectLength(pubkey, PUBKEY_BYTES, "pubkey");
      const record = Buffer.allocUnsafe(RECORD_BYTES).fill(0);
      writeBody(record, state, keyring.writingKeyId);
      setMessage(record.subarray(0, BODY_BYTES), pubkey);
      record.set(keyring.sign(message), BODY_BYTES);
      return record;
    },
    decode: (pubkey, bytes) => {
      expectLength(pubkey, PUBKEY_BYTES, "pubkey");
      if (bytes.length !== RECORD_BYTES) {
        return unverifiable(`length: expected ${RECORD_BYTES} bytes, got ${bytes.length}`);
      }
      const record = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      const version = record.readUInt8(0);
      if (version !== VERSION) return unverifiable(`version: expected ${VERSION}, got ${version}`);
      const macKeyId = record.readUInt16BE(2);
      setMessage(record.subarray(0, BODY_BYTES), pubkey);
      const problem = keyring.problem(macKeyId, message, record.subarray(BODY_BYTES));
      if (problem !== undefined) return unverifiable(problem);
      return readBody(record, macKeyId);
    },
  };
};

/**
 * The state of a record that this process verified or made before, and kept where nobody else can write: its MAC is not
 * computed again. @throws SignerError `internal` for bytes that are no record
 */
export const readKeptRecord = (bytes: Uint8Array): SlashingState => {
  const record = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  expectLength(record, RECORD_BYTES, "record");
  const decoded = readBody(record, record.readUInt16BE(2));
  if (decoded.kind === "record") return decoded.state;
  throw new SignerError("internal", `a kept ${decoded.reason}`);
};

const writeBody = (record: Buffer, { block, attestation, control }: SlashingState, macKeyId: number): void => {
  let flags = 0;
  record.writeUInt8(VERSION, 0);
  record.writeUInt16BE(macKeyId, 2);
  if (!Number.isInteger(control.generation) || control.generation < 0 || control.generation > 0xffff_ffff) {
    throw new SignerError("internal", `control generation: expected 0..2^32-1, got ${control.generation}`);
  }
  record.writeUInt32BE(control.generation, 4);
  if (block !== undefined) {
    flags |= FLAG_BLOCK | (block.signingRoot === undefined ? 0 : FLAG_BLOCK_ROOT);
    writeU64(record, 8, { value: block.slot, name: "block slot" });
    writeRoot(record, 16, block.signingRoot);
  }
  if (attestation !== undefined) {
    flags |= FLAG_ATTESTATION | (attestation.signingRoot === undefined ? 0 : FLAG_ATTESTATION_ROOT);
    writeU64(record, 48, { value: attestation.sourceEpoch, name: "source epoch" });
    writeU64(record, 56, { value: attestation.targetEpoch, name: "target epoch" });
    writeRoot(record, 64, attestation.signingRoot);
  }
  if (control.disabled) flags |= FLAG_DISABLED;
  if (control.stopAtEpoch !== undefined) {
    flags |= FLAG_STOP_AT;
    writeU64(record, 96, { value: control.stopAtEpoch, name: "stop epoch" });
  }
  record.writeUInt8(flags, 1);
};

/** Reads a body whose MAC is right. What is refused here was never written by {@link writeBody}. */
const readBody = (record: Buffer, macKeyId: number): DecodedRecord => {
  const flags = record.readUInt8(1);
  if ((flags & ~FLAGS_ALL) !== 0) return unverifiable(`flags: unknown bits in ${flags}`);
  const stopAtEpoch = readU64(record, 96);
  const block = readBlock(record, flags);
  const attestation = readAttestation(record, flags);
  if (block === "malformed" || attestation === "malformed" || stopAtEpoch === undefined) {
    return unverifiable("a number is above 2^53-1, or an absent field is not zero");
  }
  if ((flags & FLAG_STOP_AT) === 0 && stopAtEpoch !== 0) return unverifiable("stop epoch: absent, yet not zero");
  const control = {
    generation: record.readUInt32BE(4),
    disabled: (flags & FLAG_DISABLED) !== 0,
    ...((flags & FLAG_STOP_AT) !== 0 && { stopAtEpoch }),
  };
  return { kind: "record", state: { ...(block && { block }), ...(attestation && { attestation }), control }, macKeyId };
};

const readBlock = (record: Buffer, flags: number): BlockWatermark | undefined | "malformed" => {
  const slot = readU64(record, 8);
  const present = (flags & FLAG_BLOCK) !== 0;
  const root = readRoot(record, 16, (flags & FLAG_BLOCK_ROOT) !== 0);
  if (slot === undefined || root === "malformed") return "malformed";
  if (!present) return slot === 0 && root === undefined ? undefined : "malformed";
  return { slot, ...(root && { signingRoot: root }) };
};

const readAttestation = (record: Buffer, flags: number): AttestationWatermark | undefined | "malformed" => {
  const sourceEpoch = readU64(record, 48);
  const targetEpoch = readU64(record, 56);
  const present = (flags & FLAG_ATTESTATION) !== 0;
  const root = readRoot(record, 64, (flags & FLAG_ATTESTATION_ROOT) !== 0);
  if (sourceEpoch === undefined || targetEpoch === undefined || root === "malformed") return "malformed";
  if (!present) return sourceEpoch === 0 && targetEpoch === 0 && root === undefined ? undefined : "malformed";
  return { sourceEpoch, targetEpoch, ...(root && { signingRoot: root }) };
};

const readRoot = (record: Buffer, offset: number, known: boolean): Uint8Array | undefined | "malformed" => {
  const root = record.subarray(offset, offset + ROOT_BYTES);
  if (known) return new Uint8Array(root);
  return root.every((byte) => byte === 0) ? undefined : "malformed";
};

/** Two 32-bit halves: a BigInt would cost more than the rest of the body. Undefined above 2^53-1. */
const readU64 = (record: Buffer, offset: number): number | undefined => {
  const value = record.readUInt32BE(offset) * 0x1_0000_0000 + record.readUInt32BE(offset + 4);
  return value <= Number.MAX_SAFE_INTEGER ? value : undefined;
};

const writeU64 = (record: Buffer, offset: number, field: { value: number; name: string }): void => {
  if (!Number.isSafeInteger(field.value) || field.value < 0) {
    throw new SignerError("internal", `${field.name}: expected 0..2^53-1, got ${field.value}`);
  }
  record.writeUInt32BE(Math.floor(field.value / 0x1_0000_0000), offset);
  record.writeUInt32BE(field.value % 0x1_0000_0000, offset + 4);
};

const writeRoot = (record: Buffer, offset: number, root: Uint8Array | undefined): void => {
  if (root === undefined) return;
  expectLength(root, ROOT_BYTES, "signing root");
  record.set(root, offset);
};

const unverifiable = (reason: string): DecodedRecord => ({ kind: "unverifiable", reason: `record ${reason}` });

/** Lengths are fixed by the types' contracts: a wrong one is a defect of the caller, or of its configuration. */
const expectLength = (bytes: Uint8Array, length: number, name: string): void => {
  if (bytes.length !== length) {
    throw new SignerError("internal", `${name}: expected ${length} bytes, got ${bytes.length}`);
  }
};
