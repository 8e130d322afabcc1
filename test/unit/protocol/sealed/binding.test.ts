/** Which bundles may be opened under a configuration. */

import { randomBytes } from "node:crypto";
import { describe, expect, it } from "vitest";
import { checkKeyBundle, checkSecretsBundle } from "#protocol/sealed/binding.ts";
import { sealSecrets, secretsDigestOf } from "#protocol/sealed/sealed-secrets.ts";
import {
  bytes,
  CONFIGURATION,
  flipBit,
  KEYS_HEADER,
  OTHER_AUTHORITY,
  OTHER_VALUES,
  refusal,
  SECRETS_HEADER,
} from "./bundles.ts";

/** What each difference of a header is called. */
const NAMES = {
  kind: /kind: the configuration has keys, the bundle configuration-secrets/,
  authority: /authority: the configuration has 0x.*, the bundle 0x/,
  group: /group: the configuration has mainnet-a, the bundle mainnet-b/,
  storeId: /store id: the configuration has 0x51.*, the bundle 0x52/,
  kmsKeyArn: /KMS key ARN: the configuration has .*eu-central-1.*, the bundle .*eu-west-1/,
} as const;

describe("a key bundle", () => {
  it("of the same authority, group, store and KMS key may be opened, whichever bundle it is", () => {
    checkKeyBundle(KEYS_HEADER, CONFIGURATION);
    checkKeyBundle({ ...KEYS_HEADER, bundleId: OTHER_VALUES.bundleId, wrappedDataKey: bytes(1, 1) }, CONFIGURATION);
  });

  it.each(Object.entries(NAMES))("of another %s is refused by that name", (name, text) => {
    const header = { ...KEYS_HEADER, [name]: OTHER_VALUES[name as keyof typeof NAMES] };
    expect(refusal(() => checkKeyBundle(header, CONFIGURATION))).toMatch(text);
  });

  it("is refused under a configuration that a parent brings along, whatever else fits", () => {
    const forged = { ...CONFIGURATION, authority: OTHER_AUTHORITY.publicKey };
    expect(refusal(() => checkKeyBundle(KEYS_HEADER, forged))).toMatch(/^bundle: authority/);
  });

  it.each([
    [1, /generation: the configuration has 2\.\.3, the bundle 1, which is retired: import the keys again/],
    [2, undefined],
    [3, undefined],
    [4, /generation: the configuration has 2\.\.3, the bundle 4, which is newer: use the newest configuration/],
  ])("of generation %i", (generation, text) => {
    const check = () => checkKeyBundle({ ...KEYS_HEADER, generation }, CONFIGURATION);
    if (text === undefined) check();
    else expect(refusal(check)).toMatch(text);
  });
});

describe("a bundle of configuration secrets", () => {
  const dataKey = new Uint8Array(randomBytes(32));
  const seal = (password: string) =>
    sealSecrets(
      { header: SECRETS_HEADER, dataKey },
      { macKeys: { macKeys: new Map([[1, bytes(1, 32)]]), writingKeyId: 1 }, storePassword: Buffer.from(password) },
    );
  const sealed = seal("new");
  const configuration = { ...CONFIGURATION, secretsDigest: secretsDigestOf(SECRETS_HEADER, sealed) };
  const check =
    (change: Partial<typeof SECRETS_HEADER>, other = sealed) =>
    () =>
      checkSecretsBundle({ header: { ...SECRETS_HEADER, ...change }, sealed: other }, configuration);

  it("that the document names may be opened", () => {
    check({})();
    check({ wrappedDataKey: bytes(9, 9) })();
  });

  it("of another time is refused, though it is genuine", () => {
    expect(refusal(check({}, seal("old")))).toMatch(/secrets digest: .* belong to another configuration document/);
    expect(refusal(check({}, flipBit(sealed, 3)))).toMatch(/secrets digest/);
    expect(refusal(check({ bundleId: OTHER_VALUES.bundleId }))).toMatch(/secrets digest/);
  });

  const { kind: _kind, ...names } = NAMES;
  it.each(Object.entries(names))("of another %s is refused by that name", (name, text) => {
    expect(refusal(check({ [name]: OTHER_VALUES[name as keyof typeof names] }))).toMatch(text);
  });

  it("of another kind or generation is refused", () => {
    expect(refusal(check({ kind: "keys" }))).toMatch(
      /kind: the configuration has configuration-secrets, the bundle keys/,
    );
    for (const generation of [2, 4])
      expect(refusal(check({ generation }))).toMatch(/generation: the configuration has 3/);
  });
});
