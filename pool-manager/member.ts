/**
 * The life of one pool member (one CID): launch → provision → ready, watched; when it dies or hangs it is replaced at
 * once, and with growing pauses when it keeps failing.
 */

import { setTimeout as sleep } from "node:timers/promises";
import { SignerError, toSignerError } from "#protocol/errors.ts";
import type { Logger } from "#protocol/log.ts";
import type { EnclaveStatus } from "#protocol/messages/control.ts";
import { type ControlClient, connectControl } from "./control-client.ts";
import type { LaunchedEnclave, Launcher } from "./launchers/launcher.ts";
import type { MemberState, MemberView } from "./pool-port.ts";

/** A member and its commands. */
export interface Member {
  readonly view: MemberView;
  /** The control connection while the enclave is provisioning or ready. */
  readonly control: ControlClient | undefined;
  /** Ends the present enclave at once; the member launches another. */
  replace(reason: string): void;
  /** Drains and ends the enclave, for good. */
  stop(): Promise<void>;
}

/** What a member needs. */
export interface MemberModules {
  readonly launcher: Launcher;
  readonly logger: Logger;
  /** Gives the enclave its settings and keys; when it returns, the enclave is ready to sign. */
  readonly provision: (control: ControlClient) => Promise<void>;
  /** Told of each change of the view. */
  readonly onChange: () => void;
  /** 0 ≤ random() < 1, for the jitter of pauses. */
  readonly random: () => number;
}

/** Time for a worker to boot and listen: 1–2 s here, 10 s for an emulated guest among others. */
const BOOT_MS = 30_000;
const BOOT_POLL_MS = 50;
/** Pause between two looks at an enclave. */
const WATCH_MS = 1_000;
/** Looks in a row without an answer (each waits 2 s) after which an enclave counts as hanging. */
const MISSED_MAX = 3;
/** A pause before the second failure in a row, doubled each time up to the largest. */
const PAUSE_MS_MIN = 250;
const PAUSE_MS_MAX = 30_000;

/** Starts the life of a member. */
export const createMember = (
  { cid, path, preset }: { cid: number; path: string; preset: string },
  modules: MemberModules,
): Member => {
  const { logger } = modules;
  const stopped = new AbortController();
  let view: MemberView = { cid, path, state: "launching", incarnation: 0 };
  let control: ControlClient | undefined;
  let enclave: LaunchedEnclave | undefined;

  const change = (changes: { state?: MemberState; status?: EnclaveStatus; incarnation?: number }): void => {
    view = { ...view, ...changes };
    modules.onChange();
  };

  /** One enclave from launch to end. Returns whether it ever was ready. */
  const live = async (): Promise<boolean> => {
    let wasReady = false;
    const { status: _, ...rest } = view;
    view = rest; // the last enclave's figures say nothing about this one
    change({ state: "launching", incarnation: view.incarnation + 1 });
    const launched = modules.launcher.launch({ cid, path, preset });
    enclave = launched;
    const gone = launched.exited.then((reason) => {
      throw new SignerError("unavailable", `the enclave ended: ${reason}`);
    });
    gone.catch(() => undefined);
    try {
      control = await Promise.race([boot(), gone]);
      change({ state: "provisioning" });
      await Promise.race([modules.provision(control), gone]);
      change({ state: "ready", status: await control.status() });
      wasReady = true;
      logger.info("enclave ready", { cid, keys: view.status?.keys });
      await Promise.race([watch(control), gone]);
    } catch (error) {
      if (!stopped.signal.aborted) {
        logger.warn("enclave lost, replacing it", { cid, reason: toSignerError(error).detail });
        change({ state: "failed" });
      }
    } finally {
      control?.close();
      control = undefined;
      await launched.kill();
    }
    return wasReady;
  };

  const boot = async (): Promise<ControlClient> => {
    const patienceMs = performance.now() + BOOT_MS;
    for (;;) {
      try {
        return await connectControl({ path, cid }, { timeoutMs: BOOT_POLL_MS * 10 });
      } catch (error) {
        if (performance.now() >= patienceMs || stopped.signal.aborted) throw error;
        await sleep(BOOT_POLL_MS);
      }
    }
  };

  /** Looks after a ready enclave until it fails to answer. */
  const watch = async (client: ControlClient): Promise<never> => {
    for (let missed = 0; ; ) {
      await sleep(WATCH_MS, undefined, { signal: stopped.signal });
      try {
        change({ status: await client.status() });
        missed = 0;
      } catch (error) {
        missed += 1;
        if (missed >= MISSED_MAX || client.closed) throw error;
      }
    }
  };

  const run = async (): Promise<void> => {
    let pauseMs = 0;
    while (!stopped.signal.aborted) {
      const wasReady = await live();
      pauseMs = wasReady ? 0 : Math.min(PAUSE_MS_MAX, Math.max(PAUSE_MS_MIN, pauseMs * 2));
      const jittered = pauseMs * (0.5 + modules.random() / 2);
      await sleep(jittered, undefined, { signal: stopped.signal }).catch(() => undefined);
    }
  };
  const life = run();

  return {
    get view() {
      return view;
    },
    get control() {
      return control;
    },
    replace: (reason) => {
      logger.warn("replacing an enclave", { cid, reason });
      void enclave?.kill();
    },
    stop: async () => {
      if (view.state === "ready") {
        change({ state: "draining" });
        await control?.drain().catch(() => undefined);
      }
      stopped.abort();
      await enclave?.kill();
      await life;
      change({ state: "gone" });
    },
  };
};
