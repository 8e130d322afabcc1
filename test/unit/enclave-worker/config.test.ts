import { describe, expect, it } from "vitest";
import { attestedConfig, parseAttestedChoices, parseEnclaveConfig } from "#enclave/config.ts";
import { SignerError } from "#protocol/errors.ts";
import type { Configuration } from "#protocol/sealed/configuration.ts";
import { NAMED_NETWORKS } from "#protocol/signing/named-networks.ts";
import { CONFIGURATION } from "../protocol/sealed/bundles.ts";

const REDIS = { kind: "redis", database: 0, keyPrefix: "testudo:" };
const SETTINGS = {
  cid: 16,
  network: { name: "mainnet", ...NAMED_NETWORKS.mainnet },
  storeIdHex: `0x${"ab".repeat(16)}`,
  store: { kind: "sqlite" },
  initialiseStore: false,
  operatorKeyHex: `0x${"0d".repeat(32)}`,
  threads: 2,
  signer: "auto",
};
const outcome = (settings: unknown): string => {
  try {
    parseEnclaveConfig(settings);
    return "accepted";
  } catch (error) {
    return error instanceof SignerError ? `${error.code}: ${error.detail}` : `defect: ${String(error)}`;
  }
};

describe("enclave settings", () => {
  it("come out typed", () => {
    const config = parseEnclaveConfig({ ...SETTINGS, clockBoundEpochs: 1 });
    expect(config).toMatchObject({
      cid: 16,
      storeId: new Uint8Array(16).fill(0xab),
      store: { kind: "sqlite" },
      initialiseStore: false,
      clockBoundEpochs: 1,
      threads: 2,
      signer: "auto",
    });
    expect(config.network.slotsPerEpoch).toBe(32);
    expect(parseEnclaveConfig(SETTINGS).clockBoundEpochs).toBeUndefined();
  });

  it("take over nothing of the store's settings but what is known", () => {
    const { store } = parseEnclaveConfig({ ...SETTINGS, store: { ...REDIS, username: "signer", password: "no" } });
    expect(store).toEqual({ ...REDIS, username: "signer" });
    expect(parseEnclaveConfig({ ...SETTINGS, store: { kind: "sqlite", database: 3 } }).store).toEqual({
      kind: "sqlite",
    });
  });

  const VALID: [string, unknown][] = [
    ["cid", 0],
    ["cid", 0xffff_ffff],
    ["storeIdHex", "AB".repeat(16)],
    ["store", REDIS],
    ["store", { ...REDIS, database: 1023, keyPrefix: "a" }],
    ["store", { ...REDIS, keyPrefix: "x".repeat(64) }],
    ["initialiseStore", true],
    ["clockBoundEpochs", 0],
    ["clockBoundEpochs", 1000],
    ["threads", 1],
    ["threads", 64],
  ];
  it.each(VALID)("accept %s: %j", (name, value) => {
    expect(outcome({ ...SETTINGS, [name]: value })).toBe("accepted");
  });

  const INVALID: [string, unknown, string][] = [
    ["cid", -1, "cid: expected 0..4294967295"],
    ["cid", 2 ** 32, "cid: expected"],
    ["cid", "16", "cid: expected"],
    ["cid", undefined, "cid: expected"],
    ["cid", 1.5, "cid: expected"],
    ["network", undefined, "network: expected an object"],
    ["network", { ...SETTINGS.network, preset: "other" }, "network.preset"],
    ["storeIdHex", undefined, "storeIdHex: expected hex"],
    ["storeIdHex", "ab".repeat(15), "storeIdHex: expected 16 bytes"],
    ["storeIdHex", "ab".repeat(17), "storeIdHex: expected 16 bytes"],
    ["store", undefined, "store.kind: expected sqlite or redis"],
    ["store", null, "store.kind"],
    ["store", "sqlite", "store.kind"],
    ["store", { kind: "memory" }, "store.kind"],
    ["store", { ...REDIS, database: -1 }, "store.database: expected 0..1023"],
    ["store", { ...REDIS, database: 1024 }, "store.database"],
    ["store", { ...REDIS, database: "0" }, "store.database"],
    ["store", { ...REDIS, username: 5 }, "store.username"],
    ["store", { ...REDIS, keyPrefix: undefined }, "store.keyPrefix"],
    ["store", { ...REDIS, keyPrefix: "" }, "store.keyPrefix"],
    ["store", { ...REDIS, keyPrefix: "a b" }, "store.keyPrefix"],
    ["store", { ...REDIS, keyPrefix: "a\n" }, "store.keyPrefix"],
    ["store", { ...REDIS, keyPrefix: "x".repeat(65) }, "store.keyPrefix"],
    ["initialiseStore", undefined, "initialiseStore: expected true or false"],
    ["initialiseStore", "true", "initialiseStore"],
    ["initialiseStore", 1, "initialiseStore"],
    ["clockBoundEpochs", -1, "clockBoundEpochs: expected 0..1000"],
    ["clockBoundEpochs", 1001, "clockBoundEpochs"],
    ["clockBoundEpochs", null, "clockBoundEpochs"],
    ["clockBoundEpochs", Number.POSITIVE_INFINITY, "clockBoundEpochs"],
    ["threads", 0, "threads: expected 1..64"],
    ["threads", 65, "threads"],
    ["threads", undefined, "threads"],
    ["signer", undefined, "signer: expected auto, native, portable"],
    ["signer", "fast", "signer"],
    ["signer", true, "signer"],
  ];
  it.each(INVALID)("refuse %s: %j", (name, value, detail) => {
    const refused = outcome({ ...SETTINGS, [name]: value });
    expect(refused).toMatch(/^bad_request: /);
    expect(refused).toContain(detail);
  });

  it.each([[null], [undefined], ["settings"], [5], [[]], [{}]])("refuse %j as a whole", (settings) => {
    expect(outcome(settings)).toMatch(/^bad_request: /);
  });
});

describe("the choices of an attested enclave's parent", () => {
  const CHOICES = { cid: 17, threads: 2, signer: "auto", initialiseStore: true };
  const refusal = (choices: unknown): string => {
    try {
      parseAttestedChoices(choices);
      return "accepted";
    } catch (error) {
      return error instanceof SignerError ? `${error.code}: ${error.detail}` : `defect: ${String(error)}`;
    }
  };

  it("come out typed, and nothing else does", () => {
    const kms = { kmsEndpoint: "https://localhost:4566", kmsCa: "PEM" };
    expect(parseAttestedChoices({ ...CHOICES, ...kms })).toEqual({ ...CHOICES, ...kms });
    expect(parseAttestedChoices({ ...CHOICES, operatorKeyHex: "0x", store: { kind: "sqlite" } })).toEqual(CHOICES);
  });

  it.each([
    ["cid", -1],
    ["cid", undefined],
    ["threads", 0],
    ["threads", 65],
    ["signer", "fast"],
    ["initialiseStore", "yes"],
    ["initialiseStore", undefined],
    ["kmsEndpoint", 5],
    ["kmsCa", {}],
  ])("are refused with %s: %j", (name, value) => {
    const refused = refusal({ ...CHOICES, [name]: value });
    expect(refused).toMatch(/^bad_request: /);
    expect(refused).toContain(name);
  });

  it.each([[null], [undefined], ["text"], [[]], [{}]])("are refused as %j", (choices) => {
    expect(refusal(choices)).toMatch(/^bad_request: /);
  });

  it("decide nothing that the authority has signed", () => {
    const config = attestedConfig(CONFIGURATION, parseAttestedChoices(CHOICES));
    expect(config).toMatchObject({
      cid: 17,
      threads: 2,
      initialiseStore: true,
      network: CONFIGURATION.network,
      storeId: CONFIGURATION.storeId,
      store: CONFIGURATION.store,
      operatorKey: CONFIGURATION.authority,
      clockBoundEpochs: CONFIGURATION.clockBoundEpochs,
      sealed: CONFIGURATION,
    });
    expect([...(config.signingTypes ?? [])]).toEqual(CONFIGURATION.signingTypes);
  });

  it("come after the store's own rules", () => {
    const store = { ...CONFIGURATION.store, durability: "managed" } as Configuration["store"];
    expect(() => attestedConfig({ ...CONFIGURATION, store }, parseAttestedChoices(CHOICES))).toThrow(/store/);
  });
});
