/** Generating keys: files, their names and modes, and going on with what an earlier run left. Cheap scrypt. */

import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { decrypt, type IKeystore, isValidKeystore } from "@chainsafe/bls-keystore";
import { afterAll, describe, expect, it } from "vitest";
import { SignerError } from "#protocol/errors.ts";
import { NAMED_NETWORKS } from "#protocol/signing/named-networks.ts";
import { networkFromJson } from "#protocol/signing/network.ts";
import type { DepositDatum } from "../../../cli/keygen/deposit-data.ts";
import { type GenerateOptions, type GenerateReport, generateKeys } from "../../../cli/keygen/generate.ts";
import { SCRYPT_COST } from "../../../cli/keygen/keystore-maker.ts";
import { newMnemonic } from "../../../cli/keygen/mnemonic.ts";
import { parseAddress } from "../../../cli/keygen/withdrawal.ts";
import { DEPOSIT_TOOL_KEYS, DEPOSIT_TOOL_MNEMONIC } from "./keygen/deposit-tool-vectors.ts";

const root = mkdtempSync(join(tmpdir(), "tt-"));
afterAll(() => rmSync(root, { recursive: true }));
let folders = 0;
const freshFolder = (): string => {
  folders += 1;
  return join(root, `keys-${folders}`);
};

const PASSWORD = "correct horse — bättery\n";
/** Seconds since 1970 of the first run; each run is a second later. */
const STARTED = 1_700_000_000;
let runs = 0;

type Change = Partial<Omit<GenerateOptions, "mnemonic" | "password">> & {
  mnemonic?: string;
  isNew?: boolean;
  password?: string;
};
const generate = async (out: string, change: Change = {}) => {
  const { mnemonic = DEPOSIT_TOOL_MNEMONIC, isNew = false, password = PASSWORD, ...options } = change;
  const progress: string[] = [];
  let asked = 0;
  runs += 1;
  const run = generateKeys(
    {
      firstIndex: 0,
      count: 3,
      network: networkFromJson({ name: "hoodi", ...NAMED_NETWORKS.hoodi }),
      withdrawal: { kind: "bls" },
      amountGwei: 32_000_000_000,
      out,
      ...options,
      password: Buffer.from(password),
      mnemonic: {
        isNew,
        get: () => {
          asked += 1;
          return mnemonic;
        },
      },
    },
    {
      now: () => (STARTED + runs) * 1000 + 999,
      onProgress: (stage, done, total) => progress.push(`${stage} ${done}/${total}`),
      cost: { n: 1024, r: 8, p: 1 },
    },
  );
  const report: GenerateReport | undefined = await run;
  return { report, progress, asked: () => asked, time: STARTED + runs };
};
const refused = async (run: Promise<unknown>): Promise<string> => {
  const error: unknown = await run.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(SignerError);
  expect((error as SignerError).code).toBe("bad_request");
  return (error as SignerError).detail;
};
const read = (folder: string, name: string): unknown => JSON.parse(readFileSync(join(folder, name), "utf8"));
const snapshot = (folder: string): Map<string, string> =>
  new Map(
    readdirSync(folder)
      .sort()
      .map((name) => [name, readFileSync(join(folder, name), "utf8")]),
  );

describe("a run", () => {
  it("writes keystores that open and deposit data, named as the official tool names them", async () => {
    const out = freshFolder();
    const { report, progress, time } = await generate(out);
    const keystores = [0, 1, 2].map((index) => `keystore-m_12381_3600_${index}_0_0-${time}.json`);
    expect(readdirSync(out).sort()).toEqual([`deposit_data-${time}.json`, ...keystores]);
    expect(report).toEqual({
      pubkeys: DEPOSIT_TOOL_KEYS.map(({ pubkey }) => pubkey),
      keystoresWritten: 3,
      depositFile: `deposit_data-${time}.json`,
      depositsWritten: 3,
    });
    for (const [index, name] of keystores.entries()) {
      const keystore = read(out, name) as IKeystore;
      expect(isValidKeystore(keystore)).toBe(true);
      expect(keystore).toMatchObject({
        version: 4,
        path: `m/12381/3600/${index}/0/0`,
        pubkey: DEPOSIT_TOOL_KEYS[index]?.pubkey,
      });
      expect(keystore.crypto.kdf).toMatchObject({ function: "scrypt", params: { n: 1024, dklen: 32 } });
      const secret = await decrypt(keystore, PASSWORD);
      expect(Buffer.from(secret).toString("hex")).toBe(DEPOSIT_TOOL_KEYS[index]?.secret);
    }
    const salts = keystores.map((name) => (read(out, name) as IKeystore).crypto.kdf.params.salt);
    expect(new Set(salts).size).toBe(3);
    const data = read(out, `deposit_data-${time}.json`) as DepositDatum[];
    expect(data.map(({ pubkey }) => pubkey)).toEqual(DEPOSIT_TOOL_KEYS.map(({ pubkey }) => pubkey));
    expect(data.map((datum) => datum.withdrawal_credentials)).toEqual(DEPOSIT_TOOL_KEYS.map((key) => key.credentials));
    expect(progress.filter((line) => line.startsWith("deriving"))).toEqual(
      [1, 2, 3].map((done) => `deriving keys ${done}/3`),
    );
    expect(progress.at(-1)).toBe("writing keystores 3/3");
  });

  it("makes a folder of mode 700 and files of mode 600, and leaves no secret in them", async () => {
    const out = freshFolder();
    await generate(out);
    expect(statSync(out).mode & 0o777).toBe(0o700);
    for (const [name, text] of snapshot(out)) {
      expect(statSync(join(out, name)).mode & 0o777, name).toBe(0o600);
      for (const { secret } of DEPOSIT_TOOL_KEYS) expect(text).not.toContain(secret);
      expect(text).not.toContain("correct horse");
      expect(text).not.toContain("entire habit");
    }
  });

  it("costs what EIP-2335 says when nobody says otherwise", () => {
    expect(SCRYPT_COST).toEqual({ n: 262_144, r: 8, p: 1 });
  });

  it("from an index on goes on with the mnemonic", async () => {
    const { report } = await generate(freshFolder(), { firstIndex: 1, count: 2 });
    expect(report?.pubkeys).toEqual(DEPOSIT_TOOL_KEYS.slice(1).map(({ pubkey }) => pubkey));
    const { report: last } = await generate(freshFolder(), { firstIndex: 2 ** 32 - 1, count: 1 });
    expect(last?.keystoresWritten).toBe(1);
    expect(await refused(generate(freshFolder(), { firstIndex: 2 ** 32 - 1, count: 2 }))).toMatch(/indices below/);
  });
});

describe("an earlier run", () => {
  it("that is complete is left alone", async () => {
    const out = freshFolder();
    await generate(out);
    const before = snapshot(out);
    const { report } = await generate(out);
    expect(report).toMatchObject({ keystoresWritten: 0, depositsWritten: 0, depositFile: undefined });
    expect(snapshot(out)).toEqual(before);
  });

  it("that broke off is completed, and what it wrote is kept", async () => {
    const out = freshFolder();
    const { time } = await generate(out);
    unlinkSync(join(out, `keystore-m_12381_3600_1_0_0-${time}.json`));
    unlinkSync(join(out, `deposit_data-${time}.json`));
    // What a kill in the middle of a write leaves; process ids end long before this one.
    writeFileSync(join(out, `.keystore-m_12381_3600_1_0_0-${time}.json.999999999.partial`), '{"version":');
    writeFileSync(
      join(out, `.keystore-m_12381_3600_2_0_0-${time}.json.${process.pid}.partial`),
      "of a run that goes on",
    );
    const before = snapshot(out);
    const { report, time: later } = await generate(out);
    expect(report).toMatchObject({ keystoresWritten: 1, depositsWritten: 3 });
    const after = snapshot(out);
    for (const [name, text] of before) {
      if (name.includes("999999999")) expect(after.has(name)).toBe(false);
      else expect(after.get(name), name).toBe(text);
    }
    expect(after.has(`keystore-m_12381_3600_1_0_0-${later}.json`)).toBe(true);
  });

  it("is extended, and only the new keys are in the new deposit data", async () => {
    const out = freshFolder();
    await generate(out, { count: 1 });
    const { report } = await generate(out, { count: 3 });
    expect(report).toMatchObject({ keystoresWritten: 2, depositsWritten: 2 });
    const data = read(out, report?.depositFile as string) as DepositDatum[];
    expect(data.map(({ pubkey }) => pubkey)).toEqual(DEPOSIT_TOOL_KEYS.slice(1).map(({ pubkey }) => pubkey));
  });

  it("in the same second does not stand in the way", async () => {
    const out = freshFolder();
    await generate(out, { count: 1 });
    runs -= 1;
    const { report, time } = await generate(out, { count: 2 });
    expect(report?.depositFile).toBe(`deposit_data-${time + 1}.json`);
  });

  it("with a new mnemonic is refused before the mnemonic is asked for", async () => {
    const out = freshFolder();
    await generate(out, { count: 1 });
    let asked = false;
    const mnemonic = newMnemonic();
    const run = generateKeys(
      {
        ...({} as GenerateOptions),
        firstIndex: 0,
        count: 1,
        out,
        mnemonic: {
          isNew: true,
          get: () => {
            asked = true;
            return mnemonic;
          },
        },
      },
      { now: () => 0, onProgress: () => undefined },
    );
    expect(await refused(run)).toMatch(
      /holds keystore-m_12381_3600_0_0_0-\d+\.json of an earlier run: go on with its mnemonic/,
    );
    expect(asked).toBe(false);
    // At other indices it may.
    const { report } = await generate(out, { mnemonic, isNew: true, firstIndex: 1, count: 1 });
    expect(report?.keystoresWritten).toBe(1);
  });

  it.each<[string, Change, RegExp]>([
    [
      "another mnemonic",
      { mnemonic: newMnemonic() },
      /expected the key 0x[0-9a-f]{96}, got that of 0x8666.*another mnemonic/,
    ],
    [
      "another password",
      { count: 3, password: "another password" },
      /--password-file: expected the password of keystore-m_12381_3600_1/,
    ],
    [
      "another withdrawal address",
      { withdrawal: { kind: "execution", address: parseAddress("0xde709f2102306220921060314715629080e2fb77") } },
      /has a deposit for 0x8666.* with another withdrawal_credentials/,
    ],
    [
      "another network",
      { network: networkFromJson({ name: "mainnet", ...NAMED_NETWORKS.mainnet }) },
      /another fork_version: expected 00000000, got 10000910/,
    ],
  ])("with %s is refused, and nothing is written", async (_what, change, text) => {
    const out = freshFolder();
    await generate(out, { count: 2 });
    const before = snapshot(out);
    const detail = await refused(generate(out, change));
    expect(detail).toMatch(text);
    expect(detail).not.toMatch(/correct horse|another password|entire habit/);
    expect(snapshot(out)).toEqual(before);
  });

  it("with another amount is refused: a second deposit only adds to the first", async () => {
    const out = freshFolder();
    const withdrawal = {
      kind: "compounding",
      address: parseAddress("0xde709f2102306220921060314715629080e2fb77"),
    } as const;
    await generate(out, { count: 1, withdrawal });
    const detail = await refused(generate(out, { count: 1, withdrawal, amountGwei: 64_000_000_000 }));
    expect(detail).toMatch(
      /another amount: expected 64000000000, got 32000000000; a second deposit for a key only adds/,
    );
  });
});

describe("a folder", () => {
  it("that others may enter is refused", async () => {
    const out = freshFolder();
    mkdirSync(out, { mode: 0o700 });
    chmodSync(out, 0o750);
    expect(await refused(generate(out))).toMatch(
      /--out .*: expected a folder of this user with mode 700, got mode 750/,
    );
    chmodSync(out, 0o700);
    await generate(out, { count: 1 });
  });

  it.each([
    ["keystore-m_12381_3600_0_0_0-1.json", "{", /expected JSON/],
    ["keystore-m_12381_3600_0_0_0-1.json", "{}", /expected an EIP-2335 keystore/],
    ["keystore-m_12381_3600_0_0_0-1.json", "x".repeat(20_000), /expected at most 16384 bytes/],
    ["deposit_data-1.json", "{}", /expected an array of deposit data/],
    ["deposit_data-1.json", "[7]", /expected a pubkey in each entry/],
    ["deposit_data-1.json", "[null]", /expected a pubkey in each entry/],
  ])("with a %s of %.10j is refused", async (name, text, problem) => {
    const out = freshFolder();
    mkdirSync(out, { mode: 0o700 });
    writeFileSync(join(out, name), text);
    expect(await refused(generate(out))).toMatch(problem);
    expect(readdirSync(out)).toEqual([name]);
  });

  it("with two keystores of one index is refused, with anything else not", async () => {
    const out = freshFolder();
    const { time } = await generate(out, { count: 1 });
    const name = `keystore-m_12381_3600_0_0_0-${time}.json`;
    writeFileSync(join(out, "keystore-m_12381_3600_0_0_0-1.json"), readFileSync(join(out, name)));
    expect(await refused(generate(out))).toMatch(/expected one keystore of index 0, got .* and keystore/);
    unlinkSync(join(out, "keystore-m_12381_3600_0_0_0-1.json"));
    writeFileSync(join(out, "notes.txt"), "anything");
    await generate(out, { count: 1 });
  });
});
