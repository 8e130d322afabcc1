import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, constants, openSync, readFileSync, readSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createLogSink } from "#protocol/log-sink.ts";
import type { LogSinkCommand } from "../../helpers/log-sink-child.ts";
import { makeSocketFolder, until } from "../../helpers/socket-folder.ts";

const CHILD = fileURLToPath(new URL("../../helpers/log-sink-child.ts", import.meta.url));
const LINES = Array.from({ length: 5_000 }, (_, index) => `${JSON.stringify({ index, filler: "x".repeat(80) })}\n`);

interface Running {
  readonly child: ChildProcess;
  /** Reads what the child wrote; before the first call nobody does. */
  read(): string;
  /** Closes the reading end. */
  hangUp(): void;
}

let folder: ReturnType<typeof makeSocketFolder>;
let child: ChildProcess | undefined;

beforeEach(() => {
  folder = makeSocketFolder();
});

afterEach(() => {
  child?.kill("SIGKILL");
  folder.remove();
});

/** Its standard error is a pipe, as in a shell. */
const startOnPipe = (): Running => {
  execFileSync("mkfifo", [folder.path("pipe")]);
  const reader = openSync(folder.path("pipe"), constants.O_RDONLY | constants.O_NONBLOCK);
  const writer = openSync(folder.path("pipe"), constants.O_WRONLY);
  const child = spawn(process.execPath, [CHILD], { stdio: ["ignore", "ignore", writer, "ipc"] });
  closeSync(writer);
  let received = "";
  const chunk = Buffer.alloc(1 << 16);
  return {
    child,
    read: () => {
      try {
        for (let bytes = 1; bytes > 0; ) {
          bytes = readSync(reader, chunk);
          received += chunk.toString("utf8", 0, bytes);
        }
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "EAGAIN") throw error;
      }
      return received;
    },
    hangUp: () => closeSync(reader),
  };
};

/** Its standard error is a socket, as of every child of `spawn`. */
const startOnSocket = (): Running => {
  const child = spawn(process.execPath, [CHILD], { stdio: ["ignore", "ignore", "pipe", "ipc"] });
  const { stderr } = child;
  let received = "";
  let reading = false;
  return {
    child,
    read: () => {
      if (!reading) stderr?.on("data", (chunk: Buffer) => (received += chunk.toString()));
      reading = true;
      return received;
    },
    hangUp: () => stderr?.destroy(),
  };
};

const start = async (launch: () => Running): Promise<Running> => {
  const running = launch();
  child = running.child;
  await once(child, "message");
  return running;
};

const tell = async (command: LogSinkCommand): Promise<void> => {
  const done = once(child as ChildProcess, "message");
  child?.send(command);
  await done;
};

describe.each([
  ["pipe", startOnPipe],
  ["socket", startOnSocket],
])("a process that logs to a %s", (_, launch) => {
  it("goes on when the reader stops, keeps what fits, and says how much it dropped", async () => {
    const { read } = await start(launch);
    for (let at = 0; at < LINES.length; at += 500) {
      await tell({ kind: "write", lines: LINES.slice(at, at + 500) }); // 50 KiB: the kernel and the sink are full soon
      await sleep(20);
    }
    await tell({ kind: "flush", timeoutMs: 50 }); // comes back though nothing moves

    const events = (): Record<string, unknown>[] =>
      read()
        .split("\n")
        .slice(0, -1)
        .map((line) => JSON.parse(line) as Record<string, unknown>);
    await until(() => events().at(-1)?.event === "log lines dropped");
    await tell({ kind: "write", lines: ['{"last":true}\n'] });
    await tell({ kind: "flush", timeoutMs: 5_000 });
    await until(() => events().at(-1)?.last === true);

    let next = 0; // every line is there or counted, and the count stands where they were
    for (const event of events().slice(0, -1)) {
      if (event.event === "log lines dropped") {
        expect(event).toMatchObject({ time: expect.stringMatching(/^\d{4}-/), level: "warn", process: "child" });
        next += event.lines as number;
      } else {
        expect(event.index).toBe(next);
        next += 1;
      }
    }
    expect(next).toBe(LINES.length);
    expect(events().length).toBeLessThan(4_000); // 64 KiB in the sink and some 200 KiB in the kernel
  });

  it("ends at once though nobody reads", async () => {
    await start(launch);
    await tell({ kind: "write", lines: LINES });
    await tell({ kind: "flush", timeoutMs: 50 });
    const exited = once(child as ChildProcess, "exit");
    child?.send({ kind: "exit", code: 7 } satisfies LogSinkCommand);
    expect(await Promise.race([exited, sleep(5_000, "hangs")])).toEqual([7, null]);
  });

  it("goes on when the reader is gone", async () => {
    const { hangUp } = await start(launch);
    await tell({ kind: "write", lines: LINES });
    hangUp();
    await sleep(100);
    await tell({ kind: "write", lines: LINES });
    const before = performance.now();
    await tell({ kind: "flush", timeoutMs: 20_000 });
    expect(performance.now() - before).toBeLessThan(10_000);
    expect(child?.exitCode).toBeNull();
  });
});

describe("createLogSink", () => {
  it("writes every line to a file, in order and whole, and flush waits for them", async () => {
    const fd = openSync(folder.path("log"), "a");
    const sink = createLogSink({ fd });
    const long = `${"y".repeat(10_000)}\n`;
    const lines = [...LINES.slice(0, 2_000), long, "é\n"];
    for (const line of lines) sink.write(line);
    await sink.flush(5_000);
    expect(readFileSync(folder.path("log"), "utf8")).toBe(lines.join(""));
    await sink.flush(5_000); // nothing to wait for
    closeSync(fd);
  });

  it("takes lines up to its bound exactly", async () => {
    const fd = openSync(folder.path("log"), "a");
    const sink = createLogSink({ fd, bytesMax: 1_000 });
    for (let index = 0; index < 11; index += 1) sink.write(`${String(index).padEnd(99, ".")}\n`); // 100 bytes each
    await sink.flush(5_000);
    const lines = readFileSync(folder.path("log"), "utf8").trimEnd().split("\n");
    expect(lines).toHaveLength(11);
    expect(lines[9]).toMatch(/^9\./);
    expect(JSON.parse(lines[10] as string)).toMatchObject({ event: "log lines dropped", lines: 1 });
    closeSync(fd);
  });

  it("never throws, whatever the descriptor", async () => {
    const sink = createLogSink({ fd: 1_000_000 });
    sink.write("nowhere\n");
    await sink.flush(5_000);
    sink.write("nowhere\n");
    await sink.flush(5_000);
  });
});
