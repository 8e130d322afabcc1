import { describe, expect, it } from "vitest";
import { createReloader } from "#pool-manager/reload.ts";
import { SignerError } from "#protocol/errors.ts";
import { createLogger } from "#protocol/log.ts";

const start = (apply: () => Promise<number>) => {
  const lines: { event: string; status: string; reason?: string }[] = [];
  const logger = createLogger({ process: "test", level: "info", write: (line) => lines.push(JSON.parse(line)) });
  return { reloader: createReloader({ apply, logger }), lines };
};
const turn = () => new Promise((resolve) => setImmediate(resolve));

describe("a reload", () => {
  it.each<[string, () => Promise<number>, object]>([
    ["all keys open", async () => 0, { status: "completed" }],
    [
      "some keys do not open",
      async () => 3,
      { status: "completed_with_errors", lastError: "3 keys could not be opened, see the log" },
    ],
    [
      "the source cannot be read",
      async () => {
        throw new SignerError("bad_request", "--keys /keys: expected a readable file or folder");
      },
      { status: "failed", lastError: "--keys /keys: expected a readable file or folder" },
    ],
    [
      "of a defect, whose text stays inside",
      async () => {
        throw new Error("a secret detail");
      },
      { status: "failed", lastError: "unexpected failure, see the log" },
    ],
  ])("ends when %s", async (_name, apply, expected) => {
    const { reloader, lines } = start(apply);
    expect(reloader.status).toEqual({ status: "idle" });
    expect(reloader.reload()).toBe("accepted");
    expect(reloader.status).toEqual({ status: "running" });
    await turn();
    expect(reloader.status).toEqual({ ...expected, lastOperationTime: expect.stringMatching(/^\d{4}-.*Z$/) });
    expect(lines).toMatchObject([{ event: "reload ended", status: reloader.status.status }]);
  });

  it("runs once at a time, and shows meanwhile how the last one ended", async () => {
    const pending: PromiseWithResolvers<number>[] = [];
    const { reloader } = start(() => {
      const next = Promise.withResolvers<number>();
      pending.push(next);
      return next.promise;
    });
    expect([reloader.reload(), reloader.reload(), reloader.reload()]).toEqual(["accepted", "running", "running"]);
    pending[0]?.resolve(1);
    await turn();
    const { lastOperationTime } = reloader.status;
    expect(reloader.reload()).toBe("accepted");
    expect(reloader.status).toMatchObject({ status: "running", lastOperationTime, lastError: expect.any(String) });
    expect(pending).toHaveLength(2);
    pending[1]?.resolve(0);
    await turn();
    expect(reloader.status).toEqual({ status: "completed", lastOperationTime: expect.any(String) });
  });
});
