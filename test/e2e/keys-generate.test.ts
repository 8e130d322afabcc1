/** `testudo keys generate` as people run it, up to a signer that serves exactly these keys. */

import { spawn, spawnSync } from "node:child_process";
import { chmodSync, existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { stripVTControlCharacters } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { DepositDatum } from "../../cli/keygen/deposit-data.ts";
import { parseMnemonic } from "../../cli/keygen/mnemonic.ts";
import { attestation, signVerified } from "../helpers/duties.ts";
import { createTestbed, type Ended } from "../helpers/testudo.ts";

const MAIN = fileURLToPath(new URL("../../cli/main.ts", import.meta.url));
const ADDRESS = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed";
const PASSWORD = "correct horse — bättery";
/** The terminal of util-linux's `script`; other systems have another. */
const HAS_TERMINAL = process.platform === "linux" && spawnSync("script", ["-V"]).status === 0;

const bed = createTestbed();
afterAll(() => bed.close());

const keystoresIn = (folder: string): string[] =>
  existsSync(folder) ? readdirSync(folder).filter((name) => name.startsWith("keystore-")) : [];
const depositsIn = (folder: string): DepositDatum[] =>
  readdirSync(folder)
    .filter((name) => name.startsWith("deposit_data-"))
    .flatMap((name) => JSON.parse(readFileSync(join(folder, name), "utf8")) as DepositDatum[]);
const expectNoSecret = ({ stdout, stderr }: Pick<Ended, "stdout" | "stderr">, mnemonic: string): void => {
  const said = stdout + stderr;
  expect(said).not.toContain("correct horse");
  // Three words in a row are nobody's prose.
  const words = mnemonic.split(" ");
  for (let at = 0; at + 3 <= words.length; at += 1) expect(said).not.toContain(words.slice(at, at + 3).join(" "));
};

describe("keys for a network", () => {
  const [out, vault] = [join(bed.folder(), "keys"), bed.folder()];
  const mnemonicFile = join(vault, "mnemonic.txt");
  const passwordFile = bed.file("password.txt", `${PASSWORD}\n`);
  const generate = (...args: string[]) =>
    bed.run(
      ...["keys", "generate", "--out", out, "--network", "hoodi", "--password-file", passwordFile],
      ...["--withdrawal-address", ADDRESS, ...args],
    );
  let made: Ended;
  beforeAll(async () => {
    made = await generate("--count", "2", "--mnemonic-out", mnemonicFile);
  });

  it("are made with their deposit data, for their owner's eyes alone", () => {
    expect(made).toMatchObject({ code: 0 });
    expect(keystoresIn(out).length).toBe(2);
    expect(statSync(out).mode & 0o777).toBe(0o700);
    for (const name of readdirSync(out)) expect(statSync(join(out, name)).mode & 0o777, name).toBe(0o600);
    expect(statSync(mnemonicFile).mode & 0o777).toBe(0o600);
    const mnemonic = readFileSync(mnemonicFile, "utf8").trim();
    expect(parseMnemonic(mnemonic, "words").split(" ").length).toBe(24);
    expectNoSecret(made, mnemonic);
    const data = depositsIn(out);
    expect(
      data.map((datum) => [datum.network_name, datum.fork_version, datum.amount, datum.withdrawal_credentials]),
    ).toEqual(
      Array(2).fill(["hoodi", "10000910", 32_000_000_000, `01${"00".repeat(11)}${ADDRESS.slice(2).toLowerCase()}`]),
    );
    for (const { pubkey } of data) expect(made.stdout).toContain(`0x${pubkey}`);
    expect(made.stdout).toContain(`to ${ADDRESS} (0x01)`);
    expect(made.stdout).toContain(`testudo up --keys ${out} --keys-password-file ${passwordFile} --network hoodi`);
    expect(made.stderr).toContain("writing keystores: 2 of 2");
  });

  it("are served by `up`, exactly these, and sign", async () => {
    const testudo = await bed.up(["--enclaves", "1", "--keys", out, "--keys-password-file", passwordFile]);
    const pubkeys = depositsIn(out).map(({ pubkey }) => `0x${pubkey}`);
    expect(testudo.publicKeys).toEqual(pubkeys);
    for (const pubkey of pubkeys) await signVerified(testudo.url, pubkey, attestation({ source: 1, target: 2 }));
    expect(testudo.command.stderr()).not.toContain("key not loaded");
    await testudo.stop();
  });

  it("come again from the mnemonic, and more of them", async () => {
    const elsewhere = join(bed.folder(), "keys");
    const again = await bed.run(
      ...["keys", "generate", "--count", "1", "--first-index", "1", "--out", elsewhere, "--network", "hoodi"],
      ...["--password-file", passwordFile, "--withdrawal-address", ADDRESS, "--mnemonic-file", mnemonicFile],
    );
    expect(again.code).toBe(0);
    expect(depositsIn(elsewhere)).toEqual(depositsIn(out).slice(1));
    expectNoSecret(again, readFileSync(mnemonicFile, "utf8").trim());
  });

  it("are never made over others: the mnemonic file, the folder and the deposits stay as they are", async () => {
    const before = readdirSync(out).map((name) => readFileSync(join(out, name), "utf8"));
    const sameFile = await generate("--count", "2", "--mnemonic-out", mnemonicFile);
    expect(sameFile).toMatchObject({ code: 2, stdout: "", stderr: expect.stringContaining("--mnemonic-file") });
    const another = join(vault, "another.txt");
    const newMnemonic = await generate("--count", "2", "--mnemonic-out", another);
    expect(newMnemonic).toMatchObject({ code: 2, stdout: "", stderr: expect.stringContaining("of an earlier run") });
    expect(existsSync(another)).toBe(false);
    const otherAddress = await generate("--count", "2", "--mnemonic-file", mnemonicFile, "--compounding");
    expect(otherAddress).toMatchObject({ code: 2, stderr: expect.stringContaining("another withdrawal_credentials") });
    expect(readdirSync(out).map((name) => readFileSync(join(out, name), "utf8"))).toEqual(before);
  });
});

it("a run that is killed is completed by the next one", async () => {
  const [out, mnemonicFile] = [join(bed.folder(), "keys"), join(bed.folder(), "mnemonic.txt")];
  const passwordFile = bed.file("password.txt", PASSWORD);
  const args = [
    "keys",
    "generate",
    "--count",
    "6",
    "--out",
    out,
    "--network",
    "minimal",
    "--password-file",
    passwordFile,
  ];
  const first = bed.start(...args, "--mnemonic-out", mnemonicFile);
  await expect.poll(() => keystoresIn(out).length, { timeout: 20_000, interval: 5 }).toBeGreaterThan(0);
  first.signal("SIGKILL");
  expect((await first.ended).code).toBeNull();
  const kept = keystoresIn(out);
  expect(kept.length).toBeLessThan(6);
  expect(readdirSync(out).some((name) => name.startsWith("deposit_data-"))).toBe(false);
  const bytes = kept.map((name) => readFileSync(join(out, name), "utf8"));

  const second = await bed.run(...args, "--mnemonic-file", mnemonicFile);
  expect(second.code).toBe(0);
  expect(second.stdout).toContain(`6 in ${out}, ${6 - kept.length} of them new`);
  expect(kept.map((name) => readFileSync(join(out, name), "utf8"))).toEqual(bytes);
  expect(readdirSync(out).length).toBe(7);
  expect(depositsIn(out).length).toBe(6);
});

it.skipIf(!HAS_TERMINAL)("a person at a terminal sees the mnemonic, confirms it, and gets its keys", async () => {
  const folder = bed.folder();
  const [out, passwordFile] = [join(folder, "keys"), bed.file("password.txt", PASSWORD)];
  const command = `"${process.execPath}" "${MAIN}" keys generate --count 1 --out "${out}" --network sepolia --password-file "${passwordFile}"`;
  const child = spawn("script", ["-qec", command, "/dev/null"], { env: { ...process.env, TERM: "xterm" } });
  let text = "";
  let read = 0;
  let words: string[] = [];
  child.stdout.setEncoding("utf8").on("data", (chunk: string) => {
    text += chunk;
    const plain = stripVTControlCharacters(text.slice(read));
    const place = Number(/Word (\d+): $/.exec(plain)?.[1] ?? 0);
    if (/written down: $/.test(plain))
      words = [...plain.matchAll(/(\d+) ([a-z]{3,8})/g)].map((match) => match[2] as string);
    else if (place === 0) return;
    read = text.length;
    child.stdin.write(place === 0 ? "\r" : `${words[place - 1]}\r`);
  });
  const code = await new Promise<number | null>((resolve) => child.once("close", resolve));
  expect(code, text).toBe(0);
  const after = text.slice(text.indexOf("\x1b[?1049l"));
  expect(after).toContain("1 in ");
  expectNoSecret({ stdout: after, stderr: "" }, words.join(" "));

  // What was on the screen is the mnemonic of these keys.
  const mnemonicFile = join(folder, "mnemonic.txt");
  writeFileSync(mnemonicFile, words.join("\n"), { mode: 0o600 });
  const again = await bed.run(
    ...["keys", "generate", "--count", "1", "--out", out, "--network", "sepolia", "--password-file", passwordFile],
    ...["--mnemonic-file", mnemonicFile],
  );
  expect(again).toMatchObject({ code: 0, stdout: expect.stringContaining("0 of them new") });
  expect(again.stdout).toContain("complete since an earlier run");
});

describe("wrong usage ends with code 2, a word that helps, and nothing made", () => {
  const passwordFile = bed.file("password.txt", PASSWORD);
  const folder = bed.folder();
  const out = join(folder, "keys");
  const openFile = bed.file("mnemonic.txt", "words");
  chmodSync(openFile, 0o644);
  const fine = {
    "--count": "1",
    "--out": out,
    "--network": "hoodi",
    "--password-file": passwordFile,
    "--mnemonic-out": join(folder, "m.txt"),
  };
  it.each<[string, Record<string, string | undefined>, RegExp]>([
    ["no terminal", { "--mnemonic-out": undefined }, /shown on a terminal alone: expected one, or --mnemonic-out/],
    ["no password file", { "--password-file": undefined }, /--password-file <file>' not specified/],
    ["no network", { "--network": undefined }, /--network <name\|file>' not specified/],
    ["an unknown network", { "--network": "goerli" }, /network: expected mainnet, hoodi/],
    ["no keys", { "--count": "0" }, /whole number 1\.\.100000/],
    ["a short password", { "--password-file": bed.file("p", "short") }, /at least 8 characters, got 5/],
    ["a mistyped address", { "--withdrawal-address": ADDRESS.replace("6053", "6054") }, /checksum \(EIP-55\)/],
    ["compounding for nobody", { "--compounding": "" }, /--compounding: expected with --withdrawal-address/],
    [
      "a large amount",
      { "--withdrawal-address": ADDRESS, "--amount": "64" },
      /--amount: expected 32 ETH.*--compounding/,
    ],
    ["another language", { "--mnemonic-language": "czech" }, /Allowed choices are english/],
    ["two mnemonics", { "--mnemonic-file": openFile }, /cannot be used with/],
    ["a mnemonic beside the keystores", { "--mnemonic-out": join(out, "m.txt") }, /expected a file outside --out/],
    [
      "a mnemonic that others can read",
      { "--mnemonic-out": undefined, "--mnemonic-file": openFile },
      /expected mode 600, got 644/,
    ],
  ])("%s", async (_what, change, text) => {
    const options = Object.entries({ ...fine, ...change }).flatMap(([name, value]) =>
      value === undefined ? [] : value === "" ? [name] : [name, value],
    );
    const ended = await bed.run("keys", "generate", ...options);
    expect(ended).toMatchObject({ code: 2, stdout: "" });
    expect(ended.stderr).toMatch(text);
    expect(keystoresIn(out)).toEqual([]);
    expect(existsSync(join(folder, "m.txt"))).toBe(false);
  });

  it("and --help teaches with an example", async () => {
    const { code, stdout } = await bed.run("keys", "generate", "--help");
    expect(code).toBe(0);
    expect(stdout).toContain("testudo keys generate --count 2 --out ./keys --network hoodi");
    expect(stdout).toContain("docs/keys.md");
  });
});
