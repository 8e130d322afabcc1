/** `npm run demo:aws` from its start to its end, and what it leaves behind: nothing. */

import { spawn } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, it } from "vitest";
import type { Ended } from "../helpers/testudo.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const DEMO = join(ROOT, "cli/demo-aws.ts");
/** 15 s alone; the machines that test do other things at the same time. */
const SECONDS = 170;

let temporary: string;
beforeAll(() => {
  temporary = mkdtempSync(join(tmpdir(), "tt-"));
});
afterAll(() => rmSync(temporary, { recursive: true, force: true }));

/** Real credentials are in the environment: none of them may get anywhere. */
const play = (...args: string[]): Promise<Ended> =>
  new Promise((resolve) => {
    const env = {
      ...process.env,
      TMPDIR: temporary,
      AWS_PROFILE: "production",
      AWS_ENDPOINT_URL: "http://127.0.0.1:1",
    };
    const child = spawn(process.execPath, [DEMO, ...args], { stdio: ["ignore", "pipe", "pipe"], env });
    const output = { stdout: "", stderr: "" };
    child.stdout.setEncoding("utf8").on("data", (text: string) => (output.stdout += text));
    child.stderr.setEncoding("utf8").on("data", (text: string) => (output.stderr += text));
    child.once("close", (code) => resolve({ code, ...output }));
  });

const processesWith = (text: string): string[] =>
  readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ");
      } catch {
        return "";
      }
    })
    .filter((line) => line.includes(text));

const expectNothingLeft = (): void => {
  expect(readdirSync(temporary)).toEqual([]);
  expect(processesWith(temporary)).toEqual([]);
};

it("seals, opens by attestation, signs, rotates and refuses another program, and ends with 0", async () => {
  const { code, stdout, stderr } = await play("--seconds", String(SECONDS));
  expect(stderr).toBe("");
  expect(code).toBe(0);
  expect(stdout.match(/^ {3}✓ /gm)).toHaveLength(7);
  expect(stdout).toMatch(/imported 100 keys/);
  expect(stdout).toMatch(/signed the attestation of epoch \d+: 0x[0-9a-f]{10}…, verified here/);
  expect(stdout).toMatch(/genuine: enclave 16\n {3}genuine: enclave 17\n {3}each holds exactly the 100 keys of /);
  expect(stdout).toMatch(/refused: untrusted_root[\s\S]*refused: wrong_pcr/);
  expect(stdout).toMatch(/AccessDeniedException/);
  expect(stdout).toContain("All of it held");
  expectNothingLeft();
}, 200_000);

it("ends with 1 and says which step failed when it cannot go on, and cleans up all the same", async () => {
  const { code, stdout, stderr } = await play("--seconds", "2");
  expect(code).toBe(1);
  expect(stderr).toMatch(/^\ndemo: step \d \(.*\) failed: not done within 2 s/);
  expect(stdout).not.toContain("All of it held");
  expectNothingLeft();
}, 60_000);

it("is a command of the project", () => {
  const { scripts } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as { scripts: object };
  expect(scripts).toMatchObject({ "demo:aws": "exec node cli/launch.mjs --run demo:aws" });
  expect(readFileSync(join(ROOT, "cli/launch.mjs"), "utf8")).toContain(
    '"demo:aws": (args) => [[join(root, "cli", "demo-aws.ts")',
  );
  expect(readFileSync(join(ROOT, "README.md"), "utf8")).toContain("npm run demo:aws");
});
