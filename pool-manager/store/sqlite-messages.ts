/** What travels between `sqlite-store.ts` and its thread. Requests are answered in order, one answer each. */

import type { ErrorCode } from "#protocol/errors.ts";
import type { Durability, StoreEntry } from "#protocol/slashing/store.ts";
import type { BatchResult, WriteOperation } from "./sqlite-registers.ts";

/** A request to the thread. */
export type SqliteRequest =
  | { readonly kind: "batch"; readonly operations: WriteOperation[] }
  | { readonly kind: "getMany"; readonly keys: Uint8Array[] }
  | { readonly kind: "scanPage"; readonly afterKey: Uint8Array | undefined; readonly limit: number }
  | { readonly kind: "marker" }
  | { readonly kind: "durability" }
  | { readonly kind: "close" };

/** The value that each kind of request is answered with. */
export interface SqliteAnswers {
  readonly batch: BatchResult;
  readonly getMany: (Uint8Array | undefined)[];
  readonly scanPage: StoreEntry[];
  readonly marker: Uint8Array | undefined;
  readonly durability: Durability;
  readonly close: undefined;
}

/** An answer of the thread; the first, unasked one says whether the file could be opened. */
export type SqliteAnswer =
  | { readonly ok: true; readonly value: unknown }
  | { readonly ok: false; readonly code: ErrorCode; readonly detail: string };
