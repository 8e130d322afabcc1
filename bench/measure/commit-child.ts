/**
 * One process that commits a record by itself now and then, as durably as the signer's store does, and says how long
 * that took: for Redis on the same server; for SQLite in a file of its own beside the signer's.
 */

import { randomBytes } from "node:crypto";
import { connect } from "node:net";
import { DatabaseSync } from "node:sqlite";
import { setTimeout as sleep } from "node:timers/promises";
import { Histogram, type HistogramData } from "./histogram.ts";

/** What the bench asks for. */
export interface CommitOrder {
  readonly seconds: number;
  readonly target: CommitTarget;
}

/** Where to commit. */
export type CommitTarget =
  | { readonly kind: "sqlite" /** A file that this probe may create. */; readonly path: string }
  | { readonly kind: "redis" /** Of its unix socket. */; readonly path: string };

/** Longer than a record of slashing protection, with its key. */
const RECORD_BYTES = 184;
/** Between the end of a commit and the next one: rare enough to be no load. */
const PAUSE_MS = 20;
const KEY = "testudo-bench-probe";

interface Committer {
  commit(): Promise<void>;
  close(): void;
}

const openSqlite = (path: string): Committer => {
  const database = new DatabaseSync(path);
  database.exec("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL");
  database.exec("CREATE TABLE IF NOT EXISTS register (pubkey TEXT PRIMARY KEY, record BLOB) STRICT");
  const write = database.prepare(
    "INSERT INTO register VALUES (?, ?) ON CONFLICT DO UPDATE SET record = excluded.record",
  );
  return {
    commit: async () => void write.run(KEY, randomBytes(RECORD_BYTES)),
    close: () => database.close(),
  };
};

const openRedis = async (path: string): Promise<Committer> => {
  const socket = connect({ path });
  await new Promise((resolve, reject) => socket.once("connect", resolve).once("error", reject));
  return {
    commit: async () => {
      const record = randomBytes(RECORD_BYTES / 2).toString("hex");
      const reply = new Promise<string>((resolve, reject) => {
        socket.once("data", (data) => resolve(data.toString()));
        socket.once("close", () => reject(new Error("redis closed the connection")));
      });
      socket.write(`*3\r\n$3\r\nSET\r\n$${KEY.length}\r\n${KEY}\r\n$${record.length}\r\n${record}\r\n`);
      const text = await reply;
      socket.removeAllListeners("close");
      if (!text.startsWith("+OK")) throw new Error(`redis: ${text}`);
    },
    close: () => void socket.destroy(),
  };
};

const measure = async ({ seconds, target }: CommitOrder): Promise<HistogramData> => {
  const histogram = new Histogram();
  const committer = target.kind === "sqlite" ? openSqlite(target.path) : await openRedis(target.path);
  const endMs = performance.now() + seconds * 1_000;
  while (performance.now() < endMs) {
    const startedMs = performance.now();
    await committer.commit();
    histogram.record((performance.now() - startedMs) * 1_000);
    await sleep(PAUSE_MS);
  }
  committer.close();
  return histogram.toData();
};

process.on("message", (order) => {
  void measure(order as CommitOrder).then(
    (answer) => process.send?.(answer),
    (error: unknown) => {
      process.stderr.write(`commit probe: ${String(error)}\n`);
      process.exit(1);
    },
  );
});
process.once("disconnect", () => process.exit(0));
