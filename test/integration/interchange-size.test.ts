/** The size that the issue names: 200,000 validators in and out of the real store, by the real commands. */

import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { createWriteStream, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { fileURLToPath } from "node:url";
import { afterAll, expect, it } from "vitest";
import { MAINNET_ROOT } from "../helpers/duties.ts";

const VALIDATORS = 200_000;
/** Beyond what the same command grows by for one validator. The whole file as text alone would be 75 MiB, parsed 300. */
const GROWTH_MIB_MAX = 250;
const MAIN = fileURLToPath(new URL("../../cli/main.ts", import.meta.url));
const REPORT_MEMORY = new URL("../helpers/report-memory.ts", import.meta.url).href;

const folder = mkdtempSync(join(tmpdir(), "testudo-size-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const hash = (text: string): string => createHash("sha256").update(text).digest("hex");
const pubkeyOf = (index: number): string => `0x${hash(`key ${index}`)}${hash(`more ${index}`).slice(0, 32)}`;
const slotOf = (index: number): number => 10_000_000 + (index % 1000);

/** With its metadata at the end. */
function* fileOf(validators: number): Generator<string> {
  let piece = '{"data":[';
  for (let index = 0; index < validators; index += 1) {
    const root = `0x${hash(`root ${index}`)}`;
    const entry = {
      pubkey: pubkeyOf(index),
      signed_blocks: [{ slot: String(slotOf(index)), signing_root: root }],
      signed_attestations: [{ source_epoch: "300000", target_epoch: String(300_001 + index), signing_root: root }],
    };
    piece += `${index === 0 ? "" : ","}${JSON.stringify(entry)}`;
    if (index % 500 !== 0) continue;
    yield piece;
    piece = "";
  }
  const metadata = { interchange_format_version: "5", genesis_validators_root: MAINNET_ROOT };
  yield `${piece}],"metadata":${JSON.stringify(metadata)}}`;
}

const slashing = (...args: string[]) =>
  new Promise<{ code: number | null; output: string; growthMiB: number }>((resolve) => {
    const command = [MAIN, "slashing", ...args, "--data", join(folder, "data")];
    const child = spawn(process.execPath, ["--import", REPORT_MEMORY, ...command]);
    let output = "";
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding("utf8").on("data", (it) => (output += it));
    child.once("close", (code) => {
      resolve({ code, output, growthMiB: Number(/memory grew by (\d+) MiB/.exec(output)?.[1]) });
    });
  });

it("200,000 validators go in and out in bounded memory, with progress", { timeout: 60_000 }, async () => {
  const [input, output] = [join(folder, "in.json"), join(folder, "out.json")];
  await pipeline(Readable.from(fileOf(VALIDATORS)), createWriteStream(input));
  expect(statSync(input).size).toBeGreaterThan(60_000_000);

  // What the command takes for itself.
  const one = join(folder, "one.json");
  writeFileSync(one, [...fileOf(1)].join(""));
  const base = await slashing("import", one);
  expect(base.output).toContain("1 validators imported, 0 failed");

  const imported = await slashing("import", input);
  expect(imported.output).toContain("200000 validators imported, 0 failed");
  expect(imported.output).toMatch(/importing, bytes: 3\d,\d{3},\d{3} of \d{2},\d{3},\d{3}/);
  expect(imported.code).toBe(0);
  expect(imported.growthMiB - base.growthMiB).toBeLessThan(GROWTH_MIB_MAX);

  const exported = await slashing("export", output);
  expect(exported.output).toContain("200000 validators exported.");
  expect(exported.output).toContain("exporting validators: 100,000 of 200,000");
  expect(exported.code).toBe(0);
  expect(exported.growthMiB - base.growthMiB).toBeLessThan(GROWTH_MIB_MAX);
  const [grewIn, grewOut] = [imported, exported].map(({ growthMiB }) => growthMiB - base.growthMiB);
  console.log(`beside ${base.growthMiB} MiB, memory grew by ${grewIn} MiB in the import, ${grewOut} MiB in the export`);

  const written = JSON.parse(readFileSync(output, "utf8"));
  const found = new Map<string, string>();
  for (const { pubkey, signed_blocks, signed_attestations } of written.data) {
    found.set(pubkey, Object.values({ ...signed_blocks[0], ...signed_attestations[0] }).join(" "));
  }
  expect(found.size).toBe(VALIDATORS);
  for (let index = 0; index < VALIDATORS; index += 1) {
    const expected = `${slotOf(index)} 300000 ${300_001 + index}`;
    if (found.get(pubkeyOf(index)) !== expected) expect.fail(`validator ${index}: ${found.get(pubkeyOf(index))}`);
  }
});
