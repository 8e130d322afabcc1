/** The data port's one operation: gateway asks, enclave signs or refuses. */

import { ByteReader, ByteWriter, PUBKEY_BYTES, SIGNATURE_BYTES } from "../bytes.ts";
import { SignerError } from "../errors.ts";
import { SIGN_DEADLINE_MS_MAX } from "../limits.ts";
import { REFUSAL_RULES, type RefusalRule } from "../slashing/rules.ts";

/** Operation number of "sign" on the data port. */
export const OPERATION_SIGN = 1;

/** One signing request as the gateway forwards it. */
export interface SignCommand {
  /** Public key that the client named, 48 bytes. */
  readonly pubkey: Uint8Array;
  /** Time left for the answer, 1..{@link SIGN_DEADLINE_MS_MAX}. */
  readonly timeoutMs: number;
  /** The HTTP body, byte for byte. */
  readonly body: Uint8Array;
}

/** What became of a request that did not fail. Denied is a value. */
export type SignOutcome =
  | { readonly kind: "signed" /** 96 bytes */; readonly signature: Uint8Array }
  | { readonly kind: "denied"; readonly rule: RefusalRule /** both numbers in plain words */; readonly detail: string };

/** Wire form of a {@link SignCommand}: u16 time, public key, body. */
export const encodeSignCommand = (command: SignCommand): Uint8Array =>
  new ByteWriter().u16(command.timeoutMs).bytes(command.pubkey).bytes(command.body).finish();

/** @throws SignerError `protocol_violation` */
export const decodeSignCommand = (payload: Uint8Array): SignCommand => {
  const reader = new ByteReader(payload, "sign command");
  const timeoutMs = reader.u16("timeout");
  if (timeoutMs < 1 || timeoutMs > SIGN_DEADLINE_MS_MAX) {
    throw new SignerError(
      "protocol_violation",
      `sign command: timeout: expected 1..${SIGN_DEADLINE_MS_MAX}, got ${timeoutMs}`,
    );
  }
  return { timeoutMs, pubkey: reader.bytes(PUBKEY_BYTES, "pubkey"), body: reader.rest() };
};

/** Wire form of a {@link SignOutcome}: u8 1 and the signature, or u8 0, u8 rule and text. */
export const encodeSignOutcome = (outcome: SignOutcome): Uint8Array =>
  outcome.kind === "signed"
    ? new ByteWriter().u8(1).bytes(outcome.signature).finish()
    : new ByteWriter().u8(0).u8(REFUSAL_RULES.indexOf(outcome.rule)).sizedText(outcome.detail).finish();

/** @throws SignerError `protocol_violation` */
export const decodeSignOutcome = (payload: Uint8Array): SignOutcome => {
  const reader = new ByteReader(payload, "sign outcome");
  const signed = reader.u8("kind");
  if (signed === 1) {
    const signature = reader.bytes(SIGNATURE_BYTES, "signature");
    reader.end();
    return { kind: "signed", signature };
  }
  const rule = REFUSAL_RULES[reader.u8("rule")];
  if (signed !== 0 || rule === undefined) throw new SignerError("protocol_violation", "sign outcome: unknown kind");
  const detail = reader.sizedText("detail");
  reader.end();
  return { kind: "denied", rule, detail };
};
