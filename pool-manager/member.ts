/**
 * The life of one pool member (one CID): launch → provision → ready, watched; when it dies or hangs it is replaced at
 * once, and with growing pauses when it keeps failing.
 */

import { setTimeout as sleep } from "node:timers/promises";
import { SignerError, toSignerError } from "#protocol/errors.ts";
import type { Logger } from "#protocol/log.ts";
import { type ControlClient, connectControl } from "./control-client.ts";
import type { LaunchedEnclave, Launcher } from "./launchers/launcher.ts";
import type { MemberView } from "./pool-port.ts";

/** A member and its commands. */
export interface Member {
  readonly view: MemberView;
  /** The control connection while the enclave is provisioning or ready. */
  readonly control: ControlClient | undefined;
  /** Drains and ends the enclave, for good. */
  stop(): Promise<void>;
}

/** What a member needs. */
export interface MemberModules {
  readonly launcher: Launcher;
  readonly logger: Logger;
  /** Gives the enclave its settings and keys; when it returns, the enclave is ready to sign. */
  readonly provision: (control: ControlClient) => Promise<void>;
  /** Told of each change of the view, and after every look at a live enclave. */
  readonly onChange: (member: Member) => void;
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
/** A first failure is mended at once; from the second in a row on there is a pause, doubled up to the largest. */
const PAUSE_MS_MIN = 250;
const PAUSE_MS_MAX = 30_000;
/** An enclave that was ready for this long was no failure, whatever ended it. */
const PROVEN_MS = 60_000;

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

  const change = (changes: Partial<MemberView>): void => {
    view = { ...view, ...changes };
    modules.onChange(member);
  };

  /** One enclave from launch to end. Returns how long it was ready, in ms. */
  const live = async (): Promise<number> => {
    let readySince: number | undefined;
    const { status: _, ...rest } = view;
    view = rest; // the last enclave's figures say nothing about this one
    change({ state: "launching", incarnation: view.incarnation + 1 });
    let launched: LaunchedEnclave | undefined;
    const ended = new AbortController();
    try {
      launched = modules.launcher.launch({ cid, path, preset });
      enclave = launched;
      const gone = launched.exited.then((reason) => {
        throw new SignerError("unavailable", `the enclave ended: ${reason}`);
      });
      gone.catch(() => undefined);
      control = await Promise.race([boot(ended.signal), gone]);
      change({ state: "provisioning" });
      const watched = watch(control, ended.signal);
      watched.catch(() => undefined);
      await Promise.race([modules.provision(control), watched, gone]);
      readySince = performance.now();
      const { problem: __, ...healthy } = view;
      view = healthy;
      change({ state: "ready" });
      logger.info("enclave ready", { cid, incarnation: view.incarnation });
      await Promise.race([watched, gone]);
    } catch (error) {
      if (!stopped.signal.aborted) {
        const problem = toSignerError(error).detail;
        logger.warn("enclave lost, replacing it", { cid, reason: problem });
        change({ state: "failed", problem });
      }
    } finally {
      ended.abort();
      control?.close();
      control = undefined;
      await launched?.kill();
    }
    return readySince === undefined ? 0 : performance.now() - readySince;
  };

  /** Connects as soon as this enclave listens; gives up with it, for the next one listens at the same path. */
  const boot = async (ended: AbortSignal): Promise<ControlClient> => {
    const patienceMs = performance.now() + BOOT_MS;
    for (;;) {
      try {
        const client = await connectControl({ path, cid }, { timeoutMs: BOOT_POLL_MS * 10 });
        if (!ended.aborted) return client;
        client.close();
        throw new SignerError("unavailable", "the enclave ended while it was booting");
      } catch (error) {
        if (performance.now() >= patienceMs || stopped.signal.aborted || ended.aborted) throw error;
        await sleep(BOOT_POLL_MS);
      }
    }
  };

  /** Looks after an enclave until it fails to answer. */
  const watch = async (client: ControlClient, ended: AbortSignal): Promise<never> => {
    for (let missed = 0; ; ) {
      try {
        change({ status: await client.status() });
        missed = 0;
      } catch (error) {
        missed += 1;
        if (missed >= MISSED_MAX || client.closed) throw error;
      }
      await sleep(WATCH_MS, undefined, { signal: ended });
    }
  };

  const run = async (): Promise<void> => {
    let failures = 0;
    while (!stopped.signal.aborted) {
      const readyMs = await live();
      failures = readyMs >= PROVEN_MS ? 1 : failures + 1;
      const pauseMs = failures === 1 ? 0 : Math.min(PAUSE_MS_MAX, PAUSE_MS_MIN * 2 ** (failures - 2));
      const jittered = pauseMs * (0.5 + modules.random() / 2);
      await sleep(jittered, undefined, { signal: stopped.signal }).catch(() => undefined);
    }
  };

  const member: Member = {
    get view() {
      return view;
    },
    get control() {
      return control;
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
  const life = run();
  return member;
};
