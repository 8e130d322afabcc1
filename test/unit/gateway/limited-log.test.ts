import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { createLimitedLog, type LimitedLog, WINDOW_MS } from "#gateway/limited-log.ts";

let written: unknown[];
let log: LimitedLog;

beforeEach(() => {
  vi.useFakeTimers();
  written = [];
  log = createLimitedLog({
    linesMax: 3,
    write: ({ id }) => written.push(id),
    writeSuppressed: ({ suppressed }) => written.push({ suppressed }),
  });
});
afterEach(() => {
  log.close();
  vi.useRealTimers();
});
const write = (from: number, to: number): void => {
  for (let id = from; id <= to; id += 1) log.write({ id });
};

describe("a limited log", () => {
  it("writes what comes slowly, and nothing else", () => {
    for (let id = 1; id <= 5; id += 1) {
      write(id, id);
      vi.advanceTimersByTime(WINDOW_MS / 2);
    }
    vi.advanceTimersByTime(10 * WINDOW_MS);
    expect(written).toEqual([1, 2, 3, 4, 5]);
  });

  it("writes the first lines of a flood, and once a window how many more there were, also when it is over", () => {
    write(1, 1000);
    expect(written).toEqual([1, 2, 3]);
    vi.advanceTimersByTime(WINDOW_MS - 1);
    write(1001, 1001);
    expect(written).toEqual([1, 2, 3]);
    vi.advanceTimersByTime(1);
    expect(written).toEqual([1, 2, 3, { suppressed: 998 }]);
    write(1002, 1010);
    vi.advanceTimersByTime(10 * WINDOW_MS);
    expect(written.slice(4)).toEqual([1002, 1003, 1004, { suppressed: 6 }]);
  });

  it("keeps one timer while something was written, and none at rest", () => {
    write(1, 1000);
    expect(vi.getTimerCount()).toBe(1);
    vi.advanceTimersByTime(WINDOW_MS);
    expect(vi.getTimerCount()).toBe(0);
  });

  it("says at its end what it left out, once", () => {
    write(1, 5);
    log.close();
    log.close();
    expect(written).toEqual([1, 2, 3, { suppressed: 2 }]);
    expect(vi.getTimerCount()).toBe(0);
  });
});
