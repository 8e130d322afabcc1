/**
 * Generates validator keys: mnemonic → seed → tree → keystores and deposit data. Secret keys are derived again where
 * they are needed instead of being kept; deposit data come last, so that nobody deposits for a key that has no keystore.
 */

import { SignerError } from "#protocol/errors.ts";
import type { Network } from "#protocol/signing/network.ts";
import { type DepositDatum, makeDepositDatum } from "./deposit-data.ts";
import { type KeyFolder, openKeyFolder } from "./key-folder.ts";
import { createKeyTree, type KeyTree } from "./key-tree.ts";
import { createKeystoreMaker, type KeystoreMaker } from "./keystore-maker.ts";
import type { ScryptCost } from "./keystore-thread.ts";
import { seedOf } from "./mnemonic.ts";
import { type Withdrawal, withdrawalCredentials } from "./withdrawal.ts";

/** Where the mnemonic comes from; asked only when the folder has been looked through. */
export interface MnemonicSource {
  /** A new one has no keys yet, so none may be there at its indices. */
  readonly isNew: boolean;
  /** A valid mnemonic (`parseMnemonic`). */
  get(): string | Promise<string>;
}

/** What is to be generated. */
export interface GenerateOptions {
  readonly mnemonic: MnemonicSource;
  readonly firstIndex: number;
  readonly count: number;
  readonly network: Network;
  readonly withdrawal: Withdrawal;
  readonly amountGwei: number;
  /** UTF-8; the caller wipes it. */
  readonly password: Uint8Array;
  /** Folder. */
  readonly out: string;
}

/** What the work needs from outside. */
export interface GenerateModules {
  /** Milliseconds since 1970. */
  now(): number;
  /** How far each stage is. */
  onProgress(stage: "deriving keys" | "writing keystores", done: number, total: number): void;
  /** Undefined: EIP-2335's. */
  readonly cost?: ScryptCost;
}

/** What was done. */
export interface GenerateReport {
  /** Hex without `0x`, by index. */
  readonly pubkeys: readonly string[];
  readonly keystoresWritten: number;
  /** Undefined: an earlier run wrote all of them. */
  readonly depositFile: string | undefined;
  readonly depositsWritten: number;
}

/** Largest index of a key, exclusive (EIP-2333: an index is below 2^32). */
const INDEX_END = 2 ** 32;

/**
 * Generates keys, or what an earlier run with the same mnemonic left to do.
 * @throws SignerError `bad_request` when the folder holds something else at these indices; nothing was written then
 */
export const generateKeys = async (options: GenerateOptions, modules: GenerateModules): Promise<GenerateReport> => {
  if (options.firstIndex + options.count > INDEX_END) {
    throw new SignerError("bad_request", `--first-index and --count: expected indices below ${INDEX_END}`);
  }
  const folder = openKeyFolder(options.out, { unixSeconds: Math.floor(modules.now() / 1000) });
  if (options.mnemonic.isNew) refuseEarlierRun(folder, options);
  const tree = await plant(await options.mnemonic.get());
  const data = deriveAll(tree, options, modules);
  refuseOthers(folder, data);
  const keystoresWritten = await writeKeystores({ folder, tree, data, options, modules });
  const values = [...data.values()];
  const missing = values.filter(({ pubkey }) => !folder.deposits.has(pubkey));
  return {
    pubkeys: values.map(({ pubkey }) => pubkey),
    keystoresWritten,
    depositFile: missing.length === 0 ? undefined : folder.writeDepositData(missing),
    depositsWritten: missing.length,
  };
};

const plant = async (mnemonic: string): Promise<KeyTree> => {
  const seed = await seedOf(mnemonic);
  try {
    return createKeyTree(seed);
  } finally {
    seed.fill(0);
  }
};

/** Deposit data by index; the secret keys behind them are dropped at once. */
const deriveAll = (
  tree: KeyTree,
  { firstIndex, count, network, withdrawal, amountGwei }: GenerateOptions,
  { onProgress }: GenerateModules,
): Map<number, DepositDatum> => {
  const data = new Map<number, DepositDatum>();
  for (let index = firstIndex; index < firstIndex + count; index += 1) {
    const key = tree.at(index);
    const credentials = withdrawalCredentials(withdrawal, key.withdrawalPubkey);
    data.set(index, makeDepositDatum(key, { credentials, amountGwei, network }));
    onProgress("deriving keys", data.size, count);
  }
  return data;
};

/** Said before a mnemonic is shown or written that nobody would need. */
const refuseEarlierRun = (folder: KeyFolder, { firstIndex, count, out }: GenerateOptions): void => {
  for (const [index, { name }] of folder.keystores) {
    if (index < firstIndex || index >= firstIndex + count) continue;
    const remedy = "go on with its mnemonic by --mnemonic-file, or choose another --out";
    throw new SignerError("bad_request", `--out ${out}: holds ${name} of an earlier run: ${remedy}`);
  }
};

/** What is there at these indices must be what would be made: another key or another deposit is somebody's mistake. */
const refuseOthers = (folder: KeyFolder, data: ReadonlyMap<number, DepositDatum>): void => {
  for (const [index, datum] of data) {
    const keystore = folder.keystores.get(index);
    if (keystore !== undefined && keystore.pubkey !== datum.pubkey) {
      const got = `that of 0x${keystore.pubkey}: it is of another mnemonic; choose another --out`;
      throw new SignerError("bad_request", `${keystore.name}: expected the key 0x${datum.pubkey}, got ${got}`);
    }
    const deposit = folder.deposits.get(datum.pubkey);
    if (deposit === undefined) continue;
    for (const name of ["withdrawal_credentials", "amount", "fork_version", "signature"] as const) {
      if (deposit.datum[name] === datum[name]) continue;
      throw new SignerError(
        "bad_request",
        `${deposit.file}: has a deposit for 0x${datum.pubkey} with another ${name}: ` +
          `expected ${datum[name]}, got ${String(deposit.datum[name])}; a second deposit for a key only adds to the first`,
      );
    }
  }
};

/** Writes the keystores that are missing, as many at a time as there are threads. */
const writeKeystores = async (work: {
  folder: KeyFolder;
  tree: KeyTree;
  data: ReadonlyMap<number, DepositDatum>;
  options: GenerateOptions;
  modules: GenerateModules;
}): Promise<number> => {
  const { folder, tree, data, options, modules } = work;
  const missing = [...data.keys()].filter((index) => !folder.keystores.has(index));
  if (missing.length === 0) return 0;
  const maker = createKeystoreMaker(options.password, modules.cost);
  try {
    await refuseOtherPassword({ folder, maker, indices: [...data.keys()] });
    const left = missing.values();
    let done = 0;
    // Lanes share one iterator: each takes the next index when its keystore is on disk.
    const lane = async (): Promise<void> => {
      for (const index of left) {
        const key = tree.at(index);
        folder.writeKeystore(key.path, await maker.make(key));
        done += 1;
        modules.onProgress("writing keystores", done, missing.length);
      }
    };
    await Promise.all(Array.from({ length: Math.min(maker.threads, missing.length) }, lane));
    return missing.length;
  } finally {
    await maker.close();
  }
};

/** One of the keystores that are there stands for all: trying each would take as long as making them. */
const refuseOtherPassword = async (work: {
  folder: KeyFolder;
  maker: KeystoreMaker;
  indices: readonly number[];
}): Promise<void> => {
  const { folder, maker, indices } = work;
  const earlier = indices.map((index) => folder.keystores.get(index)).findLast((keystore) => keystore !== undefined);
  if (earlier === undefined || (await maker.opens(earlier.text))) return;
  throw new SignerError(
    "bad_request",
    `--password-file: expected the password of ${earlier.name}, which an earlier run wrote: the folder must have one`,
  );
};
