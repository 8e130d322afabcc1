/**
 * The embedded slashing store: SQLite in a thread of its own, with group commit. While one batch is being committed, the
 * operations that arrive collect and go together as the next; so the disk is asked once for many signatures.
 *
 * Order: the thread answers requests in the order in which they were sent, so a read sees every write acknowledged
 * before it was asked for. What it does not do: repair, back up, or protect the file from its owner.
 */

import { Worker } from "node:worker_threads";
import { PUBKEY_BYTES } from "#protocol/bytes.ts";
import { SignerError, toSignerError } from "#protocol/errors.ts";
import {
  type CompareAndSetResult,
  type Durability,
  type SlashingStore,
  STORE_VALUE_BYTES_MAX,
  type StoreEntry,
} from "#protocol/slashing/store.ts";
import type { SqliteAnswer, SqliteAnswers, SqliteRequest } from "./sqlite-messages.ts";
import type { BatchResult, WriteOperation } from "./sqlite-registers.ts";

/** Operations that may wait or be in the thread, writes and reads alike: 16384 × 300 bytes is 5 MiB. */
const QUEUE_OPERATIONS_MAX = 16_384;
/** Operations of one transaction: about 12 µs each, so that nobody waits longer than some 12 ms for the batch before. */
const BATCH_OPERATIONS_MAX = 1024;
/** Registers of one page of a scan. */
const SCAN_PAGE_ENTRIES = 1024;
/** Keys of one read: a longer list is asked for in several. */
const READ_KEYS_MAX = 1024;
/** Time to open the file: a log of some GiB may have to be checkpointed. */
const OPEN_TIMEOUT_MS = 30_000;
/** Time for the thread to end by itself before it is ended. */
const CLOSE_TIMEOUT_MS = 2_000;

/** Settings of a SQLite store. */
export interface SqliteStoreOptions {
  /** Time after which an operation answers `unknown` (a read: `unavailable`). Default 5000: a duty is late by then. */
  readonly deadlineMs?: number;
}

/** A {@link SlashingStore} that can also be read in pages, for `serve.ts`. */
export interface SqliteSlashingStore extends SlashingStore {
  /**
   * Up to `limit` registers whose keys come after `afterKey` (undefined: from the start), in order of keys.
   * @throws SignerError `unavailable` as every read.
   */
  scanPage(afterKey: Uint8Array | undefined, limit: number): Promise<StoreEntry[]>;
}

/**
 * Opens (or creates) the store in the file at `path`, whose folder must exist.
 * @throws SignerError `unavailable` when the file cannot be opened, has another owner, or is not a store of ours.
 */
export const openSqliteStore = async (path: string, options: SqliteStoreOptions = {}): Promise<SqliteSlashingStore> => {
  const worker = new Worker(new URL("./sqlite-thread.ts", import.meta.url), { workerData: { path } });
  const store = new SqliteStore(worker, { deadlineMs: options.deadlineMs ?? 5_000 });
  try {
    await store.opened();
    return store;
  } catch (error) {
    await store.close();
    throw toSignerError(error);
  }
};

interface PendingWrite {
  readonly operation: WriteOperation;
  readonly settle: (result: CompareAndSetResult) => void;
}

type Waiter = (answer: SqliteAnswer) => void;

class SqliteStore implements SqliteSlashingStore {
  readonly #worker: Worker;
  readonly #deadlineMs: number;
  /** Those who wait for the thread's answers, in order. */
  readonly #waiters: Waiter[] = [];
  /** Writes that wait for the next batch. */
  #queue: PendingWrite[] = [];
  /** Writes and reads that are not answered yet. */
  #pending = 0;
  #batchInFlight = false;
  #flushScheduled = false;
  /** Why nothing is accepted any more. */
  #ended: string | undefined;

  constructor(worker: Worker, { deadlineMs }: { deadlineMs: number }) {
    this.#worker = worker;
    this.#deadlineMs = deadlineMs;
    worker.on("message", (answer: SqliteAnswer) => this.#waiters.shift()?.(answer));
    worker.on("error", (error: Error) => this.#end(`the sqlite thread failed: ${error.message}`));
    worker.on("exit", (code) => this.#end(`the sqlite thread ended with code ${code}`));
  }

  /** Resolves when the thread has opened the file. */
  async opened(): Promise<void> {
    await this.#answer("the file was not opened in time", OPEN_TIMEOUT_MS);
  }

  async getMany(keys: readonly Uint8Array[]): Promise<(Uint8Array | undefined)[]> {
    const values: (Uint8Array | undefined)[] = [];
    for (const key of keys) expectKey(key);
    for (let start = 0; start < keys.length; start += READ_KEYS_MAX) {
      const part = keys.slice(start, start + READ_KEYS_MAX).map(tight);
      values.push(...(await this.#read({ kind: "getMany", keys: part })));
    }
    return values;
  }

  async compareAndSet(
    key: Uint8Array,
    expected: Uint8Array | undefined,
    next: Uint8Array,
  ): Promise<CompareAndSetResult> {
    if (key.length !== PUBKEY_BYTES) return unknown(`key: expected ${PUBKEY_BYTES} bytes, got ${key.length}`);
    return this.#write({ key: tight(key), expected: expected && tight(expected), next: tight(next) });
  }

  async *scan(): AsyncGenerator<StoreEntry> {
    let afterKey: Uint8Array | undefined;
    for (;;) {
      const page = await this.scanPage(afterKey, SCAN_PAGE_ENTRIES);
      yield* page;
      afterKey = page.at(-1)?.key;
      if (page.length < SCAN_PAGE_ENTRIES) return;
    }
  }

  async scanPage(afterKey: Uint8Array | undefined, limit: number): Promise<StoreEntry[]> {
    return this.#read({ kind: "scanPage", afterKey: afterKey && tight(afterKey), limit });
  }

  async marker(): Promise<Uint8Array | undefined> {
    return this.#read({ kind: "marker" });
  }

  async compareAndSetMarker(expected: Uint8Array | undefined, next: Uint8Array): Promise<CompareAndSetResult> {
    return this.#write({ key: undefined, expected: expected && tight(expected), next: tight(next) });
  }

  async durability(): Promise<Durability> {
    try {
      return await this.#read({ kind: "durability" });
    } catch (error) {
      return { ok: false, reason: toSignerError(error).detail };
    }
  }

  async close(): Promise<void> {
    const exited = new Promise<void>((resolve) => {
      if (this.#worker.threadId === -1) resolve();
      else this.#worker.once("exit", () => resolve());
    });
    if (this.#ended === undefined) {
      this.#worker.postMessage({ kind: "close" } satisfies SqliteRequest);
      this.#end("the store is closed");
    }
    const timer = setTimeout(() => void this.#worker.terminate(), CLOSE_TIMEOUT_MS);
    await exited;
    clearTimeout(timer);
  }

  #write(operation: WriteOperation): Promise<CompareAndSetResult> {
    const bytes = operation.next.length;
    if (bytes === 0 || bytes > STORE_VALUE_BYTES_MAX) {
      return Promise.resolve(unknown(`value: expected 1..${STORE_VALUE_BYTES_MAX} bytes, got ${bytes}`));
    }
    if (this.#ended !== undefined) return Promise.resolve(unknown(this.#ended));
    if (this.#pending >= QUEUE_OPERATIONS_MAX) {
      return Promise.resolve(unknown(`${QUEUE_OPERATIONS_MAX} operations are waiting already`));
    }
    this.#pending += 1;
    return new Promise((resolve) => {
      // The operation keeps its place in `#pending` until its batch is answered: a stuck disk must not grow the queue.
      const timer = setTimeout(() => resolve(unknown(`no commit within ${this.#deadlineMs} ms`)), this.#deadlineMs);
      const settle = (result: CompareAndSetResult): void => {
        clearTimeout(timer);
        this.#pending -= 1;
        resolve(result);
      };
      this.#queue.push({ operation, settle });
      this.#schedule();
    });
  }

  /** The operations of one turn of the event loop go together even when the thread is idle. */
  #schedule(): void {
    if (this.#flushScheduled || this.#batchInFlight) return;
    this.#flushScheduled = true;
    setImmediate(() => {
      this.#flushScheduled = false;
      this.#flush();
    });
  }

  #flush(): void {
    if (this.#ended !== undefined || this.#batchInFlight || this.#queue.length === 0) return;
    const batch = this.#queue.slice(0, BATCH_OPERATIONS_MAX);
    this.#queue = this.#queue.slice(BATCH_OPERATIONS_MAX);
    this.#batchInFlight = true;
    this.#waiters.push((answer) => {
      this.#batchInFlight = false;
      const results = batchResults(answer, batch.length);
      batch.forEach(({ settle }, index) => {
        settle(results[index] ?? unknown("the sqlite thread left an answer out"));
      });
      this.#flush();
    });
    const operations = batch.map(({ operation }) => operation);
    this.#worker.postMessage({ kind: "batch", operations } satisfies SqliteRequest);
  }

  async #read<R extends Exclude<SqliteRequest, { kind: "batch" | "close" }>>(
    request: R,
  ): Promise<SqliteAnswers[R["kind"]]> {
    if (this.#ended !== undefined) throw new SignerError("unavailable", this.#ended);
    if (this.#pending >= QUEUE_OPERATIONS_MAX) {
      throw new SignerError("unavailable", `${QUEUE_OPERATIONS_MAX} operations are waiting already`);
    }
    const value = this.#answer(`no answer within ${this.#deadlineMs} ms`, this.#deadlineMs);
    this.#worker.postMessage(request);
    return (await value) as SqliteAnswers[R["kind"]];
  }

  /** The thread's next answer that nobody waits for yet. */
  #answer(lateDetail: string, timeoutMs: number): Promise<unknown> {
    this.#pending += 1;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new SignerError("unavailable", `sqlite: ${lateDetail}`)), timeoutMs);
      this.#waiters.push((answer) => {
        clearTimeout(timer);
        this.#pending -= 1;
        if (answer.ok) resolve(answer.value);
        else reject(new SignerError(answer.code, answer.detail));
      });
    });
  }

  /** Answers everything that is open; nothing is accepted after this. */
  #end(reason: string): void {
    if (this.#ended !== undefined) return;
    this.#ended = reason;
    for (const waiter of this.#waiters.splice(0)) waiter({ ok: false, code: "unavailable", detail: reason });
    for (const { settle } of this.#queue.splice(0)) settle(unknown(reason));
  }
}

const batchResults = (answer: SqliteAnswer, length: number): readonly CompareAndSetResult[] => {
  const every = (detail: string): CompareAndSetResult[] => new Array(length).fill(unknown(detail));
  if (!answer.ok) return every(answer.detail);
  const result = answer.value as BatchResult;
  return result.kind === "committed" ? result.results : every(result.detail);
};

const unknown = (detail: string): CompareAndSetResult => ({ kind: "unknown", detail });

const expectKey = (key: Uint8Array): void => {
  if (key.length !== PUBKEY_BYTES) {
    throw new SignerError("bad_request", `key: expected ${PUBKEY_BYTES} bytes, got ${key.length}`);
  }
};

/** A copy with a buffer of its own: posting a view would copy the whole pool that it is a view of. */
const tight = (bytes: Uint8Array): Uint8Array => new Uint8Array(bytes);
