/** Preloaded into a command (`node --import`): at its end it prints by how many MiB its memory had grown at most. */

import { writeSync } from "node:fs";
import { isMainThread } from "node:worker_threads";

const MIB = 1024 * 1024;
const before = process.memoryUsage.rss();

if (isMainThread) {
  process.on("exit", () => {
    // Linux counts `maxRSS` in KiB, for all threads (getrusage(2)).
    const growth = process.resourceUsage().maxRSS * 1024 - before;
    writeSync(2, `\nmemory grew by ${Math.round(growth / MIB)} MiB\n`);
  });
}
