import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createLogger } from "#protocol/log.ts";
import type { Child, ChildEnd } from "../../../cli/child.ts";
import { type Supervised, supervise } from "../../../cli/supervisor.ts";

interface FakeChild extends Child {
  end(end: ChildEnd): void;
  stopped: boolean;
}

let nowMs: number;
let children: FakeChild[];
let pauses: number[];
let logs: { event: string; level: string; reason?: string }[];
let isUp: boolean;
let supervised: Supervised;
let outcome: string | undefined;

const makeChild = (): FakeChild => {
  const exited = Promise.withResolvers<ChildEnd>();
  const child: FakeChild = {
    exited: exited.promise,
    end: exited.resolve,
    stopped: false,
    stop: async () => {
      child.stopped = true;
      exited.resolve({ reason: "exit code 0", code: 0 });
    },
  };
  children.push(child);
  return child;
};
const KILLED: ChildEnd = { reason: "SIGKILL" };
const settle = () => new Promise((resolve) => setImmediate(resolve));
const endLast = async (end: ChildEnd = KILLED): Promise<void> => {
  children.at(-1)?.end(end);
  await settle();
};

beforeEach(() => {
  nowMs = 0;
  children = [];
  pauses = [];
  logs = [];
  isUp = true;
  outcome = undefined;
  supervised = supervise("gateway", {
    start: makeChild,
    mayRestart: () => isUp,
    logger: createLogger({ process: "up", level: "info", write: (line) => logs.push(JSON.parse(line)) }),
    now: () => nowMs,
    sleep: async (ms) => {
      pauses.push(ms);
      nowMs += ms;
    },
  });
  supervised.failed.catch((error) => (outcome = String(error.message)));
});
afterEach(() => supervised.stop({ timeoutMs: 1 }));

describe("a supervised process", () => {
  it("is started again at once when it ends after everything was up, and one warning says so", async () => {
    await endLast();
    expect(pauses).toEqual([0]);
    expect(children).toHaveLength(2);
    expect(logs).toMatchObject([{ level: "warn", reason: "SIGKILL" }]);
    expect(outcome).toBeUndefined();
  });

  it.each<[ChildEnd, RegExp]>([
    [{ reason: "exit code 1", code: 1 }, /^unavailable: the gateway ended \(exit code 1\), see above/],
    [{ reason: "exit code 2", code: 2 }, /^bad_request: the gateway ended \(exit code 2\), see above/],
    [KILLED, /^unavailable: the gateway ended \(SIGKILL\)/],
  ])("ends everything when it ends with %o before everything was up", async (end, message) => {
    isUp = false;
    await endLast(end);
    expect(children).toHaveLength(1);
    expect(outcome).toMatch(message);
    expect(logs).toEqual([]);
  });

  it("is given up after ten ends within a minute", async () => {
    for (let ends = 1; ends <= 9; ends += 1) await endLast();
    expect(pauses).toEqual([0, 250, 500, 1000, 2000, 4000, 5000, 5000, 5000]);
    expect(outcome).toBeUndefined();
    await endLast();
    expect(outcome).toMatch(/^unavailable: the gateway ended 10 times within 60 s \(last: SIGKILL\)/);
    expect(children).toHaveLength(10);
  });

  it("is back fast when it is killed after ten minutes of calm, and then twice in a row", async () => {
    for (let round = 0; round < 3; round += 1) {
      nowMs += 600_000;
      for (let ends = 1; ends <= 3; ends += 1) await endLast();
    }
    expect(pauses).toEqual([0, 250, 500, 0, 250, 500, 0, 250, 500]);
    expect(outcome).toBeUndefined();
  });

  it("has its ends of the last minute counted, however long each successor lived", async () => {
    for (let ends = 1; ends <= 7; ends += 1) {
      nowMs += 16_000;
      await endLast();
    }
    expect(pauses).toEqual([0, 250, 500, 1000, 1000, 1000, 1000]);
    nowMs += 30_000;
    await endLast();
    expect(pauses.at(-1)).toBe(500);
    nowMs += 60_000;
    await endLast();
    expect(pauses.at(-1)).toBe(0);
    expect(outcome).toBeUndefined();
  });

  it("is not started again once it was told to stop", async () => {
    await supervised.stop({ timeoutMs: 1 });
    await settle();
    expect(children.map(({ stopped }) => stopped)).toEqual([true]);
    expect(outcome).toBeUndefined();
  });
});
