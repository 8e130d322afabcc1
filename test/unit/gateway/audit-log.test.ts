import { existsSync, mkdirSync, readFileSync, renameSync, statSync } from "node:fs";
import { afterEach, describe, expect, it, vi } from "vitest";
import { type AuditLog, createAuditLog, type Refused } from "#gateway/audit-log.ts";
import type { Logger } from "#protocol/log.ts";
import { makeSocketFolder } from "../../helpers/socket-folder.ts";

const folder = makeSocketFolder();
const logger = { debug: vi.fn(), info: vi.fn(), warn: vi.fn(), error: vi.fn() } satisfies Logger;
const REFUSED: Refused = {
  requestId: "a-1",
  identifier: "0xab",
  type: "ATTESTATION",
  rule: "double_vote",
  detail: "a different attestation was already signed for target epoch 2",
};
const logs: AuditLog[] = [];
const open = (name: string, fileBytesMax?: number) => {
  const path = folder.path(name);
  const log = createAuditLog({ path, ...(fileBytesMax !== undefined && { fileBytesMax }) }, { logger });
  logs.push(log);
  return { path, log };
};
afterEach(async () => {
  for (const log of logs.splice(0)) await log.close();
  vi.clearAllMocks();
});
const linesOf = (path: string): Refused[] =>
  readFileSync(path, "utf8")
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as Refused);

describe("the audit log", () => {
  it("has a line for each refusal, in order, in a file that only this user may read", async () => {
    const { path, log } = open("order");
    for (let count = 0; count < 100; count += 1) log.record({ ...REFUSED, requestId: `a-${count}` });
    await log.close();
    const lines = linesOf(path);
    expect(lines.map(({ requestId }) => requestId)).toEqual(Array.from({ length: 100 }, (_, count) => `a-${count}`));
    expect(lines[0]).toMatchObject({ ...REFUSED, requestId: "a-0", time: expect.stringMatching(/^\d{4}-.*Z$/) });
    expect(statSync(path).mode & 0o777).toBe(0o600);
  });

  it("goes on where an earlier process ended", async () => {
    const first = open("again");
    first.log.record(REFUSED);
    await first.log.close();
    const second = open("again");
    second.log.record(REFUSED);
    await second.log.close();
    expect(linesOf(second.path)).toHaveLength(2);
  });

  it("keeps one file and its predecessor, whatever comes", async () => {
    const { path, log } = open("size", 2_000);
    for (let count = 0; count < 200; count += 1) {
      log.record({ ...REFUSED, requestId: `a-${count}` });
      if (count % 10 === 0) await new Promise((resolve) => setTimeout(resolve, 2));
    }
    await log.close();
    expect(statSync(path).size).toBeLessThanOrEqual(2_000);
    await expect.poll(() => statSync(`${path}.1`).size).toBeLessThanOrEqual(2_000);
    expect(existsSync(`${path}.2`)).toBe(false);
    expect(linesOf(path).at(-1)?.requestId).toBe("a-199");
  });

  it("says once that it cannot write, and does not throw, and then how many lines are missing", async () => {
    mkdirSync(folder.path("taken"));
    const { path, log } = open("taken");
    await expect.poll(() => logger.error.mock.calls.length).toBe(1);
    for (let count = 0; count < 500; count += 1) log.record(REFUSED);
    expect(logger.error.mock.calls.map(([event]) => event)).toEqual(["audit log not written"]);
    await log.close();
    expect(logger.error.mock.calls[1]).toEqual([
      "refusals missing in the audit log",
      { path, refusals: 500, reason: "the file cannot be written" },
    ]);
  });

  it("takes what the disk takes, and counts the rest", async () => {
    const { path, log } = open("flood");
    const detail = "x".repeat(1_000);
    for (let count = 0; count < 2_000; count += 1) log.record({ ...REFUSED, detail });
    await log.close();
    const [, { refusals: missing }] = logger.error.mock.calls[0] as [string, { refusals: number }];
    expect(linesOf(path)).toHaveLength(2_000 - missing);
    expect(statSync(path).size).toBeGreaterThan(1024 * 1024);
    expect(statSync(path).size).toBeLessThan(1024 * 1024 + 3_000);
  });

  it("goes on in a new file when somebody has moved the old one", async () => {
    const { path, log } = open("moved", 1_000);
    const record = async (): Promise<void> => {
      for (let count = 0; count < 5; count += 1) log.record(REFUSED);
      await new Promise((resolve) => setTimeout(resolve, 20));
    };
    await record();
    renameSync(path, folder.path("elsewhere"));
    await record();
    await log.close();
    expect(linesOf(folder.path("elsewhere")).length + linesOf(path).length).toBe(10);
    expect(logger.error).not.toHaveBeenCalled();
  });

  it("that cannot begin anew leaves lines out, and never throws", async () => {
    const { path, log } = open("stuck", 1_000);
    mkdirSync(`${path}.1/taken`, { recursive: true });
    await expect.poll(() => existsSync(path)).toBe(true);
    for (let count = 0; count < 10; count += 1) log.record(REFUSED);
    await log.close();
    expect(statSync(path).size).toBeLessThanOrEqual(1_000);
    const [event, fields] = logger.error.mock.calls[0] as [string, { refusals: number; reason: string }];
    expect([event, fields.refusals + linesOf(path).length]).toEqual(["refusals missing in the audit log", 10]);
    expect(fields.reason).toMatch(/rename/);
  });
});
