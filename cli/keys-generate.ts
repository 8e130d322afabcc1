/** `testudo keys generate`: validator keys from a mnemonic, as EIP-2335 keystores with deposit data. */

import { readFileSync } from "node:fs";
import { relative, resolve, sep } from "node:path";
import { Command, Option } from "commander";
import { SignerError } from "#protocol/errors.ts";
import { loadNetwork } from "#protocol/signing/load-network.ts";
import { integerBetween } from "./integers.ts";
import type { GenerateReport } from "./keygen/generate.ts";
import type { Withdrawal } from "./keygen/withdrawal.ts";
import { createProgress } from "./output.ts";

interface GenerateValues {
  readonly count: number;
  readonly out: string;
  readonly network: string;
  readonly mnemonicLanguage: string;
  readonly mnemonicFile?: string;
  readonly mnemonicOut?: string;
  readonly firstIndex: number;
  readonly withdrawalAddress?: string;
  readonly compounding: boolean;
  readonly amount: string;
  readonly passwordFile: string;
}

/** Keys of one run: a day of scrypt on one core. */
const COUNT_MAX = 100_000;

/** The command. */
export const keysGenerateCommand = (): Command =>
  new Command("generate")
    .description("Make validator keys from a mnemonic: EIP-2335 keystores and deposit data, for `testudo up --keys`.")
    .requiredOption("--count <n>", "how many keys", integerBetween(1, COUNT_MAX))
    .requiredOption(
      "--out <dir>",
      "folder for keystores and deposit data (mode 700); one that is there is gone on with",
    )
    .requiredOption(
      "--network <name|file>",
      "mainnet, hoodi, sepolia, gnosis, chiado, minimal, or a consensus config.yaml: deposits are signed for it",
    )
    .requiredOption("--password-file <file>", "file with the password of all keystores, 8 characters at least")
    .option(
      "--withdrawal-address <0x…>",
      "execution address that gets the stake; without it the mnemonic's own BLS key",
    )
    .option("--compounding", "let rewards add to the stake (0x02 credentials); with --withdrawal-address", false)
    .option(
      "--amount <eth>",
      "each deposit: 32, with --compounding up to 2048 ETH, or the same as 32000000000gwei",
      "32",
    )
    .option(
      "--first-index <k>",
      "index of the first key: how many this mnemonic has already",
      integerBetween(0, 2 ** 32 - 1),
      0,
    )
    .option("--mnemonic-file <file>", "take the mnemonic in this file (mode 600) instead of a new one")
    .addOption(
      new Option(
        "--mnemonic-out <file>",
        "write the new mnemonic to this file (mode 600) instead of showing it",
      ).conflicts("mnemonicFile"),
    )
    .addOption(new Option("--mnemonic-language <name>", "of its words").choices(["english"]).default("english"))
    .addHelpText(
      "after",
      `
Do it on a machine without a network. The mnemonic is shown once and some of its words are asked for.
Example: two keys for hoodi, then a third of the same mnemonic, then everything on this machine:
  testudo keys generate --count 2 --out ./keys --network hoodi --password-file ./password.txt \\
    --withdrawal-address 0x…
  testudo keys generate --count 1 --first-index 2 --mnemonic-file ./mnemonic.txt --out ./keys --network hoodi \\
    --password-file ./password.txt --withdrawal-address 0x…
  testudo up --keys ./keys --keys-password-file ./password.txt --network hoodi

A run that broke off is gone on with by the same command and its mnemonic (--mnemonic-file). See docs/keys.md.`,
    )
    .action(runGenerate);

const runGenerate = async (values: GenerateValues): Promise<void> => {
  const network = loadNetwork({ network: values.network, readFile: (path) => readFileSync(path, "utf8") });
  // Loaded here, so that the long-lived commands never hold this code, nor the SSZ library behind it.
  const [{ generateKeys }, { parseAmount, formatEth, checksummed }, files] = await Promise.all([
    import("./keygen/generate.ts"),
    import("./keygen/withdrawal.ts"),
    import("./keygen/secret-files.ts"),
  ]);
  const withdrawal = await withdrawalOf(values);
  const amountGwei = parseAmount(values.amount, withdrawal);
  const password = files.readPasswordFile(resolve(values.passwordFile));
  const progress = {
    "deriving keys": createProgress("deriving keys"),
    "writing keystores": createProgress("writing keystores"),
  };
  try {
    const { count, firstIndex } = values;
    const mnemonic = { isNew: values.mnemonicFile === undefined, get: () => mnemonicOf(values, files) };
    checkMnemonicOptions(values, files);
    const report = await generateKeys(
      { mnemonic, count, firstIndex, network, withdrawal, amountGwei, password, out: resolve(values.out) },
      {
        now: Date.now,
        onProgress: (stage, done, total) => {
          progress[stage].update(done, total);
          if (done === total) progress[stage].end();
        },
      },
    );
    const stake = `${formatEth(amountGwei)} ${network.preset === "gnosis" ? "(32 stand for 1 GNO)" : "ETH"}`;
    const to =
      withdrawal.kind === "bls"
        ? "the mnemonic's BLS keys (0x00)"
        : `${checksummed(withdrawal.address)} (${withdrawal.kind === "compounding" ? "0x02, compounding" : "0x01"})`;
    process.stdout.write(summary(report, { values, stake, to }));
  } finally {
    for (const bar of Object.values(progress)) bar.end();
    password.fill(0);
  }
};

const withdrawalOf = async ({ withdrawalAddress, compounding }: GenerateValues): Promise<Withdrawal> => {
  if (withdrawalAddress === undefined) {
    if (!compounding) return { kind: "bls" };
    throw new SignerError("bad_request", "--compounding: expected with --withdrawal-address");
  }
  const { parseAddress } = await import("./keygen/withdrawal.ts");
  return { kind: compounding ? "compounding" : "execution", address: parseAddress(withdrawalAddress) };
};

/** The mnemonic: read, or made anew and given to the person or the file before any key is made of it. */
const mnemonicOf = async (
  { mnemonicFile, mnemonicOut }: GenerateValues,
  files: typeof import("./keygen/secret-files.ts"),
): Promise<string> => {
  if (mnemonicFile !== undefined) return files.readMnemonicFile(resolve(mnemonicFile));
  const { newMnemonic } = await import("./keygen/mnemonic.ts");
  if (mnemonicOut !== undefined) {
    const mnemonic = newMnemonic();
    files.writeMnemonicFile(resolve(mnemonicOut), mnemonic);
    process.stderr.write(`mnemonic in ${mnemonicOut}: move it to where no signer and no network is\n`);
    return mnemonic;
  }
  const { confirmMnemonic } = await import("./keygen/mnemonic-terminal.ts");
  const mnemonic = newMnemonic();
  await confirmMnemonic(mnemonic, { input: process.stdin, output: process.stdout });
  return mnemonic;
};

/** What can be wrong with the way that a mnemonic comes or goes, before anything else is done. */
const checkMnemonicOptions = (
  { mnemonicFile, mnemonicOut, out }: GenerateValues,
  files: typeof import("./keygen/secret-files.ts"),
): void => {
  if (mnemonicFile !== undefined) return;
  if (mnemonicOut !== undefined) {
    refuseInside(mnemonicOut, out);
    files.refuseExisting(resolve(mnemonicOut));
    return;
  }
  if (process.stdin.isTTY && process.stdout.isTTY) return;
  throw new SignerError(
    "bad_request",
    "a new mnemonic is shown on a terminal alone: expected one, or --mnemonic-out, or --mnemonic-file",
  );
};

/** The folder of keystores goes to the signer's machine; a mnemonic in it would go along. */
const refuseInside = (file: string, folder: string): void => {
  const way = relative(resolve(folder), resolve(file));
  if (way.startsWith(`..${sep}`)) return;
  throw new SignerError("bad_request", "--mnemonic-out: expected a file outside --out, which goes to the signer");
};

const summary = (
  report: GenerateReport,
  { values, stake, to }: { values: GenerateValues; stake: string; to: string },
): string => {
  const { pubkeys, keystoresWritten, depositFile, depositsWritten } = report;
  const last = values.firstIndex + pubkeys.length - 1;
  const deposits =
    depositFile === undefined
      ? "complete since an earlier run"
      : `${values.out}/${depositFile}, ${depositsWritten} validators`;
  return `
keystores     ${pubkeys.length} in ${values.out}, ${keystoresWritten} of them new; index ${values.firstIndex}..${last}
first key     0x${pubkeys[0]}
last key      0x${pubkeys.at(-1)}
deposit data  ${deposits}
each deposit  ${stake} on ${values.network}
withdrawals   to ${to}

Check the deposits on a second machine before you send them. Then:
  testudo up --keys ${values.out} --keys-password-file ${values.passwordFile} --network ${values.network}
`;
};
