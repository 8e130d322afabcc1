/**
 * Operator commands on slashing protection, as bytes. Those that only raise protection need nobody's signature; those
 * that could lower it carry the operator's Ed25519 signature, which the enclave checks.
 *
 *   0   u8   version, 1
 *   1   u8   command (index in `OPERATOR_COMMANDS`)
 *   2   16   store id
 *   18  u32  sequence: the time of signing in unix seconds, and above the marker's, so that no signed command works
 *            twice, not even when the marker was lost; 0 in unsigned commands
 *   22  u64  epoch
 *   30  u64  slot
 *   38  u32  number of public keys; 0: all validators of the store
 *   42       public keys, 48 bytes each
 *       64   signature over "testudo-operator-command-v1" and everything before it; only in signed commands
 */

import { ByteReader, ByteWriter, PUBKEY_BYTES } from "../bytes.ts";
import { SignerError } from "../errors.ts";
import { PAGE_ENTRIES_MAX } from "../limits.ts";
import { STORE_ID_BYTES } from "../slashing/record.ts";

/** Every command, in wire order: append only. */
export const OPERATOR_COMMANDS = [
  /** Raises the watermarks: nothing at or below epoch and slot is signed any more. */
  "watermark",
  /** No duty of this epoch or a later one is signed any more. */
  "stop-at",
  /** Nothing slashable is signed any more. */
  "disable",
  /** Makes the first record of new validators. */
  "register",
  /** Undoes `disable` and `stop-at`. */
  "enable",
  /** Raises every record above whatever may have been lost, and trusts the store again. */
  "recover",
  /** Makes the newest MAC key the writing one, and writes every record anew under it. */
  "rotate-mac",
] as const;
/** One of {@link OPERATOR_COMMANDS}. */
export type OperatorCommandName = (typeof OPERATOR_COMMANDS)[number];

/** Commands that could lower protection. */
const SIGNED = {
  watermark: false,
  "stop-at": false,
  disable: false,
  register: true,
  enable: true,
  recover: true,
  "rotate-mac": true,
} as const satisfies Record<OperatorCommandName, boolean>;

/** One command. Numbers that a command does not use are 0. */
export interface OperatorCommand {
  readonly command: OperatorCommandName;
  /** 16 bytes: a command for one store is worth nothing at another. */
  readonly storeId: Uint8Array;
  /** 0..2^32-1. */
  readonly sequence: number;
  /** 0..2^53-1. */
  readonly epoch: number;
  /** 0..2^53-1. */
  readonly slot: number;
  /** At most `PAGE_ENTRIES_MAX`; empty: all validators of the store. */
  readonly pubkeys: readonly Uint8Array[];
}

/** Length of an Ed25519 signature in bytes (RFC 8032). */
export const OPERATOR_SIGNATURE_BYTES = 64;
const VERSION = 1;
const DOMAIN = Buffer.from("testudo-operator-command-v1");

/** Whether a command needs the operator's signature. */
export const needsSignature = (command: OperatorCommandName): boolean => SIGNED[command];

/** The bytes of a command without its signature. */
export const encodeOperatorCommand = (command: OperatorCommand): Uint8Array => {
  const writer = new ByteWriter()
    .u8(VERSION)
    .u8(OPERATOR_COMMANDS.indexOf(command.command))
    .bytes(command.storeId)
    .u32(command.sequence)
    .u64(command.epoch)
    .u64(command.slot)
    .u32(command.pubkeys.length);
  for (const pubkey of command.pubkeys) writer.bytes(pubkey);
  return writer.finish();
};

/** What the operator signs: the domain and the command's bytes. */
export const operatorMessage = (encoded: Uint8Array): Uint8Array => Buffer.concat([DOMAIN, encoded]);

/** A received command: `encoded` is what `signature` must cover. */
export interface ReceivedOperatorCommand {
  readonly command: OperatorCommand;
  readonly encoded: Uint8Array;
  /** 64 bytes; undefined in commands that need none. */
  readonly signature: Uint8Array | undefined;
}

/** Total. @throws SignerError `bad_request` naming what is wrong */
export const decodeOperatorCommand = (payload: Uint8Array): ReceivedOperatorCommand => {
  try {
    return decode(payload);
  } catch (error) {
    throw new SignerError("bad_request", error instanceof SignerError ? error.detail : "operator command", {
      cause: error,
    });
  }
};

const decode = (payload: Uint8Array): ReceivedOperatorCommand => {
  const reader = new ByteReader(payload, "operator command");
  const version = reader.u8("version");
  if (version !== VERSION) throw wrong(`version: expected ${VERSION}, got ${version}`);
  const command = OPERATOR_COMMANDS[reader.u8("command")];
  if (command === undefined) throw wrong("command: unknown");
  const storeId = reader.bytes(STORE_ID_BYTES, "store id").slice();
  const sequence = reader.u32("sequence");
  const epoch = reader.safeU64("epoch");
  const slot = reader.safeU64("slot");
  const count = reader.u32("number of public keys");
  if (count > PAGE_ENTRIES_MAX) throw wrong(`public keys: expected at most ${PAGE_ENTRIES_MAX}, got ${count}`);
  const pubkeys = Array.from({ length: count }, () => reader.bytes(PUBKEY_BYTES, "public key").slice());
  const encoded = payload.subarray(0, payload.length - reader.remaining);
  const signature = needsSignature(command) ? reader.bytes(OPERATOR_SIGNATURE_BYTES, "signature").slice() : undefined;
  reader.end();
  return { command: { command, storeId, sequence, epoch, slot, pubkeys }, encoded: new Uint8Array(encoded), signature };
};

const wrong = (problem: string): SignerError => new SignerError("bad_request", `operator command: ${problem}`);
