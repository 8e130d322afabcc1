import { existsSync, mkdirSync, readFileSync, statSync } from "node:fs";
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

  it("says once that it cannot write, and does not throw", async () => {
    mkdirSync(folder.path("taken"));
    const { log } = open("taken");
    await expect.poll(() => logger.error.mock.calls.length).toBe(1);
    log.record(REFUSED);
    expect(logger.error.mock.calls[0]?.[0]).toBe("audit log not written");
  });
});
