/** Short-lived folders for unix sockets (short, because the kernel takes 107 bytes of path), and waiting with a bound. */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

/** A fresh folder below the system's temporary one; `remove` deletes it with everything in it. */
export const makeSocketFolder = (): { path: (name: string) => string; remove: () => void } => {
  const folder = mkdtempSync(join(tmpdir(), "testudo-"));
  return { path: (name) => join(folder, name), remove: () => rmSync(folder, { recursive: true, force: true }) };
};

/** Waits until `condition` holds, at most five seconds. */
export const until = async (condition: () => boolean, what = "the condition"): Promise<void> => {
  for (let attempt = 0; attempt < 2_500; attempt += 1) {
    if (condition()) return;
    await sleep(2);
  }
  throw new Error(`gave up waiting for ${what}`);
};
