/** Answers enclaves' store requests from the embedded store. It reads no record: enclaves alone can. */

import type { Duplex } from "node:stream";
import { SignerError } from "#protocol/errors.ts";
import {
  decodeCompareAndSet,
  decodeKeys,
  decodeScanPage,
  encodeCompareAndSetResult,
  encodeDurability,
  encodeEntries,
  encodeOptional,
  encodeValues,
  STORE_OPERATIONS,
  STORE_PAGE_ENTRIES,
} from "#protocol/messages/store.ts";
import { type RpcHandler, serveRpc } from "#protocol/rpc.ts";
import type { SqliteSlashingStore } from "./sqlite-store.ts";

/** Serves one enclave's stream. */
export const serveStore = (socket: Duplex, store: SqliteSlashingStore): void => {
  serveRpc(socket, { handler: storeHandler(store) });
};

const storeHandler =
  (store: SqliteSlashingStore): RpcHandler =>
  async (operation, payload) => {
    switch (operation) {
      case STORE_OPERATIONS.getMany:
        return encodeValues(await store.getMany(decodeKeys(payload)));
      case STORE_OPERATIONS.compareAndSet: {
        const { key, expected, next } = decodeCompareAndSet(payload, { keyed: true });
        return encodeCompareAndSetResult(await store.compareAndSet(key as Uint8Array, expected, next));
      }
      case STORE_OPERATIONS.scanPage:
        return encodeEntries(await store.scanPage(decodeScanPage(payload), STORE_PAGE_ENTRIES));
      case STORE_OPERATIONS.marker:
        return encodeOptional(await store.marker());
      case STORE_OPERATIONS.compareAndSetMarker: {
        const { expected, next } = decodeCompareAndSet(payload, { keyed: false });
        return encodeCompareAndSetResult(await store.compareAndSetMarker(expected, next));
      }
      case STORE_OPERATIONS.durability:
        return encodeDurability(await store.durability());
      default:
        throw new SignerError("protocol_violation", `store: unknown operation ${operation}`);
    }
  };
