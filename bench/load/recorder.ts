/** Counts what comes back in one window of load, and picks signatures to be verified. */

import { createRandom } from "../../test/simulation/random.ts";
import { Histogram } from "../measure/histogram.ts";
import type { Answer } from "./connection.ts";
import type { Sample, WindowResult } from "./orders.ts";
import type { Ask } from "./workload.ts";

/** A window's record. */
export interface Recorder {
  /** One answer, and how long it took. */
  record(ask: Ask, answer: Answer, micros: number): void;
  result(elapsedMs: number): WindowResult;
}

/** Signatures of a window that are handed over to be verified, about a millisecond each. */
const SAMPLES = 32;
/** What is picked decides nothing else: always the same chance will do. */
const SEED = 1;
/** `{"signature":"0x` + 192 digits + `"}` */
const SIGNATURE_JSON = /^\{"signature":"(0x[0-9a-f]{192})"\}$/;

/** An empty record. */
export const createRecorder = (publicKeys: readonly string[]): Recorder => {
  const latency = new Histogram();
  const samples: Sample[] = [];
  const random = createRandom(SEED);
  let errors = 0;
  let firstError: string | undefined;
  return {
    record: ({ key, message }, { status, body }, micros) => {
      const signature = status === 200 ? SIGNATURE_JSON.exec(body)?.[1] : undefined;
      if (signature === undefined) {
        errors += 1;
        firstError ??= `status ${status}: ${body}`;
        return;
      }
      latency.record(micros);
      // Reservoir sampling (Vitter's algorithm R): each signature is as likely to be looked at as any other.
      const place = samples.length < SAMPLES ? samples.length : random.below(latency.count);
      if (place < SAMPLES) samples[place] = { publicKey: publicKeys[key] ?? "", root: message.root, signature };
    },
    result: (elapsedMs) => ({
      elapsedMs,
      signatures: latency.count,
      errors,
      ...(firstError !== undefined && { firstError }),
      latency: latency.toData(),
      samples,
    }),
  };
};
