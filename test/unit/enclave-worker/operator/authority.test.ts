/** Whose word the enclave takes. */

import { sign } from "node:crypto";
import { describe, expect, it } from "vitest";
import { createAuthority } from "#enclave/operator/authority.ts";
import { decodeOperatorCommand, encodeOperatorCommand } from "#protocol/operator/command.ts";
import { filledBytes, validator } from "../../../helpers/guarded.ts";
import { bytesOf, commandOf, OPERATOR, rawPublicKey, received, STRANGER } from "../../../helpers/operated.ts";

const authority = createAuthority(rawPublicKey(OPERATOR));
const REFUSED = expect.objectContaining({
  code: "bad_request",
  detail: "operator command: not signed by the operator of this installation",
});

describe("the authority", () => {
  it.each(["register", "enable", "recover", "rotate-mac"] as const)("takes %s from its operator alone", (command) => {
    const wanted = { command, sequence: 1, pubkeys: [validator(1)] };
    authority.check(received(wanted));
    expect(() => authority.check(received(wanted, STRANGER))).toThrow(REFUSED);
  });

  it("refuses what carries no signature", () => {
    expect(() => authority.check(received({ command: "disable" }))).toThrow(REFUSED);
  });

  it("refuses another command's signature, and one without the domain", () => {
    const encoded = encodeOperatorCommand(commandOf({ command: "enable", sequence: 1 }));
    const other = bytesOf({ command: "enable", sequence: 2 });
    const bare = sign(null, encoded, OPERATOR.privateKey);
    for (const signature of [other.subarray(-64), bare, filledBytes(0, 64), filledBytes(0xff, 64)]) {
      expect(() => authority.check(decodeOperatorCommand(Buffer.concat([encoded, signature])))).toThrow(REFUSED);
    }
    authority.check(
      decodeOperatorCommand(
        Buffer.concat([encoded, bytesOf(commandOf({ command: "enable", sequence: 1 })).subarray(-64)]),
      ),
    );
  });

  it.each([0, 31, 33, 64])("has no key of %i bytes", (length) => {
    expect(() => createAuthority(filledBytes(9, length))).toThrow(
      expect.objectContaining({ code: "bad_request", detail: "operator key: expected 32 bytes of Ed25519" }),
    );
  });
});
