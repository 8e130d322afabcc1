/** Which security module this enclave has: its own device where there is one, else the parent's software NSM. */

import { existsSync } from "node:fs";
import { CONNECT_TIMEOUT_MS, PORT_NSM } from "#protocol/limits.ts";
import type { EnclaveModules } from "../enclave.ts";
import { createDeviceNsm } from "../kms/device-nsm.ts";
import type { Nsm } from "../kms/nsm.ts";
import { createSoftwareNsmClient } from "../kms/software-nsm-client.ts";

/** A security module. */
export interface NsmHere {
  readonly nsm: Nsm;
  /** True for the software NSM: whatever it says, the parent chose, and only a development root signs it. */
  readonly isDevelopment: boolean;
}

const DEVICE_PATH = "/dev/nsm";

/**
 * The parent has no say in this: where the device is, nothing else is asked.
 * @throws SignerError `unavailable` when the device is there and the native addon is not
 */
export const findNsm = (
  { connectParent }: Pick<EnclaveModules, "connectParent">,
  { devicePath = DEVICE_PATH }: { readonly devicePath?: string } = {},
): NsmHere =>
  existsSync(devicePath)
    ? { nsm: createDeviceNsm({ path: devicePath }), isDevelopment: false }
    : {
        nsm: createSoftwareNsmClient({ connect: () => connectParent(PORT_NSM, { timeoutMs: CONNECT_TIMEOUT_MS }) }),
        isDevelopment: true,
      };
