import { execFileSync } from "node:child_process";
import { minimalChainConfig } from "@lodestar/config/configs";
import { genesisData, networksChainConfig } from "@lodestar/config/networks";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { toHex } from "#protocol/bytes.ts";
import { SignerError } from "#protocol/errors.ts";
import { loadNetwork, type NetworkOptions } from "#protocol/signing/load-network.ts";
import { networkFromJson, networkToJson } from "#protocol/signing/network.ts";

const noFile = (): string => {
  throw new Error("ENOENT");
};
const load = (options: Partial<NetworkOptions> & { network: string }) => loadNetwork({ readFile: noFile, ...options });
const refusal = (run: () => unknown): string => {
  try {
    run();
  } catch (error) {
    if (error instanceof SignerError && error.code === "bad_request") return error.detail;
    throw error;
  }
  throw new Error("was accepted");
};

const CONFIGS = { ...networksChainConfig, minimal: minimalChainConfig };
const GENESIS: Record<string, { genesisTime: number; genesisValidatorsRoot: string }> = genesisData;

describe("known networks", () => {
  it.each([
    ["mainnet", 32],
    ["hoodi", 32],
    ["sepolia", 32],
    ["gnosis", 16],
    ["chiado", 16],
    ["minimal", 8],
  ] as const)("%s is what @lodestar/config says", (name, slotsPerEpoch) => {
    const network = load({ network: name });
    const config = CONFIGS[name];
    expect(network.preset).toBe(config.PRESET_BASE);
    expect(network.name).toBe(config.CONFIG_NAME);
    expect(network.genesisForkVersion).toEqual(config.GENESIS_FORK_VERSION);
    expect(network.capellaForkVersion).toEqual(config.CAPELLA_FORK_VERSION);
    expect(network.preDenebForkVersions.map(toHex)).toEqual(
      [
        config.GENESIS_FORK_VERSION,
        config.ALTAIR_FORK_VERSION,
        config.BELLATRIX_FORK_VERSION,
        config.CAPELLA_FORK_VERSION,
      ].map(toHex),
    );
    expect(network.secondsPerSlot).toBe(config.SLOT_DURATION_MS / 1000);
    expect(network.slotsPerEpoch).toBe(slotsPerEpoch);
    expect(network.genesisTimeSeconds).toBe(GENESIS[name]?.genesisTime);
    expect(network.genesisValidatorsRoot && toHex(network.genesisValidatorsRoot)).toBe(
      GENESIS[name]?.genesisValidatorsRoot,
    );
    expect(Object.isFrozen(network)).toBe(true);
  });

  it("take overrides", () => {
    const root = new Uint8Array(32).fill(7);
    const network = load({ network: "mainnet", genesisValidatorsRoot: root, genesisTimeSeconds: 0 });
    expect(network.genesisValidatorsRoot).toEqual(root);
    expect(network.genesisTimeSeconds).toBe(0);
    const short = () => load({ network: "mainnet", genesisValidatorsRoot: new Uint8Array(31) });
    expect(refusal(short)).toContain("network.genesisValidatorsRoot: expected 32 bytes");
    for (const genesisTimeSeconds of [-1, 1.5, Number.NaN, 2 ** 53]) {
      expect(refusal(() => load({ network: "mainnet", genesisTimeSeconds }))).toContain("network.genesisTimeSeconds:");
    }
  });

  it("refuse another preset than their own", () => {
    expect(load({ network: "hoodi", preset: "mainnet" }).preset).toBe("mainnet");
    expect(refusal(() => load({ network: "hoodi", preset: "minimal" }))).toBe(
      'preset: expected mainnet, which network hoodi is built on, got "minimal"',
    );
    expect(refusal(() => load({ network: "gnosis", preset: "mainnet" }))).toContain("preset: expected gnosis");
  });

  it.each(["holesky", "Mainnet", "", "__proto__", "toString", "/no/such/config.yaml"])(
    "do not include %j",
    (network) => {
      expect(refusal(() => load({ network }))).toBe(
        `network: expected mainnet, hoodi, sepolia, gnosis, chiado, minimal or the path of a readable config.yaml, got ${JSON.stringify(network)}`,
      );
    },
  );
});

const FILE: Record<string, string> = {
  PRESET_BASE: "'minimal'",
  CONFIG_NAME: "devnet-7",
  GENESIS_FORK_VERSION: "0x10000038",
  ALTAIR_FORK_VERSION: "0x20000038",
  BELLATRIX_FORK_VERSION: '"0x30000038"',
  CAPELLA_FORK_VERSION: "0x40000038",
  DENEB_FORK_VERSION: "0x50000038",
  SECONDS_PER_SLOT: "6",
  TERMINAL_TOTAL_DIFFICULTY: "115792089237316195423570985008687907853269984665640564039457584007913129638912",
  DEPOSIT_CONTRACT_ADDRESS: "0x4242424242424242424242424242424242424242",
};
const yaml = (changes: Record<string, string | undefined> = {}): string =>
  Object.entries({ ...FILE, ...changes })
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => `${key}: ${value}  # comment\n`)
    .join("");
const loadFile = (text: string, options: Partial<NetworkOptions> = {}) =>
  load({
    network: "/net/config.yaml",
    readFile: (path) => (path === "/net/config.yaml" ? text : noFile()),
    ...options,
  });

describe("networks from a config.yaml", () => {
  it("are read with versions as text", () => {
    const network = loadFile(yaml());
    expect(networkToJson(network)).toEqual({
      name: "devnet-7",
      preset: "minimal",
      forkVersions: ["0x10000038", "0x20000038", "0x30000038", "0x40000038"],
      secondsPerSlot: 6,
    });
    expect(network.slotsPerEpoch).toBe(8);
    expect(loadFile(yaml({ CONFIG_NAME: undefined })).name).toBe("custom");
    expect(loadFile(yaml({ SECONDS_PER_SLOT: undefined, SLOT_DURATION_MS: "1500" })).secondsPerSlot).toBe(1.5);
    expect(loadFile(yaml({ SLOT_DURATION_MS: "6000" })).secondsPerSlot).toBe(6);
    expect(loadFile(yaml(), { preset: "minimal", genesisTimeSeconds: 5 }).genesisTimeSeconds).toBe(5);
  });

  it("refuse another preset than PRESET_BASE", () => {
    expect(refusal(() => loadFile(yaml(), { preset: "mainnet" }))).toBe(
      'preset: expected minimal, which network /net/config.yaml is built on, got "mainnet"',
    );
  });

  it.each([
    ["PRESET_BASE", undefined, "PRESET_BASE: expected mainnet or minimal or gnosis, got nothing"],
    ["PRESET_BASE", "medium", 'PRESET_BASE: expected mainnet or minimal or gnosis, got "medium"'],
    ["PRESET_BASE", "[mainnet]", "got an array of 1"],
    ["GENESIS_FORK_VERSION", undefined, "GENESIS_FORK_VERSION: expected 4 bytes of 0x-hex, got nothing"],
    ["GENESIS_FORK_VERSION", "268435512", "GENESIS_FORK_VERSION: expected 4 bytes of 0x-hex"],
    ["ALTAIR_FORK_VERSION", "0x200000", "ALTAIR_FORK_VERSION: expected 4 bytes"],
    ["BELLATRIX_FORK_VERSION", "0x3000003g", "BELLATRIX_FORK_VERSION: expected 4 bytes"],
    ["CAPELLA_FORK_VERSION", "", "CAPELLA_FORK_VERSION: expected 4 bytes"],
    ["SECONDS_PER_SLOT", undefined, "SECONDS_PER_SLOT: expected 1..3600, got nothing"],
    ["SECONDS_PER_SLOT", "0", "SECONDS_PER_SLOT: expected 1..3600"],
    ["SECONDS_PER_SLOT", "-6", "SECONDS_PER_SLOT: expected 1..3600"],
    ["SECONDS_PER_SLOT", "0x6", "SECONDS_PER_SLOT: expected 1..3600"],
    ["SECONDS_PER_SLOT", "3601", "SECONDS_PER_SLOT: expected 1..3600"],
    ["SLOT_DURATION_MS", "12000", 'SECONDS_PER_SLOT: expected 12 as in SLOT_DURATION_MS, got "6"'],
    ["SLOT_DURATION_MS", "6e3", "SLOT_DURATION_MS: expected 1..3600000"],
    ["CONFIG_NAME", `"${"x".repeat(65)}"`, "network.name: expected 1..64 characters"],
  ])("refuse %s = %s", (member, value, expected) => {
    expect(refusal(() => loadFile(yaml({ [member]: value })))).toContain(expected);
  });

  it.each([
    ["nothing", ""],
    ["a list", "- PRESET_BASE"],
    ["broken YAML", "a: [1"],
    ["a key twice", `${yaml()}PRESET_BASE: mainnet\n`],
    ["two documents", `${yaml()}---\n${yaml()}`],
    ["an alias", `${yaml({ CONFIG_NAME: "&a x" })}b: *a\n`],
    ["a merge key from nowhere", "<<: {PRESET_BASE: minimal}\n"],
    ["an overlong text", "#".repeat(300_000)],
  ])("refuse %s, naming the file", (_, text) => {
    expect(refusal(() => loadFile(text))).toMatch(/^\/net\/config.yaml: /);
  });

  it("any text is a network or a bad request", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary", maxLength: 200 }), fc.nat(), (text, at) => {
        for (const input of [text, yaml().slice(0, at % yaml().length) + text]) {
          try {
            loadFile(input);
          } catch (error) {
            expect(error).toMatchObject({ name: "SignerError", code: "bad_request" });
          }
        }
      }),
    );
  });
});

describe("networks as plain data", () => {
  it("come back the same", () => {
    for (const network of ["mainnet", "chiado", "minimal"]) {
      const before = load({ network });
      expect(networkFromJson(JSON.parse(JSON.stringify(networkToJson(before))))).toEqual(before);
    }
  });

  const valid = networkToJson(load({ network: "hoodi" }));
  it.each([
    ["name", undefined],
    ["name", ""],
    ["name", "a\nb"],
    ["preset", "medium"],
    ["preset", null],
    ["forkVersions", valid.forkVersions.slice(1)],
    ["forkVersions", [...valid.forkVersions.slice(1), 5]],
    ["forkVersions", [...valid.forkVersions.slice(1), "10000910"]],
    ["forkVersions", "0x10000910"],
    ["secondsPerSlot", 0],
    ["secondsPerSlot", "12"],
    ["secondsPerSlot", Number.POSITIVE_INFINITY],
    ["secondsPerSlot", undefined],
    ["genesisValidatorsRoot", "0x00"],
    ["genesisValidatorsRoot", null],
    ["genesisTimeSeconds", "0"],
    ["genesisTimeSeconds", null],
    ["genesisTimeSeconds", -1],
  ])("refuse %s = %j", (member, value) => {
    expect(networkFromJson(valid).name).toBe("hoodi");
    expect(refusal(() => networkFromJson({ ...valid, [member]: value }))).toContain(`network.${member}`);
  });

  it("refuse unknown members and what is no object", () => {
    expect(refusal(() => networkFromJson({ ...valid, slotsPerEpoch: 32 }))).toMatch(
      /^network: expected only .*slotsPerEpoch/,
    );
    for (const value of [undefined, null, 1, "hoodi", [], true])
      expect(refusal(() => networkFromJson(value))).toContain("network: expected an object");
    fc.assert(fc.property(fc.jsonValue(), (value) => refusal(() => networkFromJson(value)).startsWith("network")));
  });
});

describe("loading a network", () => {
  it("loads no Lodestar code, which would fix the preset", () => {
    const script = `
      const { registerHooks } = await import("node:module");
      const seen = [];
      registerHooks({ load(url, context, next) { seen.push(url); return next(url, context); } });
      await import("#protocol/signing/network.ts");
      await import("#protocol/signing/types.ts");
      process.stdout.write(JSON.stringify(seen));
    `;
    const urls: string[] = JSON.parse(
      execFileSync(process.execPath, ["--input-type=module", "-e", script], { encoding: "utf8" }),
    );
    expect(urls.some((url) => url.endsWith("protocol/signing/network.ts"))).toBe(true);
    expect(urls.filter((url) => /lodestar|chainsafe/.test(url))).toEqual([]);
  });
});
