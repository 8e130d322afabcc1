/**
 * What the gateway counts, on a registry of its own. Web3Signer's names are kept so that its dashboards go on working;
 * `testudo_*` says more. Labels come from closed sets.
 */

import { Counter, Gauge, Histogram, Registry } from "@prometheus-io/client";
import type { PoolView } from "#pool-manager/pool-port.ts";
import { ERROR_CODES } from "#protocol/errors.ts";
import { isSlashable, SIGNING_TYPES, type SigningType } from "#protocol/signing/types.ts";
import { registerPoolMetrics } from "./pool-metrics.ts";
import { registerProcessMetrics } from "./process-metrics.ts";

/** How a signing request can end. */
const SIGN_OUTCOMES = ["signed", "denied", ...ERROR_CODES] as const;
/** One of {@link SIGN_OUTCOMES}. */
export type SignMetricOutcome = (typeof SIGN_OUTCOMES)[number];

/** A signing request that has ended. */
export interface SignSample {
  /** As sniffed; undefined: unknown */
  readonly type: SigningType | undefined;
  readonly outcome: SignMetricOutcome;
  /** From the body's last byte to the outcome; undefined when the body was never complete. */
  readonly seconds?: number;
}

/** The gateway's metrics. */
export interface GatewayMetrics {
  recordSign(sample: SignSample): void;
  /** Everything in Prometheus' text format. */
  text(): Promise<string>;
  readonly contentType: string;
  /** Ends the process's own measurements. */
  close(): void;
}

/** What is read when somebody scrapes. */
export interface MetricsModules {
  readonly view: () => PoolView;
  readonly inFlight: () => number;
}

const TYPE_LABELS = [...SIGNING_TYPES, "unknown"] as const;
/** Seconds: a signature takes 1 ms when idle; 5 and 12 are the clients' and the slot's limits. */
const DURATION_BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 12];

/** Makes the metrics; every series of a closed set starts at 0, so that rates see its first event. */
export const createMetrics = (modules: MetricsModules): GatewayMetrics => {
  const registry = new Registry();
  const registers = [registry];
  const requests = new Counter({
    name: "testudo_sign_requests_total",
    help: "Signing requests by type and outcome.",
    labelNames: ["type", "outcome"],
    registers,
  });
  const durations = new Histogram({
    name: "testudo_sign_duration_seconds",
    help: "Time from a request's last byte to its outcome, by type.",
    labelNames: ["type"],
    buckets: DURATION_BUCKETS,
    registers,
  });
  new Gauge({
    name: "testudo_sign_requests_in_flight",
    help: "Signing requests in flight.",
    registers,
    collect() {
      this.set(modules.inFlight());
    },
  });
  for (const type of TYPE_LABELS) {
    for (const outcome of SIGN_OUTCOMES) requests.inc({ type, outcome }, 0);
  }
  const recordWeb3Signer = registerWeb3SignerMetrics(registers, modules.view);
  registerPoolMetrics(registers, modules.view);
  const processMetrics = registerProcessMetrics(registers);

  return {
    recordSign: (sample) => {
      const type = sample.type ?? "unknown";
      requests.inc({ type, outcome: sample.outcome });
      if (sample.seconds !== undefined) durations.observe({ type }, sample.seconds);
      recordWeb3Signer(sample);
    },
    text: () => registry.metrics(),
    contentType: registry.contentType,
    close: processMetrics.close,
  };
};

/** Web3Signer's own series (HttpApiMetrics, SlashingProtectionMetrics). */
const registerWeb3SignerMetrics = (registers: Registry[], view: () => PoolView): ((sample: SignSample) => void) => {
  const counter = (name: string, help: string): Counter => new Counter({ name, help, registers });
  const missing = counter("signing_bls_missing_identifier_count_total", "Signing requests for unknown keys.");
  const malformed = counter("http_bls_malformed_request_count_total", "Signing requests that were malformed.");
  const permitted = counter("eth2_slashingprotection_permitted_signings_total", "Slashable messages that were signed.");
  const prevented = counter(
    "eth2_slashingprotection_prevented_signings_total",
    "Slashable messages that were refused.",
  );
  const duration = new Histogram({
    name: "signing_bls_signing_duration",
    help: "Time to sign, in seconds.",
    buckets: DURATION_BUCKETS,
    registers,
  });
  new Gauge({
    name: "signing_signers_loaded_count",
    help: "Keys that are loaded.",
    registers,
    collect() {
      this.set(view().publicKeys?.length ?? 0);
    },
  });
  return ({ type, outcome, seconds }) => {
    const slashable = type === undefined || isSlashable(type);
    if (outcome === "signed") {
      duration.observe(seconds ?? 0);
      if (slashable) permitted.inc();
    } else if (outcome === "denied") {
      if (slashable) prevented.inc();
    } else if (outcome === "unknown_key") {
      missing.inc();
    } else if (outcome === "bad_request") {
      malformed.inc();
    }
  };
};
