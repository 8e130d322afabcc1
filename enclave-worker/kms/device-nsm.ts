/** Asks the NSM of a Nitro Enclave: `/dev/nsm`, through the native addon (`native/src/nsm.c`). */

import { createRequire } from "node:module";
import { getSystemErrorName } from "node:util";
import { NSM_REQUEST_BYTES_MAX } from "#protocol/attestation/nsm-messages.ts";
import { SignerError } from "#protocol/errors.ts";
import { nativeSignerPath } from "../native/signer.ts";
import { createNsm, type Nsm } from "./nsm.ts";

/** Where the device is and how long it may take. */
export interface DeviceNsmOptions {
  readonly path?: string;
  /** Longest wait for an answer in ms. */
  readonly timeoutMs?: number;
  /** The addon's file. */
  readonly addonPath?: string;
}

/** The addon's function: one exchange, on a thread of Node's pool; its answer, or the errno of what failed. */
type NsmRequestFunction = (path: string, request: Uint8Array) => Promise<Uint8Array | number>;

const DEVICE_PATH = "/dev/nsm";
/** The hypervisor answers in milliseconds; the driver itself would wait for two minutes. */
const TIMEOUT_MS = 10_000;

/** The NSM of this enclave. @throws SignerError `unavailable` when the addon is not there or too old */
export const createDeviceNsm = (options: DeviceNsmOptions = {}): Nsm => {
  const { path = DEVICE_PATH, timeoutMs = TIMEOUT_MS, addonPath = nativeSignerPath() } = options;
  const nsmRequest = loadNsmRequest(addonPath);
  return createNsm(async (request) => {
    if (request.length > NSM_REQUEST_BYTES_MAX) {
      throw new SignerError(
        "bad_request",
        `NSM request: expected at most ${NSM_REQUEST_BYTES_MAX} bytes, got ${request.length}`,
      );
    }
    const answer = await withDeadline(nsmRequest(path, request), timeoutMs);
    if (typeof answer !== "number") return answer;
    throw new SignerError("unavailable", explain(path, getSystemErrorName(-answer)));
  });
};

const loadNsmRequest = (addonPath: string): NsmRequestFunction => {
  let addon: { readonly nsmRequest?: unknown };
  try {
    addon = createRequire(import.meta.url)(addonPath) as { nsmRequest?: unknown };
  } catch (cause) {
    throw new SignerError("unavailable", `the NSM needs the native addon (npm run build:native): ${addonPath}`, {
      cause,
    });
  }
  if (typeof addon.nsmRequest === "function") return addon.nsmRequest as NsmRequestFunction;
  throw new SignerError("unavailable", `${addonPath} has no nsmRequest: build it again (npm run build:native)`);
};

const explain = (path: string, errorName: string): string => {
  switch (errorName) {
    case "ENOENT":
    case "ENODEV":
    case "ENXIO":
    case "ENOSYS":
      return `${path} is not there (${errorName}): this is no Nitro Enclave, or its kernel has no NSM driver`;
    case "EACCES":
    case "EPERM":
      return `${path} may not be used (${errorName}): the kernel asks for CAP_SYS_ADMIN`;
    case "ENOTTY":
      return `${path} is no Nitro Security Module (${errorName})`;
    default:
      return `${path}: the Nitro Security Module could not be asked (${errorName})`;
  }
};

const withDeadline = <T>(answer: Promise<T>, timeoutMs: number): Promise<T> =>
  new Promise((resolve, reject) => {
    const timer = setTimeout(
      () => reject(new SignerError("deadline_exceeded", `the NSM gave no answer within ${timeoutMs} ms`)),
      timeoutMs,
    );
    answer.then(resolve, reject).finally(() => clearTimeout(timer));
  });
