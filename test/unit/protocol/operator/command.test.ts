/** Operator commands as bytes: every command comes back as it was, and nothing else is taken for one. */

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createAuthority } from "#enclave/operator/authority.ts";
import { SignerError } from "#protocol/errors.ts";
import { FRAME_PAYLOAD_BYTES_MAX, PAGE_ENTRIES_MAX } from "#protocol/limits.ts";
import {
  decodeOperatorCommand,
  encodeOperatorCommand,
  needsSignature,
  OPERATOR_COMMANDS,
  OPERATOR_SIGNATURE_BYTES,
  type OperatorCommand,
  type OperatorCommandName,
  operatorMessage,
} from "#protocol/operator/command.ts";
import { filledBytes, validator } from "../../../helpers/guarded.ts";
import { bytesOf, commandOf, OPERATOR, rawPublicKey } from "../../../helpers/operated.ts";

const exactly = (bytes: number) => fc.uint8Array({ minLength: bytes, maxLength: bytes });
const anyCommand: fc.Arbitrary<OperatorCommand> = fc.record({
  command: fc.constantFrom(...OPERATOR_COMMANDS),
  storeId: exactly(16),
  sequence: fc.integer({ min: 0, max: 0xffff_ffff }),
  epoch: fc.maxSafeNat(),
  slot: fc.maxSafeNat(),
  pubkeys: fc.array(exactly(48), { maxLength: 5 }),
});
const signatureFor = (command: OperatorCommandName): Uint8Array =>
  filledBytes(7, needsSignature(command) ? OPERATOR_SIGNATURE_BYTES : 0);
/** The text of a refusal; fails when the payload is taken for a command. */
const refusal = (payload: Uint8Array): string => {
  try {
    decodeOperatorCommand(payload);
  } catch (error) {
    if (error instanceof SignerError && error.code === "bad_request") return error.detail;
    throw error;
  }
  throw new Error("expected a refusal");
};

describe("a command", () => {
  it("comes back as it was, with its signature and the bytes that it covers", () => {
    fc.assert(
      fc.property(anyCommand, (command) => {
        const encoded = encodeOperatorCommand(command);
        const signature = signatureFor(command.command);
        const decoded = decodeOperatorCommand(Buffer.concat([encoded, signature]));
        expect(decoded.command).toEqual(command);
        expect(Buffer.from(decoded.encoded).equals(encoded)).toBe(true);
        expect(decoded.signature && Buffer.from(decoded.signature)).toEqual(
          needsSignature(command.command) ? Buffer.from(signature) : undefined,
        );
      }),
    );
  });

  it("keeps nothing of the buffer that it came in", () => {
    const payload = new Uint8Array(bytesOf({ command: "enable", sequence: 1, pubkeys: [validator(1)] }));
    const decoded = decodeOperatorCommand(payload);
    const before = JSON.stringify(decoded);
    payload.fill(0xff);
    expect(JSON.stringify(decoded)).toBe(before);
  });

  it("that could lower protection is signed, and no other", () => {
    expect(Object.fromEntries(OPERATOR_COMMANDS.map((name) => [name, needsSignature(name)]))).toEqual({
      watermark: false,
      "stop-at": false,
      disable: false,
      register: true,
      enable: true,
      recover: true,
      "rotate-mac": true,
    });
  });

  it("keeps its number on the wire", () => {
    const numbers = OPERATOR_COMMANDS.map((command) => encodeOperatorCommand(commandOf({ command }))[1]);
    expect(OPERATOR_COMMANDS.slice(0, 7)).toEqual([
      "watermark",
      "stop-at",
      "disable",
      "register",
      "enable",
      "recover",
      "rotate-mac",
    ]);
    expect(numbers).toEqual(OPERATOR_COMMANDS.map((_, index) => index));
  });

  it.each(OPERATOR_COMMANDS)("%s without or with a signature that is not due is refused", (command) => {
    const encoded = encodeOperatorCommand(commandOf({ command, pubkeys: [validator(1)] }));
    const signature = filledBytes(7, OPERATOR_SIGNATURE_BYTES);
    expect(refusal(needsSignature(command) ? encoded : Buffer.concat([encoded, signature]))).toMatch(
      needsSignature(command) ? /signature/ : /operator command/,
    );
  });
});

describe("other bytes", () => {
  it("are refused with a name, whatever they are", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 400 }), (payload) => {
        try {
          const { command, encoded, signature } = decodeOperatorCommand(payload);
          const again = Buffer.concat([encodeOperatorCommand(command), signature ?? Buffer.alloc(0)]);
          expect(again.equals(payload)).toBe(true);
          expect(Buffer.from(encoded).equals(payload.subarray(0, encoded.length))).toBe(true);
        } catch (error) {
          if (!(error instanceof SignerError)) throw error;
          expect(error.code).toBe("bad_request");
          expect(error.detail).toMatch(/operator command/);
        }
      }),
      { numRuns: 1_000 },
    );
  });

  it("of a valid command cut anywhere, or one longer, are refused", () => {
    for (const command of OPERATOR_COMMANDS) {
      const payload = bytesOf({ command, sequence: 1, pubkeys: [validator(1)] });
      for (let length = 0; length < payload.length; length += 1) refusal(payload.subarray(0, length));
      refusal(Buffer.concat([payload, Buffer.of(0)]));
      decodeOperatorCommand(payload);
    }
  });

  const patched = (offset: number, bytes: readonly number[]): Uint8Array => {
    const payload = Buffer.from(bytesOf({ command: "disable", pubkeys: [validator(1)] }));
    payload.set(bytes, offset);
    return payload;
  };
  it.each([
    ["version 0", 0, [0], /version: expected 1, got 0/],
    ["version 2", 0, [2], /version: expected 1, got 2/],
    ["an unknown command", 1, [OPERATOR_COMMANDS.length], /command: unknown/],
    ["command 255", 1, [255], /command: unknown/],
    ["an epoch of 2^53", 22, [0, 0x20, 0, 0, 0, 0, 0, 0], /epoch/],
    ["a slot of 2^53", 30, [0, 0x20, 0, 0, 0, 0, 0, 0], /slot/],
    ["a key too many", 38, [0, 0, 0, 2], /public key/],
    ["a key too few", 38, [0, 0, 0, 0], /operator command/],
    ["4 billion keys", 38, [255, 255, 255, 255], /expected at most 4096, got 4294967295/],
  ])("with %s are refused", (_name, offset, bytes, reason) => {
    expect(refusal(patched(offset, bytes))).toMatch(reason);
  });

  it("may name as many public keys as a page has, in one frame, and no more", () => {
    const pubkeys = Array.from({ length: PAGE_ENTRIES_MAX }, () => validator(1));
    const payload = bytesOf({ command: "enable", pubkeys });
    expect(payload.length).toBeLessThan(FRAME_PAYLOAD_BYTES_MAX);
    expect(decodeOperatorCommand(payload).command.pubkeys).toHaveLength(PAGE_ENTRIES_MAX);
    expect(refusal(bytesOf({ command: "enable", pubkeys: [...pubkeys, validator(2)] }))).toMatch(
      /expected at most 4096/,
    );
  });
});

describe("the operator's signature", () => {
  const authority = createAuthority(rawPublicKey(OPERATOR));

  it("covers every bit of a command", () => {
    for (const command of OPERATOR_COMMANDS.filter(needsSignature)) {
      const payload = bytesOf({ command, sequence: 3, epoch: 9, slot: 8, pubkeys: [validator(1)] });
      authority.check(decodeOperatorCommand(payload));
      for (let bit = 0; bit < payload.length * 8; bit += 1) {
        const flipped = Buffer.from(payload);
        flipped[bit >> 3] = (flipped[bit >> 3] ?? 0) ^ (1 << (bit & 7));
        expect(() => authority.check(decodeOperatorCommand(flipped)), `bit ${bit}`).toThrow(SignerError);
      }
    }
  });

  it("is over the command and a domain of its own", () => {
    const encoded = encodeOperatorCommand(commandOf({ command: "recover", sequence: 1 }));
    const message = Buffer.from(operatorMessage(encoded));
    expect(message.toString("latin1").startsWith("testudo-operator-command-v1\u0001")).toBe(true);
    expect(message.subarray(-encoded.length).equals(encoded)).toBe(true);
  });
});
