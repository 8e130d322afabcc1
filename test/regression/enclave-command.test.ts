/** `testudo enclave` outlived a starter that was killed, and gave its worker the whole environment. */

import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, expect, it } from "vitest";
import { createTestbed, treeOf, waitUntilGone } from "../helpers/testudo.ts";

const bed = createTestbed();
afterAll(() => bed.close());

const MAIN = fileURLToPath(new URL("../../cli/main.ts", import.meta.url));
/** Starts its arguments as the launcher does, and waits. */
const STARTER = `
  const { spawn } = require("node:child_process");
  spawn(process.execPath, process.argv.slice(1), { stdio: ["ignore", "ignore", "ignore", "ipc"] });
  setInterval(() => undefined, 60_000);
`;

it("testudo enclave and its worker end with their starter; the worker's environment is minimal", async () => {
  const path = join(bed.folder(), "e");
  const env = { ...process.env, TESTUDO_TEST_SECRET: "x", NODE_OPTIONS: undefined };
  const starter = spawn(process.execPath, ["-e", STARTER, MAIN, "enclave", "--path", path], { stdio: "ignore", env });
  const exited = once(starter, "exit");
  await expect.poll(() => existsSync(path), { timeout: 15_000 }).toBe(true);
  const pids = treeOf(starter.pid as number);
  try {
    expect(pids).toHaveLength(3);
    const names = readFileSync(`/proc/${pids[2]}/environ`, "utf8")
      .split("\0")
      .map((entry) => entry.split("=")[0]);
    // The channel's own names are Node's.
    const own = names.filter((name) => name !== "" && !name?.startsWith("NODE_CHANNEL"));
    expect(own.sort()).toEqual(["LODESTAR_PRESET", "NODE_ENV", "PATH"]);
  } finally {
    starter.kill("SIGKILL");
    await exited;
  }
  await waitUntilGone(pids, { timeoutMs: 5_000 });
});
