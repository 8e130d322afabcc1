/** Asks again where that can help: bounded in number and by a deadline, with growing, random delays. */

import { KmsError, kmsError, toAttemptFailure } from "./kms-errors.ts";

/** Bounds of one call. */
export interface RetryBounds {
  readonly attemptsMax: number;
  /** For one attempt. */
  readonly attemptTimeoutMs: number;
  /** For all attempts and the delays between them. */
  readonly deadlineMs: number;
}

/** What the loop needs of the world. */
export interface RetryModules {
  /** Monotonic clock in ms. */
  readonly now: () => number;
  /** 0 ≤ random() < 1. */
  readonly random: () => number;
}

/** First and longest delay: a throttled account recovers within the second that its quota is counted by. */
const DELAY_MS_MIN = 100;
const DELAY_MS_MAX = 2_000;

/** The delay after failure number `failures` (from 1), in ms: doubled each time, half of it random. */
export const retryDelayMs = (failures: number, random: () => number): number =>
  Math.min(DELAY_MS_MAX, DELAY_MS_MIN * 2 ** Math.min(failures - 1, 16)) * (1 - random() / 2);

/**
 * Runs `attempt` until it succeeds, fails for good, or the bounds are reached; `closed` ends it at once. An attempt that
 * goes on after its signal is not waited for.
 * @throws KmsError of the last attempt
 */
export const withRetries = async <T>(
  attempt: (signal: AbortSignal) => Promise<T>,
  {
    bounds,
    closed,
    modules,
  }: { readonly bounds: RetryBounds; readonly closed: AbortSignal; readonly modules: RetryModules },
): Promise<T> => {
  const endsAt = modules.now() + bounds.deadlineMs;
  for (let attempts = 1; ; attempts += 1) {
    const timeoutMs = Math.min(bounds.attemptTimeoutMs, endsAt - modules.now());
    const failure = await runOnce(attempt, { timeoutMs, closed });
    if (failure.ok) return failure.value;
    if (!failure.passing) throw failure.error;
    const delayMs = retryDelayMs(attempts, modules.random);
    if (attempts >= bounds.attemptsMax || modules.now() + delayMs >= endsAt) throw gaveUp(failure.error, attempts);
    await delay(delayMs, closed);
    if (closed.aborted) throw kmsError("unreachable", "the session was closed");
  }
};

type Outcome<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly error: KmsError; readonly passing: boolean };

const runOnce = async <T>(
  attempt: (signal: AbortSignal) => Promise<T>,
  { timeoutMs, closed }: { readonly timeoutMs: number; readonly closed: AbortSignal },
): Promise<Outcome<T>> => {
  const controller = new AbortController();
  const aborted = Promise.withResolvers<never>();
  const abort = (): void => {
    controller.abort();
    aborted.reject(new Error("aborted"));
  };
  const timer = setTimeout(abort, Math.max(1, timeoutMs));
  closed.addEventListener("abort", abort, { once: true });
  if (closed.aborted) abort();
  try {
    return { ok: true, value: await Promise.race([attempt(controller.signal), aborted.promise]) };
  } catch (thrown) {
    if (closed.aborted) return { ok: false, error: kmsError("unreachable", "the session was closed"), passing: false };
    if (controller.signal.aborted) {
      return { ok: false, error: kmsError("timed_out", `no answer within ${Math.round(timeoutMs)} ms`), passing: true };
    }
    return { ok: false, ...toAttemptFailure(thrown) };
  } finally {
    clearTimeout(timer);
    closed.removeEventListener("abort", abort);
  }
};

const gaveUp = (error: KmsError, attempts: number): KmsError =>
  new KmsError(error.reason, `${error.detail} (attempts: ${attempts})`);

const delay = (ms: number, closed: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      closed.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    closed.addEventListener("abort", done, { once: true });
  });
