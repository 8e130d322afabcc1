/** The pool-manager's embedded SQLite store, asked over the enclave's egress port (`protocol/messages/store.ts`). */

import type { Socket } from "node:net";
import { SignerError, toSignerError } from "#protocol/errors.ts";
import {
  decodeCompareAndSetResult,
  decodeDurability,
  decodeEntries,
  decodeOptional,
  decodeValues,
  encodeCompareAndSet,
  encodeKeys,
  encodeScanPage,
  STORE_OPERATIONS,
  STORE_PAGE_ENTRIES,
} from "#protocol/messages/store.ts";
import { createRpcClient, type RpcClient } from "#protocol/rpc.ts";
import type { CompareAndSetResult, SlashingStore, StoreEntry } from "#protocol/slashing/store.ts";

/** How the store is reached. */
export interface RemoteStoreOptions {
  /** Opens one stream to the store. Called again after a stream broke. */
  readonly connect: () => Promise<Socket>;
  /** Longest wait for one operation; the store's own commit takes a few ms. */
  readonly deadlineMs?: number;
}

/** Below a client's 5 s time-out, so that it hears 503 and not silence. */
const DEADLINE_MS = 3_000;

/** A {@link SlashingStore} at the other end of a stream. Connects on first use, and again after a break. */
export const createRemoteStore = ({ connect, deadlineMs = DEADLINE_MS }: RemoteStoreOptions): SlashingStore => {
  let client: Promise<RpcClient> | undefined;
  let closed = false;

  const connected = async (): Promise<RpcClient> => {
    if (closed) throw new SignerError("unavailable", "the slashing store is closed");
    client ??= open();
    return client;
  };

  const open = async (): Promise<RpcClient> => {
    try {
      return createRpcClient(await connect(), { onClose: () => (client = undefined) });
    } catch (error) {
      client = undefined;
      throw error;
    }
  };

  /** Reads: every failure is `unavailable`, nothing was changed. */
  const read = async (operation: number, payload: Uint8Array): Promise<Uint8Array> => {
    try {
      return await (await connected()).request(operation, payload, { timeoutMs: deadlineMs });
    } catch (error) {
      throw new SignerError("unavailable", `slashing store: ${toSignerError(error).detail}`, { cause: error });
    }
  };

  /** Writes: every failure is `unknown`, for the request may have arrived. */
  const write = async (operation: number, payload: Uint8Array): Promise<CompareAndSetResult> => {
    try {
      const answer = await (await connected()).request(operation, payload, { timeoutMs: deadlineMs });
      return decodeCompareAndSetResult(answer);
    } catch (error) {
      return { kind: "unknown", detail: toSignerError(error).detail };
    }
  };

  async function* scan(): AsyncGenerator<StoreEntry> {
    let after: Uint8Array | undefined;
    for (;;) {
      const page = decodeEntries(await read(STORE_OPERATIONS.scanPage, encodeScanPage(after)));
      yield* page;
      if (page.length < STORE_PAGE_ENTRIES) return;
      after = page.at(-1)?.key;
    }
  }

  return {
    getMany: async (keys) => {
      const values: (Uint8Array | undefined)[] = [];
      for (let start = 0; start < keys.length; start += STORE_PAGE_ENTRIES) {
        const page = keys.slice(start, start + STORE_PAGE_ENTRIES);
        const answer = decodeValues(await read(STORE_OPERATIONS.getMany, encodeKeys(page)));
        if (answer.length !== page.length) throw new SignerError("unavailable", "slashing store: short answer");
        values.push(...answer);
      }
      return values;
    },
    compareAndSet: (key, expected, next) =>
      write(STORE_OPERATIONS.compareAndSet, encodeCompareAndSet({ key, expected, next })),
    scan,
    marker: async () => decodeOptional(await read(STORE_OPERATIONS.marker, new Uint8Array())),
    compareAndSetMarker: (expected, next) =>
      write(STORE_OPERATIONS.compareAndSetMarker, encodeCompareAndSet({ key: undefined, expected, next })),
    durability: async () => {
      try {
        return decodeDurability(await read(STORE_OPERATIONS.durability, new Uint8Array()));
      } catch (error) {
        return { ok: false, reason: toSignerError(error).detail };
      }
    },
    close: async () => {
      closed = true;
      (await client?.catch(() => undefined))?.close();
    },
  };
};
