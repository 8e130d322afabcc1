/**
 * A process that writes to a SQLite store until it is killed: `node sqlite-writer.ts <file>`. After each acknowledged
 * write it prints a line with the key in hex and the number that the value begins with; what it printed must survive.
 */

import { randomBytes } from "node:crypto";
import { writeSync } from "node:fs";
import { openSqliteStore } from "#pool-manager/store/sqlite-store.ts";

const WRITERS = 16;

const write = async (store: Awaited<ReturnType<typeof openSqliteStore>>): Promise<never> => {
  const key = randomBytes(48);
  let expected: Buffer | undefined;
  for (let count = 1; ; count += 1) {
    const next = randomBytes(136);
    next.writeUInt32BE(count);
    const result = await store.compareAndSet(key, expected, next);
    if (result.kind !== "stored") throw new Error(`expected stored, got ${result.kind}`);
    writeSync(1, `${key.toString("hex")} ${count}\n`);
    expected = next;
  }
};

const store = await openSqliteStore(process.argv[2] ?? "");
await Promise.all(Array.from({ length: WRITERS }, () => write(store)));
