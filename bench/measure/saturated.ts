/**
 * Load windows and bare-signing windows in turn. Each load window is compared with the mean of its two bare neighbours,
 * so that what the machine does meanwhile (frequency, other guests) falls on both sides of a ratio alike.
 */

import type { Generator } from "../load/client.ts";
import type { WindowResult } from "../load/orders.ts";
import type { Bare } from "./bare.ts";
import { totalNanos } from "./cpu.ts";
import { Histogram } from "./histogram.ts";
import { addParts, noParts, type PartNanos, type PartPids, readParts, subtractParts } from "./parts.ts";
import { verifySamples } from "./verify.ts";

/** What to do. */
export interface SaturatedOptions {
  /** Load windows. */
  readonly windows: number;
  /** Least seconds of each load window: rounds are finished. */
  readonly windowSeconds: number;
  readonly bareMs: number;
  /** One window of load. */
  readonly run: (seconds: number) => Promise<WindowResult>;
  /** Told after each. */
  readonly onWindow?: () => void;
}

/** What it needs. */
export interface SaturatedModules {
  readonly generator: Generator;
  readonly bare: Bare;
  /** Process ids of all parts but the generator. */
  readonly pids: () => PartPids;
  readonly status: (text: string) => void;
}

/** One load window and its neighbours. */
export interface Window {
  readonly signatures: number;
  readonly elapsedMs: number;
  /** CPU of gateway and enclaves per signature. */
  readonly serverMicros: number;
  readonly bareMicros: number;
  readonly ratio: number;
}

/** All windows together. */
export interface Saturated {
  readonly windows: readonly Window[];
  readonly signatures: number;
  readonly errors: number;
  readonly firstError?: string;
  /** Signatures that were verified. */
  readonly verified: number;
  /** Load windows alone. */
  readonly elapsedMs: number;
  readonly latency: Histogram;
  readonly lateness: Histogram;
  readonly cpu: PartNanos;
}

const NANOS_PER_MICRO = 1_000;

/** Runs them on a server that is warm. @throws Error when a sampled signature is wrong, or none was made in a window */
export const measureSaturated = async (options: SaturatedOptions, modules: SaturatedModules): Promise<Saturated> => {
  const { generator, bare, status } = modules;
  const pids = (): PartPids => ({ ...modules.pids(), generator: [generator.pid] });
  const windows: Window[] = [];
  const latency = new Histogram();
  const lateness = new Histogram();
  let cpu = noParts();
  let verified = 0;
  let errors = 0;
  let elapsedMs = 0;
  let firstError: string | undefined;

  let bareBefore = await bare.measure(options.bareMs);
  while (windows.length < options.windows) {
    const known = pids();
    const before = readParts(known);
    const result = await options.run(options.windowSeconds);
    const used = subtractParts(readParts(known), before);
    options.onWindow?.();
    const bareAfter = await bare.measure(options.bareMs);
    if (result.signatures === 0) throw new Error(`no signature in a window; ${result.firstError ?? "no answer"}`);
    verified += verifySamples(result.samples);
    const serverMicros = (totalNanos(used.gateway) + totalNanos(used.enclaves)) / NANOS_PER_MICRO / result.signatures;
    const bareMicros = (bareBefore + bareAfter) / 2;
    const window = { signatures: result.signatures, elapsedMs: result.elapsedMs, serverMicros, bareMicros };
    windows.push({ ...window, ratio: serverMicros / bareMicros });
    bareBefore = bareAfter;
    cpu = addParts(cpu, used);
    latency.add(result.latency);
    if (result.lateness !== undefined) lateness.add(result.lateness);
    errors += result.errors;
    elapsedMs += result.elapsedMs;
    firstError ??= result.firstError;
    status(
      `window ${windows.length} of ${options.windows}: ${Math.round((1_000 * result.signatures) / result.elapsedMs)}/s, ` +
        `ratio ${(serverMicros / bareMicros).toFixed(3)}`,
    );
  }
  const signatures = windows.reduce((sum, window) => sum + window.signatures, 0);
  const counts = { signatures, errors, verified, elapsedMs, ...(firstError !== undefined && { firstError }) };
  return { windows, ...counts, latency, lateness, cpu };
};
