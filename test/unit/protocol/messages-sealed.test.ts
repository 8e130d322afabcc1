import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { SignerError } from "#protocol/errors.ts";
import { encodeSealedKeys } from "#protocol/messages/control.ts";
import {
  type ConfigureSealed,
  decodeConfigureSealed,
  decodeLoadBundle,
  encodeConfigureSealed,
  encodeLoadBundle,
} from "#protocol/messages/sealed.ts";

const text = fc.string({ unit: "binary", minLength: 1, maxLength: 40 });
const bytes = fc.uint8Array({ maxLength: 300 });
const credentials = fc.oneof(
  fc.record({ accessKeyId: text, secretAccessKey: text }),
  fc.record({ accessKeyId: text, secretAccessKey: text, sessionToken: text }),
);
const key = fc.record({
  pubkey: fc.uint8Array({ minLength: 48, maxLength: 48 }),
  sealed: fc.uint8Array({ maxLength: 80 }),
  registered: fc.boolean(),
});
const bundle = fc.record({ credentials, header: bytes, keys: fc.array(key, { minLength: 1, maxLength: 5 }) });
const configure = fc.record({
  choices: fc.record({
    cid: fc.nat(),
    threads: fc.nat(),
    signer: fc.constant("auto" as const),
    initialiseStore: fc.boolean(),
  }),
  credentials,
  configuration: fc.record({ document: bytes, signature: bytes, secretsHeader: bytes, sealedSecrets: bytes }),
});

const codeOf = (run: () => unknown): string => {
  try {
    run();
    return "accepted";
  } catch (error) {
    expect(error).toBeInstanceOf(SignerError);
    return (error as SignerError).code;
  }
};

describe("configureSealed", () => {
  it("comes back as it was, and leaves nothing in the message", () => {
    fc.assert(
      fc.property(configure, (message: ConfigureSealed) => {
        const payload = new Uint8Array(encodeConfigureSealed(message));
        expect(decodeConfigureSealed(payload)).toEqual(message);
        expect(payload.every((byte) => byte === 0)).toBe(true);
      }),
    );
  });

  it("is refused cut short, with a byte more, and as anything; and is wiped then, too", () => {
    fc.assert(
      fc.property(configure, fc.nat(), (message, at) => {
        const whole = encodeConfigureSealed(message);
        const cut = new Uint8Array(whole.subarray(0, at % whole.length));
        expect(codeOf(() => decodeConfigureSealed(cut))).toBe("protocol_violation");
        expect(cut.every((byte) => byte === 0)).toBe(true);
        expect(codeOf(() => decodeConfigureSealed(Buffer.concat([whole, Buffer.alloc(1)])))).toBe("protocol_violation");
      }),
    );
    fc.assert(fc.property(bytes, (any) => codeOf(() => decodeConfigureSealed(any)) === "protocol_violation"));
  });
});

describe("loadBundle", () => {
  it("comes back as it was, and leaves nothing in the message", () => {
    fc.assert(
      fc.property(bundle, (message) => {
        const payload = new Uint8Array(encodeLoadBundle(message));
        expect(decodeLoadBundle(payload)).toEqual(message);
        expect(payload.every((byte) => byte === 0)).toBe(true);
      }),
    );
  });

  it.each([
    [0, "protocol_violation"],
    [1, "accepted"],
    [1000, "accepted"],
    [1001, "protocol_violation"],
  ])("of %i keys: %s", (count, expected) => {
    const one = { pubkey: new Uint8Array(48), sealed: new Uint8Array(60), registered: false };
    const keys = Array.from({ length: count }, () => one);
    const payload = encodeLoadBundle({
      credentials: { accessKeyId: "a", secretAccessKey: "b" },
      header: new Uint8Array(3),
      keys,
    });
    expect(codeOf(() => decodeLoadBundle(payload))).toBe(expected);
    expect(encodeSealedKeys(keys).length).toBeLessThan(1024 * 1024);
  });

  it("is refused as anything, and with credentials longer than any", () => {
    fc.assert(fc.property(bytes, (any) => codeOf(() => decodeLoadBundle(any)) === "protocol_violation"));
    const long = { accessKeyId: "a", secretAccessKey: "b", sessionToken: "c".repeat(16 * 1024 + 1) };
    const keys = [{ pubkey: new Uint8Array(48), sealed: new Uint8Array(60), registered: true }];
    const payload = encodeLoadBundle({ credentials: long, header: new Uint8Array(3), keys });
    expect(codeOf(() => decodeLoadBundle(payload))).toBe("protocol_violation");
  });
});
