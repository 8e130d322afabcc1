/** The sockets' folder in /tmp was accepted from anybody: its owner could answer in our place and was handed the keys. */

import { chmodSync, chownSync, mkdirSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeEach, expect, it } from "vitest";
import { openDataFolder } from "#pool-manager/data-folder.ts";
import { runPathOf } from "../../cli/options.ts";
import { createTestbed } from "../helpers/testudo.ts";

const bed = createTestbed();
afterAll(() => bed.close());

const NOBODY = 65_534;
/** Too long for sockets beside the data, so that the run folder lies in the temporary folder. */
let dataPath: string;
let runPath: string;

beforeEach(() => {
  dataPath = join(bed.folder(), "a-rather-long-name".repeat(6), "data");
  runPath = runPathOf(dataPath);
  mkdirSync(runPath);
  // Of somebody else, or at least open to everybody.
  if (process.getuid?.() === 0) chownSync(runPath, NOBODY, NOBODY);
  else chmodSync(runPath, 0o777);
});
afterEach(() => rmSync(runPath, { recursive: true, force: true }));

it.each([
  ["pool", "--enclaves", "1"],
  ["gateway", "--port", "0", "--metrics-port", "0"],
  ["up", "--port", "0", "--metrics-port", "0"],
])("testudo %s refuses it and says what to do", async (...args) => {
  const ended = await bed.run(...args, "--data", dataPath);
  expect(ended).toMatchObject({ code: 2, stdout: "" });
  expect(ended.stderr).toContain(`run folder ${runPath}`);
  expect(ended.stderr).toMatch(/remove it, or choose a data folder with a shorter path/);
  expect(readdirSync(runPath)).toEqual([]);
});

it("testudo slashing does not connect into it", async () => {
  openDataFolder({ path: dataPath, store: "sqlite" }).close();
  const ended = await bed.run("slashing", "export", "--data", dataPath);
  expect(ended).toMatchObject({ code: 2, stdout: "", stderr: expect.stringContaining(`run folder ${runPath}`) });
});
