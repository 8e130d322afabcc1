/** How long and how often a call is made again, and what becomes of what was thrown. */

import { describe, expect, test } from "vitest";
import {
  isPassing,
  KMS_REASONS,
  KmsConnectionError,
  KmsError,
  kmsError,
  toAttemptFailure,
} from "#enclave/kms/kms-errors.ts";
import { retryDelayMs, withRetries } from "#enclave/kms/retry.ts";
import { SignerError } from "#protocol/errors.ts";

const modules = { now: () => performance.now(), random: () => 1 };
const never = new AbortController().signal;
const bounds = { attemptsMax: 4, attemptTimeoutMs: 100, deadlineMs: 2_000 };
const throttled = { name: "ThrottlingException", message: "", $metadata: { httpStatusCode: 400 } };

/** Fails with each of `failures` in turn, then succeeds. */
const failing = (failures: readonly unknown[]) => {
  let attempts = 0;
  return {
    attempt: async () => {
      attempts += 1;
      if (attempts <= failures.length) throw failures[attempts - 1];
      return "done";
    },
    attempts: () => attempts,
  };
};

describe("delays", () => {
  test("double from 100 ms to 2 s, half of each random", () => {
    expect([1, 2, 3, 4, 5, 6, 100].map((failures) => retryDelayMs(failures, () => 0))).toEqual([
      100, 200, 400, 800, 1600, 2000, 2000,
    ]);
    expect([1, 2, 6].map((failures) => retryDelayMs(failures, () => 1))).toEqual([50, 100, 1000]);
  });
});

describe("attempts", () => {
  test("go on while it can help", async () => {
    const work = failing([throttled, new KmsConnectionError("unreachable", "x")]);
    expect(await withRetries(work.attempt, { bounds, closed: never, modules })).toBe("done");
    expect(work.attempts()).toBe(3);
  });

  test("end with their number", async () => {
    const work = failing(Array(9).fill(throttled));
    const call = withRetries(work.attempt, { bounds, closed: never, modules });
    await expect(call).rejects.toMatchObject({
      reason: "throttled",
      detail: expect.stringMatching(/\(attempts: 4\)$/),
    });
    expect(work.attempts()).toBe(4);
  });

  test("end at once where it cannot help", async () => {
    const denied = { name: "AccessDeniedException", message: "User: x", $metadata: { httpStatusCode: 400 } };
    const work = failing([denied]);
    await expect(withRetries(work.attempt, { bounds, closed: never, modules })).rejects.toMatchObject({
      reason: "access_denied",
    });
    expect(work.attempts()).toBe(1);
  });

  test("that hang and do not listen are left behind", async () => {
    let attempts = 0;
    const attempt = (): Promise<string> => {
      attempts += 1;
      return attempts === 1 ? new Promise(() => {}) : Promise.resolve("done");
    };
    expect(await withRetries(attempt, { bounds, closed: never, modules })).toBe("done");
    const hanging = withRetries(() => new Promise(() => {}), {
      bounds: { ...bounds, attemptsMax: 2 },
      closed: never,
      modules,
    });
    await expect(hanging).rejects.toMatchObject({ reason: "timed_out", code: "deadline_exceeded" });
  });

  test("are cut to what is left of the deadline", async () => {
    const startedAt = performance.now();
    const short = { attemptsMax: 9, attemptTimeoutMs: 10_000, deadlineMs: 80 };
    await expect(withRetries(() => new Promise(() => {}), { bounds: short, closed: never, modules })).rejects.toThrow(
      /no answer within 80 ms/,
    );
    expect(performance.now() - startedAt).toBeLessThan(1_000);
  });

  test("end when the session is closed, in an attempt and in a delay", async () => {
    for (const attempt of [() => new Promise(() => {}), () => Promise.reject(throttled)]) {
      const closing = new AbortController();
      const call = withRetries(attempt, {
        bounds: { ...bounds, attemptTimeoutMs: 1_000 },
        closed: closing.signal,
        modules,
      });
      setTimeout(() => closing.abort(), 20);
      await expect(call).rejects.toThrow(/the session was closed/);
    }
  });
});

describe("reasons", () => {
  test.each(KMS_REASONS)("%s has a code and says what to check", (reason) => {
    const error = kmsError(reason, "it happened");
    expect(error).toMatchObject({
      name: "KmsError",
      reason,
      detail: expect.stringMatching(/^KMS: it happened; .{20,}/),
    });
    expect(toAttemptFailure(error)).toEqual({ error, passing: isPassing(reason) });
  });

  test.each([
    ["KMSInternalException", 500, "server_error"],
    ["KeyUnavailableException", 500, "server_error"],
    ["DependencyTimeoutException", 503, "server_error"],
    ["Whatever", 503, "server_error"],
    ["TooManyRequestsException", 429, "throttled"],
    ["KMSInvalidStateException", 400, "key_disabled"],
    ["InvalidSignatureException", 400, "credentials_refused"],
    ["SomethingNew", 400, "request_refused"],
    ["SyntaxError", 200, "bad_answer"],
  ])("%s with status %i is %s", (name, httpStatusCode, reason) => {
    expect(toAttemptFailure({ name, message: "", $metadata: { httpStatusCode } }).error.reason).toBe(reason);
  });

  test("a corrected clock is worth another attempt", () => {
    const failure = {
      name: "InvalidSignatureException",
      message: "",
      $metadata: { httpStatusCode: 400, clockSkewCorrected: true },
    };
    expect(toAttemptFailure(failure)).toMatchObject({ passing: true, error: { reason: "credentials_refused" } });
  });

  test("texts of KMS are passed on for denials alone, cut and printable", () => {
    const message = `User: a\n\u0000${"b".repeat(1_000)}`;
    const of = (name: string): string =>
      toAttemptFailure({ name, message, $metadata: { httpStatusCode: 400 } }).error.detail;
    expect(of("AccessDeniedException")).toMatch(/User: a b{100}/);
    expect(of("AccessDeniedException").length).toBeLessThan(800);
    expect(of("ValidationException")).not.toContain("User");
  });

  test("an error of Node shows its code alone", () => {
    const error = Object.assign(new Error("to 10.0.0.1 with token"), { code: "ECONNRESET" });
    expect(toAttemptFailure(error).error).toMatchObject({
      reason: "unreachable",
      detail: expect.stringMatching(/ECONNRESET/),
    });
    expect(toAttemptFailure(error).error.detail).not.toContain("token");
  });

  test("a failure of our own goes through as it is", () => {
    const own = new SignerError("internal", "attestation document: expected 1..12288 bytes, got 0");
    expect(() => toAttemptFailure(own)).toThrow(own);
    expect(kmsError("throttled", "x")).toBeInstanceOf(KmsError);
  });
});
