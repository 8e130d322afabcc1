/** Reloads keys on request, one reload at a time, and remembers how the last one went (Web3Signer's `/reload`). */

import { toSignerError } from "#protocol/errors.ts";
import type { Logger } from "#protocol/log.ts";
import type { ReloadStatus } from "./pool-port.ts";

/** The reload as gateways see it. */
export interface Reloader {
  /** Starts a reload in the background, or says that one is running. */
  reload(): "accepted" | "running";
  readonly status: ReloadStatus;
}

/** @param apply reads the sources and applies what changed; returns how many keys could not be opened */
export const createReloader = (modules: { apply: () => Promise<number>; logger: Logger }): Reloader => {
  let status: ReloadStatus = { status: "idle" };

  const run = async (): Promise<ReloadStatus> => {
    const lastOperationTime = new Date().toISOString();
    try {
      const errors = await modules.apply();
      if (errors === 0) return { status: "completed", lastOperationTime };
      const lastError = `${errors} keys could not be opened, see the log`;
      return { status: "completed_with_errors", lastOperationTime, lastError };
    } catch (error) {
      return { status: "failed", lastOperationTime, lastError: toSignerError(error).detail };
    }
  };

  return {
    reload: () => {
      if (status.status === "running") return "running";
      status = { ...status, status: "running" };
      void run().then((ended) => {
        status = ended;
        modules.logger.info("reload ended", { status: ended.status, reason: ended.lastError });
      });
      return "accepted";
    },
    get status() {
      return status;
    },
  };
};
