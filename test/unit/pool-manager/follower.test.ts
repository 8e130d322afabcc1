/** What the log says of a manager that is not there: nothing while it may be starting. The rest is in `integration/pool.test.ts`. */

import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { createFollower, type Follower, START_MS } from "#pool-manager/follower.ts";
import { createPublisher, type Publisher } from "#pool-manager/publisher.ts";
import { createLogger } from "#protocol/log.ts";
import { makeSocketFolder, until } from "../../helpers/socket-folder.ts";

let folder: ReturnType<typeof makeSocketFolder>;
let follower: Follower;
let publisher: Publisher | undefined;
let logs: { level: string; event: string; reason?: string }[];

const startManager = async (): Promise<void> => {
  const never = (): Promise<never> => new Promise(() => undefined);
  publisher = await createPublisher(
    { socketPath: folder.path("manager") },
    { reload: never, reloadStatus: never, operate: never, slashingStatus: never },
  );
};
const warnings = () => logs.filter(({ level }) => level === "warn");

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  folder = makeSocketFolder();
  publisher = undefined;
  logs = [];
  const logger = createLogger({ process: "test", level: "debug", write: (line) => logs.push(JSON.parse(line)) });
  follower = createFollower(
    { socketPath: folder.path("manager") },
    { now: () => performance.now(), random: () => 0, logger },
  );
});
afterEach(async () => {
  follower.close();
  await publisher?.close();
  vi.useRealTimers();
  folder.remove();
});

/** Lets faked time pass, and the sockets keep up with it. */
const pass = async (ms: number): Promise<void> => {
  for (let passed = 0; passed < ms; passed += 100) {
    vi.advanceTimersByTime(100);
    await sleep(1);
  }
};

it("warns of nothing when the manager comes a moment later, and then of its loss at once", async () => {
  await pass(START_MS - 1_000);
  expect(warnings()).toEqual([]);
  expect(logs[0]).toMatchObject({ level: "debug", event: "connection down", reason: expect.stringMatching(/ENOENT/) });
  await startManager();
  await pass(900);
  await until(() => follower.view().connected);
  await pass(2 * START_MS);
  expect(warnings()).toEqual([]);
  await publisher?.close();
  await until(() => warnings().length === 1);
});

it("warns once of a manager that does not come", async () => {
  await pass(START_MS - 100);
  expect(warnings()).toEqual([]);
  await pass(3 * START_MS);
  expect(warnings()).toMatchObject([{ event: "connection down", reason: expect.stringMatching(/ENOENT/) }]);
});

it("leaves no timer behind", async () => {
  await until(() => logs.length > 0);
  follower.close();
  await pass(2 * START_MS);
  expect(warnings()).toEqual([]);
  expect(vi.getTimerCount()).toBe(0);
});
