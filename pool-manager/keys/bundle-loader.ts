/** Gives an enclave the sealed keys it lacks, bundle by bundle. What one bundle fails with does not stop the others. */

import { toByteString, toHex } from "#protocol/bytes.ts";
import { type ErrorCode, SignerError, toSignerError } from "#protocol/errors.ts";
import type { LoadReport } from "#protocol/messages/control.ts";
import type { UnsealCredentials } from "#protocol/messages/sealed.ts";
import { BUNDLE_KEYS_MAX } from "#protocol/sealed/limits.ts";
import type { ControlClient } from "../control-client.ts";
import type { RingKey } from "./key-ring.ts";

/** What loading needs. */
export interface BundleLoaderModules {
  /** Asked for each bundle: they may expire during a long load, and are refreshed by whoever gives them. */
  readonly credentials: () => Promise<UnsealCredentials>;
  readonly onProgress: (progress: { done: number; total: number }) => void;
}

/** Failures of the way to KMS, not of a bundle: the next bundle most likely meets the same. */
const PASSING: ReadonlySet<ErrorCode> = new Set(["unavailable", "deadline_exceeded", "overloaded"]);
/** Bundles in a row that may fail so, each after the enclave's own attempts, before the rest waits for the next look. */
const PASSING_MAX = 2;

/** Loads keys, all of which have a header. @throws SignerError `connection_lost` when the enclave is gone */
export const loadBundles = async (
  { control, keys }: { readonly control: ControlClient; readonly keys: readonly RingKey[] },
  { credentials, onProgress }: BundleLoaderModules,
): Promise<LoadReport> => {
  const failures: LoadReport["failures"][number][] = [];
  let done = 0;
  let passing = 0;
  let last: SignerError | undefined;
  for (const bundle of bundlesOf(keys)) {
    try {
      if (passing >= PASSING_MAX && last !== undefined) throw last;
      const { header, keys: own } = bundle;
      const report = await control.loadBundle({ credentials: await credentials(), header, keys: own });
      failures.push(...report.failures);
      passing = 0;
    } catch (error) {
      last = toSignerError(error);
      if (control.closed || last.code === "connection_lost") throw error;
      if (PASSING.has(last.code)) passing += 1;
      for (const { pubkey } of bundle.keys) failures.push({ pubkeyHex: toHex(pubkey), reason: last.detail });
    }
    done += bundle.keys.length;
    onProgress({ done, total: keys.length });
  }
  return { loaded: keys.length - failures.length, failures };
};

interface Bundle {
  readonly header: Uint8Array;
  readonly keys: RingKey[];
}

/** The table may give a bundle in pieces; each data key shall be asked for once. */
const bundlesOf = (keys: readonly RingKey[]): Bundle[] => {
  const open = new Map<string, Bundle>();
  const bundles: Bundle[] = [];
  for (const key of keys) {
    if (key.header === undefined) throw new SignerError("internal", "a key of the table has no bundle");
    const name = toByteString(key.header);
    let bundle = open.get(name);
    if (bundle === undefined || bundle.keys.length === BUNDLE_KEYS_MAX) {
      bundle = { header: key.header, keys: [] };
      open.set(name, bundle);
      bundles.push(bundle);
    }
    bundle.keys.push(key);
  }
  return bundles;
};
