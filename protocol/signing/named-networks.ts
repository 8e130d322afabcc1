/**
 * The networks known by name. Written out, not imported: `@lodestar/config` loads `@lodestar/params`, which fixes the
 * preset of the process before we know it. A test holds this table against `@lodestar/config`.
 *
 * Sources: eth-clients/mainnet, /hoodi, /sepolia `metadata/config.yaml`; gnosischain/configs mainnet, chiado;
 * consensus-specs `configs/minimal.yaml`.
 */

/** SSZ presets that our SSZ library has. */
export const PRESETS = ["mainnet", "minimal", "gnosis"] as const;

/** One of {@link PRESETS}. */
export type Preset = (typeof PRESETS)[number];

/** `SLOTS_PER_EPOCH` of each preset (consensus-specs `presets/`, gnosischain/specs). */
export const SLOTS_PER_EPOCH_OF = { mainnet: 32, minimal: 8, gnosis: 16 } as const satisfies Record<Preset, number>;

/** A network's constants in text, as its config.yaml has them. */
export interface NetworkConstants {
  readonly preset: Preset;
  /** Versions of genesis, Altair, Bellatrix and Capella, each 4 bytes of 0x-hex. */
  readonly forkVersions: readonly [string, string, string, string];
  readonly secondsPerSlot: number;
  /** 32 bytes of 0x-hex. */
  readonly genesisValidatorsRoot?: string;
  /** Unix time of slot 0. */
  readonly genesisTimeSeconds?: number;
}

/** Constants by network name. `minimal` is a test configuration: every chain has its own genesis. */
export const NAMED_NETWORKS = {
  mainnet: {
    preset: "mainnet",
    forkVersions: ["0x00000000", "0x01000000", "0x02000000", "0x03000000"],
    secondsPerSlot: 12,
    genesisValidatorsRoot: "0x4b363db94e286120d76eb905340fdd4e54bfe9f06bf33ff6cf5ad27f511bfe95",
    genesisTimeSeconds: 1606824023,
  },
  hoodi: {
    preset: "mainnet",
    forkVersions: ["0x10000910", "0x20000910", "0x30000910", "0x40000910"],
    secondsPerSlot: 12,
    genesisValidatorsRoot: "0x212f13fc4df078b6cb7db228f1c8307566dcecf900867401a92023d7ba99cb5f",
    genesisTimeSeconds: 1742213400,
  },
  sepolia: {
    preset: "mainnet",
    forkVersions: ["0x90000069", "0x90000070", "0x90000071", "0x90000072"],
    secondsPerSlot: 12,
    genesisValidatorsRoot: "0xd8ea171f3c94aea21ebc42a1ed61052acf3f9209c00e4efbaaddac09ed9b8078",
    genesisTimeSeconds: 1655733600,
  },
  gnosis: {
    preset: "gnosis",
    forkVersions: ["0x00000064", "0x01000064", "0x02000064", "0x03000064"],
    secondsPerSlot: 5,
    genesisValidatorsRoot: "0xf5dcb5564e829aab27264b9becd5dfaa017085611224cb3036f573368dbb9d47",
    genesisTimeSeconds: 1638993340,
  },
  chiado: {
    preset: "gnosis",
    forkVersions: ["0x0000006f", "0x0100006f", "0x0200006f", "0x0300006f"],
    secondsPerSlot: 5,
    genesisValidatorsRoot: "0x9d642dac73058fbf39c0ae41ab1e34e4d889043cb199851ded7095bc99eb4c1e",
    genesisTimeSeconds: 1665396300,
  },
  minimal: {
    preset: "minimal",
    forkVersions: ["0x00000001", "0x01000001", "0x02000001", "0x03000001"],
    secondsPerSlot: 6,
  },
} as const satisfies Record<string, NetworkConstants>;
