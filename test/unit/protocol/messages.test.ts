import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { SignerError } from "#protocol/errors.ts";
import { KEYSTORE_BYTES_MAX, PAGE_ENTRIES_MAX, PASSWORD_BYTES_MAX, SIGN_DEADLINE_MS_MAX } from "#protocol/limits.ts";
import * as control from "#protocol/messages/control.ts";
import { decodeSignCommand, decodeSignOutcome, encodeSignCommand, encodeSignOutcome } from "#protocol/messages/sign.ts";
import * as store from "#protocol/messages/store.ts";
import { REFUSAL_RULES } from "#protocol/slashing/rules.ts";
import { STORE_VALUE_BYTES_MAX } from "#protocol/slashing/store.ts";

const exactly = (length: number): fc.Arbitrary<Uint8Array> => fc.uint8Array({ minLength: length, maxLength: length });
const pubkey = exactly(48);
const short = fc.uint8Array({ maxLength: 80 });
const value = fc.uint8Array({ maxLength: STORE_VALUE_BYTES_MAX });
const text = fc.string({ unit: "grapheme", maxLength: 40 });
const maybe = <T>(some: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> => fc.option(some, { nil: undefined });
const few = <T>(some: fc.Arbitrary<T>): fc.Arbitrary<T[]> => fc.array(some, { maxLength: 5 });
const withoutUndefined = <T extends object>(object: T): T => JSON.parse(JSON.stringify(object)) as T;

const status = fc
  .record({
    phase: fc.constantFrom(...control.ENCLAVE_PHASES),
    keys: fc.nat(),
    storeProblem: maybe(text),
    genesisValidatorsRootHex: maybe(text),
    storeInitialised: fc.boolean(),
    reachesStore: fc.boolean(),
    commandSequence: fc.nat(),
    inFlight: fc.nat(),
    counters: fc.record(Object.fromEntries(control.ENCLAVE_COUNTERS.map((name) => [name, fc.nat()]))),
  })
  .map((each) => withoutUndefined(each) as unknown as control.EnclaveStatus);

const configuration = fc.record({
  settings: fc.object({ withNullPrototype: false }).map((each) => withoutUndefined(each)),
  secrets: fc.record({
    sealingKey: exactly(32),
    macKeys: fc.record({
      macKeys: fc
        .dictionary(fc.constantFrom("1", "2", "65535"), exactly(32))
        .map((keys) => new Map(Object.entries(keys).map(([id, key]) => [Number(id), key]))),
      writingKeyId: fc.integer({ min: 0, max: 0xffff }),
    }),
    storePassword: short,
  }),
});
const sealedKey = fc.record({ pubkey, sealed: short, registered: fc.boolean() });
const report = fc.record({ loaded: fc.nat(), failures: few(fc.record({ pubkey, reason: text })) });
const outcome = fc.oneof(
  fc.record({ kind: fc.constant("signed" as const), signature: exactly(96) }),
  fc.record({ kind: fc.constant("denied" as const), rule: fc.constantFrom(...REFUSAL_RULES), detail: text }),
);
const casResult = fc.oneof(
  fc.constant({ kind: "stored" as const }),
  fc.record({ kind: fc.constant("conflict" as const), actual: maybe(value) }),
  fc.record({ kind: fc.constant("unknown" as const), detail: text }),
);
const keyed = fc.record({ key: pubkey, expected: maybe(value), next: value });
const unkeyed = fc.record({ key: fc.constant(undefined), expected: maybe(value), next: value });

/** Turns views and Buffers into plain Uint8Arrays, so that deep equality sees bytes only. */
const plain = (item: unknown): unknown => {
  if (item instanceof Uint8Array) return new Uint8Array(item);
  if (Array.isArray(item)) return item.map(plain);
  if (typeof item !== "object" || item === null) return item;
  return Object.fromEntries(Object.entries(item).map(([name, part]) => [name, plain(part)]));
};

interface Codec {
  readonly name: string;
  /** Encodes and decodes one random value; gives what went in and what came out. */
  readonly cases: fc.Arbitrary<{ input: unknown; encoded: Uint8Array; decoded: () => unknown }>;
  readonly decode: (payload: Uint8Array) => unknown;
  /** False: bytes behind the message belong to it (the body of a sign command) or it is JSON. */
  readonly exactLength: boolean;
}

const codec = <T>(
  name: string,
  parts: {
    values: fc.Arbitrary<T>;
    encode: (item: T) => Uint8Array;
    decode: (payload: Uint8Array) => unknown;
    exactLength?: boolean;
  },
): Codec => ({
  name,
  cases: parts.values.map((input) => {
    const encoded = parts.encode(input);
    return { input, encoded, decoded: () => parts.decode(encoded) };
  }),
  decode: parts.decode,
  exactLength: parts.exactLength ?? true,
});

const CODECS: readonly Codec[] = [
  codec("sign command", {
    values: fc.record({ timeoutMs: fc.integer({ min: 1, max: SIGN_DEADLINE_MS_MAX }), pubkey, body: short }),
    encode: encodeSignCommand,
    decode: decodeSignCommand,
    exactLength: false,
  }),
  codec("sign outcome", { values: outcome, encode: encodeSignOutcome, decode: decodeSignOutcome }),
  codec("configure", {
    values: configuration,
    encode: ({ settings, secrets }) => control.encodeConfigure(settings as never, secrets),
    decode: control.decodeConfigure,
  }),
  codec("open keystore", {
    values: fc.record({ keystore: short, password: short }),
    encode: ({ keystore, password }) => control.encodeOpenKeystore(keystore, password),
    decode: control.decodeOpenKeystore,
  }),
  codec("sealed key", {
    values: sealedKey,
    encode: control.encodeSealedKey,
    decode: control.decodeSealedKey,
  }),
  codec("sealed keys", {
    values: few(sealedKey),
    encode: control.encodeSealedKeys,
    decode: control.decodeSealedKeys,
  }),
  codec("public keys", { values: few(pubkey), encode: control.encodePubkeys, decode: control.decodePubkeys }),
  codec("load report", {
    values: report,
    encode: ({ loaded, failures }) => control.encodeLoadReport(loaded, failures),
    decode: (payload) => {
      const { loaded, failures } = control.decodeLoadReport(payload);
      return {
        loaded,
        failures: failures.map(({ pubkeyHex, reason }) => ({ pubkey: Buffer.from(pubkeyHex.slice(2), "hex"), reason })),
      };
    },
  }),
  codec("status", {
    values: status,
    encode: control.encodeStatus,
    decode: control.decodeStatus,
    exactLength: false,
  }),
  codec("store keys", { values: few(pubkey), encode: store.encodeKeys, decode: store.decodeKeys }),
  codec("store values", { values: few(maybe(value)), encode: store.encodeValues, decode: store.decodeValues }),
  codec("compare-and-set", {
    values: keyed,
    encode: store.encodeCompareAndSet,
    decode: (payload) => store.decodeCompareAndSet(payload, { keyed: true }),
  }),
  codec("compare-and-set of the marker", {
    values: unkeyed,
    encode: store.encodeCompareAndSet,
    decode: (payload) => store.decodeCompareAndSet(payload, { keyed: false }),
  }),
  codec("compare-and-set result", {
    values: casResult,
    encode: store.encodeCompareAndSetResult,
    decode: store.decodeCompareAndSetResult,
  }),
  codec("scan page", { values: maybe(pubkey), encode: store.encodeScanPage, decode: store.decodeScanPage }),
  codec("store entries", {
    values: few(fc.record({ key: pubkey, value })),
    encode: store.encodeEntries,
    decode: store.decodeEntries,
  }),
  codec("optional value", { values: maybe(value), encode: store.encodeOptional, decode: store.decodeOptional }),
  codec("durability", {
    values: fc.oneof(fc.constant({ ok: true as const }), fc.record({ ok: fc.constant(false as const), reason: text })),
    encode: store.encodeDurability,
    decode: store.decodeDurability,
  }),
];

/** Runs a decoder; anything but a value or a named failure is a defect. */
const decodesOrNames = (decode: Codec["decode"], payload: Uint8Array): void => {
  try {
    decode(payload);
  } catch (error) {
    expect(error).toBeInstanceOf(SignerError);
    expect(["protocol_violation", "bad_request"]).toContain((error as SignerError).code);
  }
};

describe.each(CODECS.map((each) => [each.name, each] as const))("%s", (_, { cases, decode, exactLength }) => {
  it("round-trips", () => {
    fc.assert(
      fc.property(cases, ({ input, decoded }) => {
        expect(plain(decoded())).toEqual(plain(input));
      }),
    );
  });

  it("decodes any bytes to a value or a named failure", () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 300 }), (payload) => decodesOrNames(decode, payload)));
  });

  it("decodes a damaged message to a value or a named failure", () => {
    fc.assert(
      fc.property(cases, fc.nat(), fc.nat(255), ({ encoded }, at, byte) => {
        const damaged = Uint8Array.from(encoded);
        damaged[at % damaged.length] = byte;
        decodesOrNames(decode, damaged);
      }),
    );
  });

  it.runIf(exactLength)("refuses a trailing byte and a missing one", () => {
    fc.assert(
      fc.property(cases, ({ encoded }) => {
        expect(() => decode(Buffer.concat([encoded, Buffer.alloc(1)]))).toThrow(/protocol_violation/);
        expect(() => decode(encoded.subarray(0, -1))).toThrow(/protocol_violation/);
      }),
    );
  });
});

describe("limits of messages", () => {
  it.each([
    [0, false],
    [1, true],
    [SIGN_DEADLINE_MS_MAX, true],
    [SIGN_DEADLINE_MS_MAX + 1, false],
  ])("a sign command of %i ms is taken: %s", (timeoutMs, valid) => {
    const payload = encodeSignCommand({ timeoutMs, pubkey: new Uint8Array(48), body: new Uint8Array(0) });
    if (valid) expect(decodeSignCommand(payload).timeoutMs).toBe(timeoutMs);
    else expect(() => decodeSignCommand(payload)).toThrow(/timeout: expected 1\.\.12000/);
  });

  it.each([
    [KEYSTORE_BYTES_MAX, PASSWORD_BYTES_MAX, true],
    [KEYSTORE_BYTES_MAX + 1, 0, false],
    [0, PASSWORD_BYTES_MAX + 1, false],
  ])("a keystore of %i bytes with a password of %i is taken: %s", (keystoreBytes, passwordBytes, valid) => {
    const payload = control.encodeOpenKeystore(new Uint8Array(keystoreBytes), new Uint8Array(passwordBytes));
    if (valid) control.decodeOpenKeystore(payload);
    else expect(() => control.decodeOpenKeystore(payload)).toThrow(/bad_request/);
  });

  it.each([
    ["public keys", control.decodePubkeys],
    ["sealed keys", control.decodeSealedKeys],
    ["store keys", store.decodeKeys],
    ["store values", store.decodeValues],
    ["store entries", store.decodeEntries],
  ])("a page of %s names its bound before it is read", (_, decode) => {
    const payload = Buffer.alloc(4);
    payload.writeUInt32BE(PAGE_ENTRIES_MAX + 1);
    expect(() => decode(payload)).toThrow(`expected at most ${PAGE_ENTRIES_MAX}`);
  });

  it("a stored value is bounded", () => {
    const payload = store.encodeOptional(new Uint8Array(STORE_VALUE_BYTES_MAX + 1));
    expect(() => store.decodeOptional(payload)).toThrow(/expected at most/);
  });
});

describe("messages that outlive the receive buffer", () => {
  it("own their key material", () => {
    const sealed = new Uint8Array([1, 2]);
    // As frames hand it over: a plain Uint8Array, because `Buffer.slice` would not copy.
    const payload = new Uint8Array(
      control.encodeSealedKeys([{ pubkey: new Uint8Array(48), sealed, registered: true }]),
    );
    const [key] = control.decodeSealedKeys(payload);
    payload.fill(9);
    expect(key?.sealed).toEqual(sealed);
  });
});
