/**
 * The real command line as processes: `testudo up` with free ports and a data folder of its own, found, signalled and
 * ended by process id. A testbed ends only what it started, and leaves no process and no folder behind.
 */

import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

const MAIN = fileURLToPath(new URL("../../cli/main.ts", import.meta.url));
/** Time for `up` to print its welcome: 1–3 s on an idle machine. */
const UP_MS = 45_000;
/** Time for one short command. */
const COMMAND_MS = 30_000;
/** Time for `up` to end after a signal: drains of 6 s and 12 s at most. */
const STOP_MS = 35_000;
const POLL_MS = 20;

/** A command that has ended. */
export interface Ended {
  /** Exit code; null when a signal ended it. */
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A command that runs. */
export interface Running {
  readonly pid: number;
  /** Standard output and standard error so far. */
  readonly stdout: () => string;
  readonly stderr: () => string;
  /** Resolves when it has ended and its output is complete. */
  readonly ended: Promise<Ended>;
  /** Waits until `pattern` stands in the given output. Fails at once when the command ends before. */
  waitFor(pattern: RegExp, options?: { stream?: "stdout" | "stderr"; timeoutMs?: number }): Promise<RegExpExecArray>;
  signal(name: NodeJS.Signals): void;
}

/** Process ids of a running Testudo. */
export interface Processes {
  readonly up: number;
  readonly pool: number;
  readonly gateway: number;
  /** By CID. */
  readonly enclaves: ReadonlyMap<number, number>;
}

/** A Testudo that said "Testudo is up". */
export interface Testudo {
  readonly url: string;
  readonly metricsUrl: string;
  readonly dataPath: string;
  readonly publicKeys: readonly string[];
  readonly command: Running;
  /** Looked up anew at each call: enclaves are replaced. Fails when one of the parts is not there. */
  processes(): Processes;
  /** SIGINT, then waits; fails unless it exits with 0 and leaves no process. */
  stop(): Promise<void>;
  /** SIGKILL to every process at once, and waits until they are gone. */
  killAll(): Promise<void>;
}

/** How `testudo up` is started. */
export interface UpOptions {
  readonly dataPath?: string;
  /** Time for its welcome. */
  readonly timeoutMs?: number;
  /** Added to its environment; enclaves do not get it. */
  readonly env?: Readonly<Record<string, string>>;
}

/** Starts Testudos and commands, and cleans up after all of them. */
export interface Testbed {
  /** A fresh folder, short enough for sockets. */
  folder(): string;
  /** Writes a file into a fresh folder and returns its path. */
  file(name: string, content: string): string;
  /** `testudo up` with these arguments; without `dataPath` in a fresh folder. */
  up(args?: readonly string[], options?: UpOptions): Promise<Testudo>;
  /** Starts a command and does not wait. */
  start(...args: string[]): Running;
  /** Runs a command to its end. */
  run(...args: string[]): Promise<Ended>;
  /** Has something else closed with the testbed. */
  owns(resource: { close(): Promise<unknown> }): void;
  /** Stops `testudo` in order, where it was started; then, even if that fails, ends by SIGKILL whatever still runs, and removes the folders. */
  close(testudo?: Testudo): Promise<void>;
}

/** A testbed that has started nothing yet. */
export const createTestbed = (): Testbed => {
  const folders: string[] = [];
  const running = new Set<{ command: Running; known: Set<number> }>();
  const owned: { close(): Promise<unknown> }[] = [];

  const folder = (): string => {
    const path = mkdtempSync(join(tmpdir(), "tt-"));
    folders.push(path);
    return path;
  };

  const launch = (args: readonly string[], env: Readonly<Record<string, string>> = {}): Running => {
    const command = startCommand(args, env);
    const entry = { command, known: new Set([command.pid]) };
    running.add(entry);
    // Its children are remembered while they can be found: after its end nothing leads to them any more.
    const timer = setInterval(() => {
      for (const pid of treeOf(command.pid)) entry.known.add(pid);
    }, 200);
    void command.ended.then(() => clearInterval(timer));
    return command;
  };

  const start = (...args: string[]): Running => launch(args);

  const run = async (...args: string[]): Promise<Ended> => {
    const command = start(...args);
    const timer = setTimeout(() => command.signal("SIGKILL"), COMMAND_MS);
    const ended = await command.ended;
    clearTimeout(timer);
    return ended;
  };

  const up: Testbed["up"] = async (args = [], { dataPath = folder(), timeoutMs = UP_MS, env } = {}) => {
    const command = launch(
      ["up", "--data", dataPath, "--port", "0", "--metrics-port", "0", ...signerFor(args), ...args],
      env,
    );
    await command.waitFor(/Ctrl-C drains and stops\./, { timeoutMs });
    return describe(command, dataPath);
  };

  return {
    folder,
    file: (name, content) => {
      const path = join(folder(), name);
      writeFileSync(path, content);
      return path;
    },
    up,
    start,
    run,
    owns: (resource) => void owned.push(resource),
    close: async (testudo) => {
      try {
        await testudo?.stop();
      } finally {
        for (const { command, known } of running) {
          for (const pid of [...treeOf(command.pid), ...known]) if (isOurs(pid)) kill(pid, "SIGKILL");
          await command.ended;
        }
        for (const resource of owned) await resource.close();
        for (const path of folders) rmSync(path, { recursive: true, force: true });
      }
    },
  };
};

const describe = async (command: Running, dataPath: string): Promise<Testudo> => {
  const text = command.stdout();
  const url = /Web3Signer API\S*\s+(http:\/\/\S+)/.exec(text)?.[1];
  const metricsUrl = /metrics\S*\s+(http:\/\/\S+)\/metrics/.exec(text)?.[1];
  if (url === undefined || metricsUrl === undefined) throw new Error(`no addresses in:\n${text}`);
  const publicKeys = (await (await fetch(`${url}/api/v1/eth2/publicKeys`)).json()) as string[];
  return {
    url,
    metricsUrl,
    dataPath,
    publicKeys,
    command,
    processes: () => processesBelow(command.pid),
    stop: async () => {
      const pids = treeOf(command.pid);
      command.signal("SIGINT");
      const timer = setTimeout(() => command.signal("SIGKILL"), STOP_MS);
      const { code, stderr } = await command.ended;
      clearTimeout(timer);
      if (code !== 0) throw new Error(`up: expected exit code 0 after SIGINT, got ${code}:\n${stderr}`);
      const left = pids.filter(isAlive);
      if (left.length > 0) throw new Error(`up left processes behind: ${left.map(commandLine).join("; ")}`);
    },
    killAll: async () => {
      const pids = treeOf(command.pid);
      // The starter first, and all in one turn: nobody gets to replace or to drain anything.
      for (const pid of pids) kill(pid, "SIGKILL");
      await command.ended;
      await waitUntilGone(pids, { timeoutMs: 5_000 });
    },
  };
};

/** `TESTUDO_TEST_SIGNER=portable npm test` runs everything without the native signer. */
const signerFor = (args: readonly string[]): string[] =>
  process.env.TESTUDO_TEST_SIGNER === "portable" && !args.some((it) => it.endsWith("-native")) ? ["--no-native"] : [];

const startCommand = (args: readonly string[], env: Readonly<Record<string, string>>): Running => {
  const child = spawn(process.execPath, [MAIN, ...args], {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, NO_COLOR: "1", FORCE_COLOR: undefined, LODESTAR_PRESET: undefined, ...env },
  });
  const output = { stdout: "", stderr: "" };
  child.stdout?.setEncoding("utf8").on("data", (text: string) => (output.stdout += text));
  child.stderr?.setEncoding("utf8").on("data", (text: string) => (output.stderr += text));
  const ended = new Promise<Ended>((resolve) => child.once("close", (code) => resolve({ code, ...output })));
  return {
    pid: child.pid ?? 0,
    stdout: () => output.stdout,
    stderr: () => output.stderr,
    ended,
    waitFor: (pattern, { stream = "stdout", timeoutMs = COMMAND_MS } = {}) =>
      waitForText(child, { name: args.join(" "), pattern, read: () => output[stream], all: output, timeoutMs }),
    signal: (name) => void child.kill(name),
  };
};

const waitForText = async (
  child: ChildProcess,
  wait: {
    name: string;
    pattern: RegExp;
    read: () => string;
    all: { stdout: string; stderr: string };
    timeoutMs: number;
  },
): Promise<RegExpExecArray> => {
  const deadline = Date.now() + wait.timeoutMs;
  for (;;) {
    const over = child.exitCode !== null || child.signalCode !== null || Date.now() > deadline;
    const match = wait.pattern.exec(wait.read());
    if (match !== null) return match;
    if (over) {
      const what = `${wait.name}: ${wait.pattern} did not come (exit code ${child.exitCode})`;
      throw new Error(`${what}\n${wait.all.stdout}\n${wait.all.stderr}`);
    }
    await sleep(POLL_MS);
  }
};

/** Whether a process runs; one that has ended and was not collected yet does not. */
export const isAlive = (pid: number): boolean => {
  try {
    return !/^\d+ \(.*\) [ZX]/s.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch {
    return false;
  }
};

/** Waits until none of the processes runs. */
export const waitUntilGone = async (pids: readonly number[], { timeoutMs }: { timeoutMs: number }): Promise<void> => {
  const deadline = Date.now() + timeoutMs;
  while (pids.some(isAlive)) {
    if (Date.now() > deadline) throw new Error(`still running: ${pids.filter(isAlive).map(commandLine).join("; ")}`);
    await sleep(POLL_MS);
  }
};

/** A process and everything below it, parents first. */
export const treeOf = (pid: number): number[] => [pid, ...childrenOf(pid).flatMap(treeOf)];

/** Children of all threads of a process. */
const childrenOf = (pid: number): number[] => {
  try {
    const text = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim();
    return text === "" ? [] : text.split(" ").map(Number);
  } catch {
    return [];
  }
};

const commandLine = (pid: number): string => {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ").trim();
  } catch {
    return "";
  }
};

/** Guards against a process id that the system has given to somebody else meanwhile. */
const isOurs = (pid: number): boolean => /\/(cli|enclave-worker)\/main\.ts /.test(`${commandLine(pid)} `);

const kill = (pid: number, signal: NodeJS.Signals): void => {
  try {
    process.kill(pid, signal);
  } catch {
    // gone already
  }
};

const processesBelow = (up: number): Processes => {
  const [pool, gateway] = ["pool", "gateway"].map((name) =>
    childrenOf(up).find((pid) => commandLine(pid).includes(`/cli/main.ts ${name} `)),
  );
  if (pool === undefined || gateway === undefined) throw new Error(`up (${up}): pool-manager or gateway is not there`);
  const enclaves = new Map<number, number>();
  for (const pid of childrenOf(pool)) {
    const cid = /\/enclave-worker\/main\.ts .*--cid (\d+)/.exec(commandLine(pid))?.[1];
    if (cid !== undefined && isAlive(pid)) enclaves.set(Number(cid), pid);
  }
  return { up, pool, gateway, enclaves };
};

/** A TCP port of 127.0.0.1 that was free just now, for servers that cannot choose one themselves. */
export const freePort = (): Promise<number> =>
  new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      server.close(() => (typeof address === "object" && address !== null ? resolve(address.port) : reject(address)));
    });
  });
