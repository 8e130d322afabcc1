/**
 * The manager's side of the unix socket that gateways follow: publishes members and public keys to every subscriber
 * and takes their wish for a reload. A late subscriber gets the present state at once.
 *
 * - Bursts of member changes are coalesced: subscribers get the latest, not each one.
 * - Keys go out page by page as the subscriber reads, so a million of them never pile up in memory. A list that has
 *   begun is finished before a newer one starts: a subscriber makes progress however often keys change.
 * - A subscriber that does not read loses the connection by the backlog rule of `rpc.ts`.
 *
 * Until the first `publishMembers`/`publishKeys` nothing is said of that part: a restarted manager that has not read
 * its keys yet must not publish an empty list, because followers believe it.
 */

import type { Socket } from "node:net";
import { PUBKEY_BYTES } from "#protocol/bytes.ts";
import { SignerError } from "#protocol/errors.ts";
import { KEYS_MAX, PAGE_ENTRIES_MAX } from "#protocol/limits.ts";
import { encodeOperatorReport, type OperatorReport } from "#protocol/messages/control.ts";
import { type RpcServerConnection, serveRpc } from "#protocol/rpc.ts";
import { listenUnix } from "#protocol/transport/hybrid.ts";
import {
  encodeMembers,
  encodePublicKeysPage,
  encodeReloadAnswer,
  encodeReloadStatus,
  encodeSlashingStatus,
  MANAGER_EVENTS,
  MANAGER_OPERATIONS,
  type ReloadAnswer,
} from "./manager-messages.ts";
import type { SlashingStatus } from "./operator.ts";
import type { MemberView, ReloadStatus } from "./pool-port.ts";

/** Connections at one time: gateways of one parent, with room for a command line or two. */
const SUBSCRIBERS_MAX = 64;
/** Member changes within this time leave as one event; far below what a duty notices. */
const COALESCE_MS = 5;

/** Publishes to every subscriber, present and future. */
export interface Publisher {
  /** Replaces the member list; `keyErrors` counts the keys that could not be loaded. */
  publishMembers(members: readonly MemberView[], keyErrors: number): void;
  /**
   * Replaces the list of public keys, in load order.
   * @throws SignerError `bad_request` when a key is not 48 bytes or there are more than `KEYS_MAX`
   */
  publishKeys(pubkeys: readonly Uint8Array[]): void;
  /** Ends all connections and the socket. */
  close(): Promise<void>;
}

/** What a publisher asks of the manager. */
export interface PublisherModules {
  readonly reload: () => ReloadAnswer | Promise<ReloadAnswer>;
  readonly reloadStatus: () => ReloadStatus | Promise<ReloadStatus>;
  /** Executes an operator command, as its bytes. */
  readonly operate: (payload: Uint8Array) => Promise<OperatorReport>;
  readonly slashingStatus: () => Promise<SlashingStatus>;
}

interface KeyList {
  readonly version: number;
  /** All keys behind each other. */
  readonly keys: Uint8Array;
}

interface Subscriber {
  readonly socket: Socket;
  readonly connection: RpcServerConnection;
  subscribed: boolean;
  /** The list that is being sent or was sent last. */
  list: KeyList | undefined;
  sending: boolean;
}

/** Listens at `socketPath`, which only this user may open. */
export const createPublisher = async (
  options: { readonly socketPath: string },
  modules: PublisherModules,
): Promise<Publisher> => {
  const subscribers = new Set<Subscriber>();
  let members: Uint8Array | undefined;
  let keyList: KeyList | undefined;
  let flushTimer: NodeJS.Timeout | undefined;

  const sendMembers = (subscriber: Subscriber): void => {
    if (subscriber.subscribed && members !== undefined) {
      subscriber.connection.event(MANAGER_EVENTS.members, members);
    }
  };
  const newestKeys = (): KeyList | undefined => keyList;

  const answer = async (subscriber: Subscriber, operation: number, payload: Uint8Array): Promise<Uint8Array> => {
    switch (operation) {
      case MANAGER_OPERATIONS.subscribe:
        subscriber.subscribed = true;
        sendMembers(subscriber);
        sendKeys(subscriber, newestKeys);
        return new Uint8Array(0);
      case MANAGER_OPERATIONS.reload:
        return encodeReloadAnswer(await modules.reload());
      case MANAGER_OPERATIONS.reloadStatus:
        return encodeReloadStatus(await modules.reloadStatus());
      case MANAGER_OPERATIONS.operate:
        return encodeOperatorReport(await modules.operate(payload.slice()));
      case MANAGER_OPERATIONS.slashingStatus:
        return encodeSlashingStatus(await modules.slashingStatus());
      default:
        throw new SignerError("bad_request", `manager operation: expected 1..5, got ${operation}`);
    }
  };

  const accept = (socket: Socket): void => {
    if (subscribers.size >= SUBSCRIBERS_MAX) {
      socket.destroy();
      return;
    }
    const connection = serveRpc(socket, {
      handler: (operation, payload) => answer(subscriber, operation, payload),
      onClose: () => subscribers.delete(subscriber),
    });
    const subscriber: Subscriber = { socket, connection, subscribed: false, list: undefined, sending: false };
    subscribers.add(subscriber);
  };

  const listener = await listenUnix(options.socketPath, accept);
  return {
    publishMembers: (list, keyErrors) => {
      members = encodeMembers({ members: list, keyErrors });
      flushTimer ??= setTimeout(() => {
        flushTimer = undefined;
        for (const subscriber of subscribers) sendMembers(subscriber);
      }, COALESCE_MS);
    },
    publishKeys: (pubkeys) => {
      keyList = { version: ((keyList?.version ?? 0) + 1) >>> 0, keys: joinKeys(pubkeys) };
      for (const subscriber of subscribers) sendKeys(subscriber, newestKeys);
    },
    close: async () => {
      clearTimeout(flushTimer);
      await listener.close();
    },
  };
};

/** Sends the newest list as fast as the subscriber reads; does nothing when it is under way or has been sent. */
const sendKeys = (subscriber: Subscriber, newest: () => KeyList | undefined): void => {
  const sendPage = (list: KeyList, offset: number): void => {
    if (subscriber.socket.destroyed) return;
    const total = list.keys.length / PUBKEY_BYTES;
    const end = Math.min(total, offset + PAGE_ENTRIES_MAX);
    const keys = list.keys.subarray(offset * PUBKEY_BYTES, end * PUBKEY_BYTES);
    const page = encodePublicKeysPage({ version: list.version, total, offset, keys });
    subscriber.connection.event(MANAGER_EVENTS.publicKeys, page);
    whenWritable(subscriber.socket, () => (end < total ? sendPage(list, end) : sendNewest()));
  };
  const sendNewest = (): void => {
    const list = newest();
    subscriber.sending = list !== undefined && list !== subscriber.list;
    if (list === undefined || !subscriber.sending) return;
    subscriber.list = list;
    sendPage(list, 0);
  };
  if (subscriber.subscribed && !subscriber.sending) sendNewest();
};

/** Goes on when the socket has taken what was written; never, when it is gone. */
const whenWritable = (socket: Socket, next: () => void): void => {
  if (socket.writableNeedDrain) socket.once("drain", next);
  else setImmediate(next);
};

const joinKeys = (pubkeys: readonly Uint8Array[]): Uint8Array => {
  const wrong = pubkeys.find((pubkey) => pubkey.length !== PUBKEY_BYTES);
  if (wrong !== undefined || pubkeys.length > KEYS_MAX) {
    throw new SignerError(
      "bad_request",
      `public keys: expected at most ${KEYS_MAX} of ${PUBKEY_BYTES} bytes, got ${pubkeys.length}` +
        (wrong === undefined ? "" : `, one of ${wrong.length} bytes`),
    );
  }
  return Buffer.concat(pubkeys);
};
