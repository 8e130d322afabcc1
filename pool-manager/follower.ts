/**
 * The gateway's side of the manager's socket: keeps a connection, for ever, and builds the {@link PoolView} from what
 * the manager pushes. When the manager is gone the last members and keys stay, because signing goes on without it.
 * The list of public keys changes only as a whole: readers never see half of one.
 */

import { PUBKEY_BYTES, toHex } from "#protocol/bytes.ts";
import { SignerError, toSignerError } from "#protocol/errors.ts";
import { CONNECT_TIMEOUT_MS } from "#protocol/limits.ts";
import { describeError, type Logger } from "#protocol/log.ts";
import { connectUnix } from "#protocol/transport/hybrid.ts";
import { createLink } from "./link.ts";
import {
  decodeMembers,
  decodePublicKeysPage,
  decodeReloadAnswer,
  decodeReloadStatus,
  MANAGER_EVENTS,
  MANAGER_OPERATIONS,
  type PublicKeysPage,
} from "./manager-messages.ts";
import type { Pool, PoolView } from "./pool-port.ts";

/** Time for one answer of the manager, which only starts or reports work: seconds mean that it hangs. */
const MANAGER_TIMEOUT_MS = 5_000;

/**
 * A manager that was never reached may be starting, for nobody waits for it with the gateway's own start; after this long, it
 * is missing. It listens before it opens keys or launches anything: a process's start takes half a second, several on a busy machine.
 */
export const START_MS = 5_000;

/** The part of the {@link Pool} port that the manager answers. */
export type Follower = Pick<Pool, "view" | "onChange" | "reload" | "reloadStatus"> & { close(): void };

/** Time, chance and log of a {@link Follower}. */
export interface FollowerModules {
  /** Milliseconds of a clock that never goes back. */
  readonly now: () => number;
  /** 0 ≤ x < 1. */
  readonly random: () => number;
  readonly logger?: Logger | undefined;
}

const EMPTY = new Uint8Array(0);

/** Begins to follow the manager at `socketPath` at once. */
export const createFollower = (options: { readonly socketPath: string }, modules: FollowerModules): Follower => {
  const listeners = new Set<() => void>();
  const patient = modules.logger && createPatientLog(modules.logger);
  let assembly = createKeyAssembly();
  let view: PoolView = { connected: false, members: [], publicKeys: undefined, keyErrors: 0 };

  const change = (part: Partial<PoolView>): void => {
    view = { ...view, ...part };
    for (const listener of listeners) notify(listener);
  };
  /** A listener's defect must not look like the manager's. */
  const notify = (listener: () => void): void => {
    try {
      listener();
    } catch (error) {
      modules.logger?.error("pool listener failed", { reason: describeError(error) });
    }
  };

  const onEvent = (operation: number, payload: Uint8Array): void => {
    switch (operation) {
      case MANAGER_EVENTS.members:
        change(decodeMembers(payload));
        return;
      case MANAGER_EVENTS.publicKeys: {
        const publicKeys = assembly.add(decodePublicKeysPage(payload));
        if (publicKeys !== undefined) change({ publicKeys });
        return;
      }
      default:
        throw new SignerError("protocol_violation", `manager event: expected 1..2, got ${operation}`);
    }
  };

  const link = createLink(
    { name: "manager", connect: () => connectUnix(options.socketPath, { timeoutMs: CONNECT_TIMEOUT_MS }) },
    {
      ...modules,
      logger: patient?.logger,
      greet: async (client) => {
        assembly = createKeyAssembly();
        await client.request(MANAGER_OPERATIONS.subscribe, EMPTY, { timeoutMs: MANAGER_TIMEOUT_MS });
      },
      onEvent,
      onUp: () => {
        patient?.end();
        change({ connected: true });
      },
      onDown: () => change({ connected: false }),
    },
  );

  const ask = async (operation: number): Promise<Uint8Array> => {
    const client = link.client;
    if (client === undefined) throw new SignerError("unavailable", "no connection to the pool-manager");
    try {
      return await client.request(operation, EMPTY, { timeoutMs: MANAGER_TIMEOUT_MS });
    } catch (error) {
      const failure = toSignerError(error);
      if (failure.code !== "connection_lost") throw failure;
      throw new SignerError("unavailable", "lost the connection to the pool-manager", { cause: failure });
    }
  };

  return {
    view: () => view,
    onChange: (listener) => {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    reload: async () => decodeReloadAnswer(await ask(MANAGER_OPERATIONS.reload)),
    reloadStatus: async () => decodeReloadStatus(await ask(MANAGER_OPERATIONS.reloadStatus)),
    close: () => {
      listeners.clear();
      patient?.end();
      link.close();
    },
  };
};

interface PatientLog {
  readonly logger: Logger;
  /** What it held back is not worth a warning any more; later warnings are. */
  end(): void;
}

/** A log whose warnings wait until the time of a start is over; until then they are for those who look closely. */
const createPatientLog = (logger: Logger): PatientLog => {
  let starting = true;
  let held: (() => void) | undefined;
  const end = (): void => {
    starting = false;
    clearTimeout(timer);
  };
  const timer = setTimeout(() => {
    end();
    held?.();
  }, START_MS);
  const warn: Logger["warn"] = (event, fields) => {
    if (!starting) return logger.warn(event, fields);
    logger.debug(event, fields);
    held = () => logger.warn(event, fields);
  };
  return { logger: { ...logger, warn }, end };
};

interface KeyAssembly {
  /** Takes the next page; gives the list as `0x` hex when it is whole. */
  add(page: PublicKeysPage): readonly string[] | undefined;
}

/** Puts the pages of one connection together; they come in order, list after list. */
const createKeyAssembly = (): KeyAssembly => {
  let version: number | undefined;
  let total = 0;
  let keys: string[] = [];
  return {
    add: (page) => {
      if (version === undefined) {
        version = page.version;
        total = page.total;
        keys = [];
      }
      if (page.version !== version || page.total !== total || page.offset !== keys.length) {
        throw new SignerError(
          "protocol_violation",
          `public keys page: expected list ${version} of ${total} at ${keys.length}, ` +
            `got list ${page.version} of ${page.total} at ${page.offset}`,
        );
      }
      for (let at = 0; at < page.keys.length; at += PUBKEY_BYTES) {
        keys.push(toHex(page.keys.subarray(at, at + PUBKEY_BYTES)));
      }
      if (keys.length < total) return undefined;
      version = undefined;
      return keys;
    },
  };
};
