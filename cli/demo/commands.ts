/** Runs Testudo's commands for a demonstration: as processes, as an operator types them, each with an end. */

import { type ChildProcess, spawn } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";

/** A command's exit code and output. */
export interface Ended {
  /** Null when a signal ended it. */
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A command that runs on. */
export interface Running {
  stdout(): string;
  stderr(): string;
  /** The match, as soon as the output has one. @throws Error when the command ends before */
  waitFor(pattern: RegExp, stream: "stdout" | "stderr"): Promise<RegExpExecArray>;
  /** Asks it to end in order and waits; ends it by force when it does not. */
  stop(): Promise<Ended>;
}

/** Starts commands and ends what is left of them. */
export interface Commands {
  /** Runs a command to its end. @throws Error with its output unless it ends with this exit code */
  run(args: readonly string[], code?: number): Promise<Ended>;
  /** @param main of another program than this one */
  start(args: readonly string[], main?: string): Running;
  close(): Promise<void>;
}

/** How commands run. */
export interface CommandsOptions {
  /** The program's `cli/main.ts`. */
  readonly main: string;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Ends every wait. */
  readonly signal: AbortSignal;
}

const POLL_MS = 20;
/** An enclave's drain takes 12 s at most; nobody has requests in flight here. */
const STOP_MS = 10_000;
/** Time for the last output after a process's end. */
const OUTPUT_MS = 1_000;
/** Kept of each stream: a minute of logs. */
const OUTPUT_CHARACTERS_MAX = 4 * 1024 * 1024;

/** Nothing is started yet. */
export const createCommands = ({ main, environment, signal }: CommandsOptions): Commands => {
  const running = new Set<Running>();

  const start: Commands["start"] = (args, program = main) => {
    signal.throwIfAborted();
    const child = spawn(process.execPath, [program, ...args], {
      env: environment,
      // A group of its own: Ctrl-C reaches the demonstration alone. The channel tells the command when that is gone.
      detached: true,
      stdio: ["ignore", "pipe", "pipe", "ipc"],
    });
    const command = follow(child, { name: `testudo ${args.slice(0, 2).join(" ")}`, signal });
    running.add(command);
    return command;
  };

  return {
    start,
    run: async (args, code = 0) => {
      const command = start(args);
      const { ended } = command as Followed;
      const over = Promise.withResolvers<never>();
      const onAbort = (): void => over.reject(signal.reason);
      signal.addEventListener("abort", onAbort, { once: true });
      try {
        const end = await Promise.race([ended, over.promise]);
        running.delete(command);
        if (end.code !== code) throw new Error(`testudo ${args.join(" ")}: exit code ${end.code}\n${end.stderr}`);
        return end;
      } finally {
        signal.removeEventListener("abort", onAbort);
      }
    },
    close: async () => void (await Promise.all([...running].map((command) => command.stop()))),
  };
};

interface Followed extends Running {
  readonly ended: Promise<Ended>;
}

const follow = (
  child: ChildProcess,
  { name, signal }: { readonly name: string; readonly signal: AbortSignal },
): Followed => {
  const output = { stdout: "", stderr: "" };
  for (const stream of ["stdout", "stderr"] as const) {
    child[stream]?.setEncoding("utf8").on("data", (text: string) => {
      output[stream] = (output[stream] + text).slice(-OUTPUT_CHARACTERS_MAX);
    });
  }
  let isOver = false;
  const ended = new Promise<Ended>((resolve) => {
    const end = (code: number | null): void => {
      isOver = true;
      resolve({ code, ...output });
    };
    child.once("error", (error) => {
      output.stderr += error.message;
      end(null);
    });
    child.once("exit", (code) => {
      const timer = setTimeout(end, OUTPUT_MS, code);
      child.once("close", () => {
        clearTimeout(timer);
        end(code);
      });
    });
  });
  return {
    stdout: () => output.stdout,
    stderr: () => output.stderr,
    ended,
    waitFor: async (pattern, stream) => {
      for (;;) {
        const wasOver = isOver;
        const match = pattern.exec(output[stream]);
        if (match !== null) return match;
        if (wasOver) throw new Error(`${name}: ended before ${pattern} was said\n${output.stderr}`);
        await sleep(POLL_MS, undefined, { signal });
      }
    },
    stop: async () => {
      child.kill("SIGTERM");
      const timer = setTimeout(() => child.kill("SIGKILL"), STOP_MS);
      const end = await ended;
      clearTimeout(timer);
      return end;
    },
  };
};
