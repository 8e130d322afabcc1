/** Configuration documents: every member checked, no other taken, and only as the authority signed them. */

import { createPublicKey, generateKeyPairSync, sign, verify } from "node:crypto";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { toHex } from "#protocol/bytes.ts";
import { operatorMessage } from "#protocol/operator/command.ts";
import {
  type Configuration,
  checkConfigurationVersion,
  encodeConfiguration,
  parseConfiguration,
  signConfiguration,
  verifyConfiguration,
} from "#protocol/sealed/configuration.ts";
import { CONFIGURATION_BYTES_MAX } from "#protocol/sealed/limits.ts";
import { SIGNING_TYPES } from "#protocol/signing/types.ts";
import { AUTHORITY, bytes, CONFIGURATION, flipBit, OTHER_AUTHORITY, refusal } from "./bundles.ts";

const DOCUMENT = encodeConfiguration(CONFIGURATION);
const SIGNATURE = signConfiguration(DOCUMENT, AUTHORITY.privateKey);
const NOT_SIGNED = /^configuration: expected the signature of authority 0x/;

type Json = Record<string, unknown>;
const parsed = (): Json => JSON.parse(Buffer.from(DOCUMENT).toString()) as Json;
const bytesOf = (value: unknown): Uint8Array => Buffer.from(typeof value === "string" ? value : JSON.stringify(value));
/** The document with the member at a path like `store.route.seeds` set, or removed when the value is undefined. */
const changed = (path: string, value: unknown): Uint8Array => {
  const document = parsed();
  const names = path.split(".");
  const parent = names.slice(0, -1).reduce((at, name) => at[name] as Json, document);
  if (value === undefined) delete parent[names.at(-1) as string];
  else parent[names.at(-1) as string] = value;
  return bytesOf(document);
};

describe("a configuration document", () => {
  it("comes back as it was", () => {
    expect(parseConfiguration(DOCUMENT)).toEqual(CONFIGURATION);
    const anyConfiguration: fc.Arbitrary<Configuration> = fc
      .record({
        version: fc.integer({ min: 1, max: 0xffff_ffff }),
        generations: fc.tuple(fc.integer({ min: 1, max: 0xffff_ffff }), fc.integer({ min: 1, max: 0xffff_ffff })),
        signingTypes: fc.subarray([...SIGNING_TYPES], { minLength: 1 }),
        clockBoundEpochs: fc.option(fc.nat(1000), { nil: undefined }),
        store: fc.constantFrom<Configuration["store"]>(
          { kind: "sqlite" },
          CONFIGURATION.store,
          {
            kind: "redis",
            database: 3,
            keyPrefix: "t:1",
            route: { topology: "single", addresses: [{ host: "::1", port: 1 }], seeds: 1 },
            durability: "aof-always",
          },
          {
            kind: "redis",
            database: 0,
            keyPrefix: "t",
            route: { topology: "cluster", addresses: [{ host: "a.example", port: 65_535 }], seeds: 1 },
            durability: "managed",
            tls: {},
          },
        ),
        secretsDigest: fc.uint8Array({ minLength: 32, maxLength: 32 }),
      })
      .map(({ generations, ...rest }) => ({
        ...CONFIGURATION,
        ...rest,
        generation: Math.max(...generations),
        oldestGeneration: Math.min(...generations),
      }));
    fc.assert(
      fc.property(anyConfiguration, (configuration) => {
        const document = encodeConfiguration(configuration);
        expect(parseConfiguration(document)).toEqual(configuration);
        const signature = signConfiguration(document, AUTHORITY.privateKey);
        expect(verifyConfiguration(document, signature, AUTHORITY.publicKey)).toEqual(configuration);
      }),
    );
  });

  it("lists the signing types in one order, whatever the document's", () => {
    const document = changed("signingTypes", ["VOLUNTARY_EXIT", "ATTESTATION"]);
    expect(parseConfiguration(document).signingTypes).toEqual(["ATTESTATION", "VOLUNTARY_EXIT"]);
  });

  it.each([
    "format",
    "authority",
    "version",
    "group",
    "storeId",
    "generation",
    "oldestGeneration",
    "network",
    "network.name",
    "network.preset",
    "network.forkVersions",
    "network.secondsPerSlot",
    "network.genesisValidatorsRoot",
    "store",
    "store.kind",
    "store.database",
    "store.keyPrefix",
    "store.route",
    "store.route.topology",
    "store.route.addresses",
    "store.route.seeds",
    "store.route.masterName",
    "store.durability",
    "kmsKeyArn",
    "signingTypes",
    "clockBoundEpochs",
    "secretsDigest",
  ])("without %s is refused by that name", (path) => {
    expect(refusal(() => parseConfiguration(changed(path, undefined)))).toContain(path.split(".").at(-1));
  });

  it.each([
    ["format", 2, /configuration\.format: expected 1; another Testudo made it, got 2/],
    ["authority", "0x12", /configuration\.authority: expected 32 bytes/],
    ["authority", toHex(AUTHORITY.publicKey).slice(2), /configuration\.authority: expected 32 bytes of 0x-hex/],
    ["version", 0, /configuration\.version: expected a whole number 1\.\.4294967295, got 0/],
    ["version", 2 ** 32, /configuration\.version/],
    ["version", 1.5, /configuration\.version/],
    ["version", "7", /configuration\.version/],
    ["version", null, /configuration\.version/],
    ["group", "Mainnet", /configuration\.group: expected 1\.\.64 of a-z/],
    ["group", 7, /configuration\.group: expected text/],
    ["storeId", "0x1234", /configuration\.storeId: expected 16 bytes/],
    ["generation", 0, /configuration\.generation/],
    ["oldestGeneration", 4, /configuration\.oldestGeneration: expected a whole number 1\.\.3, got 4/],
    ["network", "mainnet", /network: expected an object/],
    ["network.preset", "mainnet2", /network\.preset/],
    ["network.genesisValidatorsRoot", "0x00", /genesisValidatorsRoot: expected 32 bytes/],
    ["store.kind", "memory", /store\.kind: expected sqlite or redis/],
    ["store.username", "a b", /store\.username/],
    ["store.database", 1024, /store\.database: expected a whole number 0\.\.1023/],
    ["store.database", -1, /store\.database/],
    ["store.keyPrefix", "*", /store\.keyPrefix/],
    ["store.durability", "none", /store\.durability/],
    ["store.durability", "replicated:0", /store\.durability/],
    ["store.durability", "replicated:15", /store\.durability/],
    ["store.route.topology", "ring", /store\.route\.topology: expected single, sentinel, cluster/],
    ["store.route.topology", "single", /store\.route\.masterName: expected none/],
    ["store.route.masterName", "a b", /store\.route\.masterName/],
    ["store.route.addresses", [], /store\.route\.addresses: expected an array of 1\.\.16/],
    [
      "store.route.addresses",
      Array.from({ length: 17 }, (_, port) => ({ host: "a", port: port + 1 })),
      /an array of 1\.\.16/,
    ],
    [
      "store.route.addresses",
      [
        { host: "a", port: 1 },
        { host: "a", port: 1 },
      ],
      /addresses\[1\]: expected each address once/,
    ],
    ["store.route.addresses", [{ host: "a/b", port: 1 }], /addresses\[0\]\.host/],
    ["store.route.addresses", [{ host: "a", port: 0 }], /addresses\[0\]\.port: expected a whole number 1\.\.65535/],
    ["store.route.seeds", 4, /store\.route\.seeds: expected a whole number 1\.\.3/],
    ["store.tls.ca", "MIIB", /store\.tls\.ca: expected certificates in PEM/],
    ["store.tls", true, /store\.tls: expected an object/],
    ["kmsKeyArn", "arn:aws:kms:eu-central-1:111122223333:alias/a", /configuration\.kmsKeyArn: expected arn:aws:kms/],
    ["signingTypes", [], /configuration\.signingTypes: expected an array of at least one type/],
    ["signingTypes", ["ATTESTATION", "ATTESTATION"], /signingTypes\[1\]: expected each type once/],
    ["signingTypes", ["ROOT"], /signingTypes\[0\]: expected one of AGGREGATION_SLOT/],
    ["signingTypes", "ATTESTATION", /signingTypes/],
    ["clockBoundEpochs", 1001, /clockBoundEpochs: expected a whole number 0\.\.1000/],
    ["clockBoundEpochs", null, /clockBoundEpochs: expected "off" or a whole number/],
    ["clockBoundEpochs", "on", /clockBoundEpochs/],
    ["secretsDigest", "0x00", /configuration\.secretsDigest: expected 32 bytes/],
  ])("with %s = %j is refused", (path, value, text) => {
    expect(refusal(() => parseConfiguration(changed(path, value)))).toMatch(text);
  });

  it("with a clock bound and no genesis time is refused, without a bound it is not", () => {
    const document = parsed();
    delete (document.network as Json).genesisTimeSeconds;
    expect(refusal(() => parseConfiguration(bytesOf(document)))).toMatch(/clockBoundEpochs: expected "off" where/);
    document.clockBoundEpochs = "off";
    expect(parseConfiguration(bytesOf(document)).clockBoundEpochs).toBeUndefined();
  });

  it.each([
    "policy",
    "network.chainId",
    "store.password",
    "store.route.replicas",
    "store.tls.insecure",
    "store.route.addresses.0.user",
    "__proto__",
    "toString",
  ])("with an unknown member %s is refused", (path) => {
    const name = path.split(".").at(-1) as string;
    const text = Buffer.from(changed(path === "__proto__" ? "placeholder" : path, 1)).toString();
    const document = text.replace('"placeholder"', '"__proto__"');
    expect(refusal(() => parseConfiguration(bytesOf(document)))).toMatch(new RegExp(`expected only .*got "${name}"`));
  });

  it.each([
    ["at the top", '{"version":7,', '{"version":8,"version":7,'],
    ["by another spelling", '{"version":7,', '{"\\u0076ersion":8,"version":7,'],
    ["further down", '"topology":"sentinel"', '"topology":"single","topology":"sentinel"'],
    ["in an element", '"host":"10.0.0.1"', '"host":"10.6.6.6","host":"10.0.0.1"'],
  ])("with a member twice %s is refused", (_what, from, to) => {
    const { version, ...rest } = parsed();
    const text = JSON.stringify({ version, ...rest });
    expect(parseConfiguration(bytesOf(text))).toEqual(CONFIGURATION);
    expect(text).toContain(from);
    expect(refusal(() => parseConfiguration(bytesOf(text.replace(from, to))))).toMatch(
      /expected each member once, got/,
    );
  });

  it("allows one name in several objects", () => {
    // `host` and `port` stand three times in the document.
    expect(
      Buffer.from(DOCUMENT)
        .toString()
        .match(/"host"/g)?.length,
    ).toBe(3);
    expect(parseConfiguration(DOCUMENT)).toEqual(CONFIGURATION);
  });

  it("is refused at every shorter length, with something behind it, as no JSON, no UTF-8, or too long", () => {
    const end = DOCUMENT.length - 1; // the last byte is a newline
    for (let length = 0; length < end; length += 1) {
      expect(refusal(() => parseConfiguration(DOCUMENT.subarray(0, length)))).toMatch(/^configuration/);
    }
    const text = Buffer.from(DOCUMENT).toString();
    for (const bad of [`${text}{}`, `\ufeff${text}`, "[]", "null", "7", `${text.slice(0, -3)},}`]) {
      expect(refusal(() => parseConfiguration(bytesOf(bad)))).toMatch(/^configuration/);
    }
    const broken = Buffer.from(DOCUMENT);
    broken[broken.indexOf("mainnet")] = 0xff;
    expect(refusal(() => parseConfiguration(broken))).toMatch(/UTF-8/);
    const long = Buffer.concat([DOCUMENT, Buffer.alloc(CONFIGURATION_BYTES_MAX, 0x20)]);
    expect(refusal(() => parseConfiguration(long))).toMatch(/expected at most \d+ bytes/);
    expect(refusal(() => verifyConfiguration(long, SIGNATURE, AUTHORITY.publicKey))).toMatch(/expected at most/);
  });

  it("of anything is refused by name", () => {
    fc.assert(fc.property(fc.uint8Array(), (noise) => refusal(() => parseConfiguration(noise)).length > 0));
    fc.assert(
      fc.property(fc.json(), (json) => /^configuration/.test(refusal(() => parseConfiguration(bytesOf(json))))),
    );
  });

  it("is not made of values that it would not read", () => {
    expect(refusal(() => encodeConfiguration({ ...CONFIGURATION, version: 0 }))).toMatch(/configuration\.version/);
    const { genesisTimeSeconds: _time, ...network } = CONFIGURATION.network;
    expect(refusal(() => encodeConfiguration({ ...CONFIGURATION, network }))).toMatch(/clockBoundEpochs/);
  });
});

describe("a signed configuration", () => {
  it("is Ed25519 over a domain of its own and the exact bytes", () => {
    const message = Buffer.concat([Buffer.from("testudo-configuration-v1"), DOCUMENT]);
    expect(verify(null, message, createPublicKey(AUTHORITY.privateKey), SIGNATURE)).toBe(true);
    expect(verifyConfiguration(DOCUMENT, SIGNATURE, AUTHORITY.publicKey)).toEqual(CONFIGURATION);
  });

  it("is refused with any bit of the document or of the signature turned", () => {
    for (let bit = 0; bit < DOCUMENT.length * 8; bit += 1) {
      expect(refusal(() => verifyConfiguration(flipBit(DOCUMENT, bit), SIGNATURE, AUTHORITY.publicKey))).toMatch(
        NOT_SIGNED,
      );
    }
    for (let bit = 0; bit < SIGNATURE.length * 8; bit += 1) {
      expect(refusal(() => verifyConfiguration(DOCUMENT, flipBit(SIGNATURE, bit), AUTHORITY.publicKey))).toMatch(
        NOT_SIGNED,
      );
    }
  });

  it("is refused in another layout, for it is the bytes that are signed", () => {
    const compact = bytesOf(parsed());
    expect(parseConfiguration(compact)).toEqual(CONFIGURATION);
    expect(refusal(() => verifyConfiguration(compact, SIGNATURE, AUTHORITY.publicKey))).toMatch(NOT_SIGNED);
  });

  it("is refused for another authority, signed by another, or naming another", () => {
    const { privateKey, publicKey } = OTHER_AUTHORITY;
    expect(refusal(() => verifyConfiguration(DOCUMENT, SIGNATURE, publicKey))).toMatch(NOT_SIGNED);
    expect(refusal(() => signConfiguration(DOCUMENT, privateKey))).toMatch(/authority: expected 0x.*names 0x/);
    const foreign = sign(null, Buffer.concat([Buffer.from("testudo-configuration-v1"), DOCUMENT]), privateKey);
    expect(refusal(() => verifyConfiguration(DOCUMENT, foreign, AUTHORITY.publicKey))).toMatch(NOT_SIGNED);
    expect(refusal(() => verifyConfiguration(DOCUMENT, foreign, publicKey))).toMatch(
      /authority: expected 0x.*names 0x/,
    );
  });

  it("is refused with a signature or key of another length, or of another purpose", () => {
    expect(refusal(() => verifyConfiguration(DOCUMENT, SIGNATURE.subarray(1), AUTHORITY.publicKey))).toMatch(
      /64 bytes, got 63/,
    );
    expect(refusal(() => verifyConfiguration(DOCUMENT, SIGNATURE, AUTHORITY.publicKey.subarray(1)))).toMatch(
      /32 bytes of Ed25519/,
    );
    const asCommand = sign(null, operatorMessage(DOCUMENT), AUTHORITY.privateKey);
    expect(refusal(() => verifyConfiguration(DOCUMENT, asCommand, AUTHORITY.publicKey))).toMatch(NOT_SIGNED);
    const bare = sign(null, DOCUMENT, AUTHORITY.privateKey);
    expect(refusal(() => verifyConfiguration(DOCUMENT, bare, AUTHORITY.publicKey))).toMatch(NOT_SIGNED);
  });

  it("is signed neither when it is no configuration nor by a key of another kind", () => {
    expect(refusal(() => signConfiguration(changed("version", 0), AUTHORITY.privateKey))).toMatch(
      /configuration\.version/,
    );
    const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
    expect(refusal(() => signConfiguration(DOCUMENT, privateKey))).toMatch(/expected ed25519, got ec/);
  });

  it("with rubbish inside is refused though it is signed", () => {
    const rubbish = changed("store.kind", "memory");
    const signature = sign(
      null,
      Buffer.concat([Buffer.from("testudo-configuration-v1"), rubbish]),
      AUTHORITY.privateKey,
    );
    expect(refusal(() => verifyConfiguration(rubbish, signature, AUTHORITY.publicKey))).toMatch(/store\.kind/);
  });

  it("of an old version is refused, the least allowed and later ones are not", () => {
    expect(refusal(() => checkConfigurationVersion(CONFIGURATION, { minimum: 8 }))).toBe(
      "configuration: version: expected 8 or later, got 7: use the newest configuration",
    );
    for (const minimum of [0, 6, 7]) expect(checkConfigurationVersion(CONFIGURATION, { minimum })).toBeUndefined();
  });

  it("keeps its bytes apart from the parse: changing one later changes nothing", () => {
    const document = new Uint8Array(DOCUMENT);
    const configuration = verifyConfiguration(document, SIGNATURE, AUTHORITY.publicKey);
    document.fill(0);
    expect(configuration.secretsDigest).toEqual(bytes(0xd1, 32));
  });
});
