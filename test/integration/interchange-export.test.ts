/** What `testudo slashing export` puts into a file, and how; and that nothing is missing that was released before. */

import {
  chmodSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openSqliteStore } from "#pool-manager/store/sqlite-store.ts";
import { toHex } from "#protocol/bytes.ts";
import { exportFromStore } from "#protocol/slashing/export.ts";
import { EMPTY_STATE, type SlashingState } from "#protocol/slashing/rules.ts";
import { networkOf } from "../../cli/options.ts";
import { openProtection } from "../../cli/protection-store.ts";
import { ask, attestation, block, codec, resultOf, validator, watchedGuard } from "../helpers/guarded.ts";
import { createTestbed } from "../helpers/testudo.ts";

const bed = createTestbed();
afterAll(() => bed.close());

const hexOf = (byte: number): string => toHex(validator(byte));
/** Registers a state, or bytes that are no record. */
const fill = async (dataPath: string, records: Record<number, SlashingState | Uint8Array>): Promise<void> => {
  const values = { data: dataPath, store: "sqlite" };
  const protection = await openProtection(values, { initialise: true, network: networkOf(values) });
  for (const [byte, record] of Object.entries(records)) {
    const key = validator(Number(byte));
    const bytes = record instanceof Uint8Array ? record : protection.codec.encode(key, record);
    expect(await protection.store.compareAndSet(key, undefined, bytes)).toEqual({ kind: "stored" });
  }
  await protection.close();
};

const enabled = { ...EMPTY_STATE, block: { slot: 7 } };
const disabled = { block: { slot: 8 }, control: { generation: 1, disabled: true } };

describe("testudo slashing export", () => {
  const dataPath = bed.folder();
  const keysOf = (text: string): string[] => JSON.parse(text).data.map((it: { pubkey: string }) => it.pubkey);
  const run = (...args: string[]) => bed.run("slashing", "export", ...args, "--data", dataPath);
  beforeAll(() => fill(dataPath, { 1: enabled, 2: disabled, 3: new Uint8Array(5), 4: disabled }));

  it("writes whoever can be verified, names the others, and says what an enabled key means", async () => {
    const { code, stdout, stderr } = await run();
    expect(keysOf(stdout)).toEqual([1, 2, 4].map(hexOf));
    expect(code).toBe(1);
    expect(stderr).toContain(`not exported: ${hexOf(3)}: record length: expected 136 bytes, got 5`);
    expect(stderr).toMatch(
      /3 validators exported\. 1 of them are enabled.*`testudo slashing disable` first.*--only-disab/,
    );
  });

  it("of disabled validators only says that they may be moved", async () => {
    const { code, stdout, stderr } = await run("--only-disabled");
    expect(keysOf(stdout)).toEqual([2, 4].map(hexOf));
    expect(stderr).toMatch(
      /2 validators exported, 1 enabled ones left out\. All of them are disabled: .* may be used to/,
    );
    expect(code).toBe(1);
  });

  it.each([
    ["a list", [hexOf(4), hexOf(2), hexOf(4)].join(","), 0],
    ["a file", bed.file("keys.txt", `${hexOf(4)}\n\n${hexOf(2).slice(2)}\n`), 0],
    ["a list with an unverifiable one", [4, 3, 2].map(hexOf).join(","), 1],
    ["a list with an unknown one", [4, 9, 2].map(hexOf).join(","), 1],
  ])("of %s", async (_name, pubkeys, expected) => {
    const { code, stdout } = await run("--pubkeys", pubkeys);
    expect(keysOf(stdout)).toEqual([4, 2].map(hexOf));
    expect(code).toBe(expected);
  });

  it("names an enabled validator that was asked for among disabled ones", async () => {
    const { code, stdout, stderr } = await run("--only-disabled", "--pubkeys", [1, 2].map(hexOf).join(","));
    expect(keysOf(stdout)).toEqual([hexOf(2)]);
    expect(stderr).toContain(`not exported: ${hexOf(1)}: it is enabled`);
    expect(code).toBe(1);
  });

  it.each([
    ["0x12", /--pubkeys: expected 48 bytes of hex/],
    ["/no/such/file", /--pubkeys \/no\/such\/file: no 0x list, and cannot be read/],
    [bed.file("empty.txt", "\n"), /there is no public key/],
  ])("refuses --pubkeys %s", async (value, message) => {
    expect(await run("--pubkeys", value)).toMatchObject({
      code: 2,
      stdout: "",
      stderr: expect.stringMatching(message),
    });
  });

  it("replaces a file as a whole, for its owner alone, and leaves nothing else behind", async () => {
    const folder = bed.folder();
    const file = join(folder, "out.json");
    writeFileSync(file, "old");
    chmodSync(file, 0o644);
    expect(await run("--only-disabled", file)).toMatchObject({ code: 1, stdout: "" });
    expect(keysOf(readFileSync(file, "utf8"))).toEqual([2, 4].map(hexOf));
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect(readdirSync(folder)).toEqual(["out.json"]);
  });

  it("replaces neither folders, links nor devices", async () => {
    const folder = bed.folder();
    const [link, inner] = [join(folder, "link"), join(folder, "folder")];
    symlinkSync(join(folder, "target"), link);
    mkdirSync(inner);
    for (const path of [link, inner, "/dev/null"]) {
      expect(await run(path)).toMatchObject({ code: 2, stderr: expect.stringContaining("expected a regular file") });
    }
    expect(lstatSync(link).isSymbolicLink()).toBe(true);
    expect(readdirSync(folder).sort()).toEqual(["folder", "link"]);
    const nowhere = await run(join(folder, "no", "file"));
    expect(nowhere).toMatchObject({ code: 2, stderr: expect.stringContaining("there is no folder") });
  });
});

it("an export holds every signature that was released before it began", async () => {
  const store = await openSqliteStore(join(bed.folder(), "store.sqlite"));
  try {
    const { guard } = watchedGuard(store);
    const validators = Array.from({ length: 40 }, (_, index) => validator(index + 1));
    await guard.track(validators.map((pubkey) => ({ pubkey, registered: false })));
    /** The highest slot and target that were released, by validator. */
    const released = new Map(validators.map((pubkey) => [toHex(pubkey), { slot: -1, target: -1 }]));
    let stopped = false;
    const signOn = async (pubkey: Uint8Array): Promise<void> => {
      const highest = released.get(toHex(pubkey)) as { slot: number; target: number };
      for (let step = 1; !stopped; step += 1) {
        expect(await resultOf(ask(guard, { pubkey, candidate: block(step, 1) }))).toBe("signed");
        highest.slot = step;
        expect(await resultOf(ask(guard, { pubkey, candidate: attestation(step, step + 1, 2) }))).toBe("signed");
        highest.target = step + 1;
      }
    };
    const signing = Promise.all(validators.map(signOn));
    for (let round = 0; round < 30; round += 1) {
      const before = new Map([...released].map(([pubkey, highest]) => [pubkey, { ...highest }]));
      const records = await Array.fromAsync(exportFromStore({ store, codec }));
      expect(records).toHaveLength(validators.length);
      for (const record of records) {
        if (!record.ok) expect.fail(record.reason);
        const floor = before.get(record.pubkey);
        expect(record.state.block?.slot ?? -1).toBeGreaterThanOrEqual(floor?.slot ?? Number.NaN);
        expect(record.state.attestation?.targetEpoch ?? -1).toBeGreaterThanOrEqual(floor?.target ?? Number.NaN);
      }
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    stopped = true;
    await signing;
    expect(Math.min(...[...released.values()].map(({ slot }) => slot))).toBeGreaterThan(10);
  } finally {
    await store.close();
  }
});
