/** Before all tests: the Debian package of Redis is there, or can be installed, or a clear word says what to do. */

import { spawnSync } from "node:child_process";

const installed = (): boolean => spawnSync("redis-server", ["--version"], { stdio: "ignore" }).status === 0;

/** Vitest calls this once. @throws Error that says how to install Redis */
export const setup = (): void => {
  if (installed()) return;
  if (process.getuid?.() === 0 && spawnSync("apt-get", ["--version"], { stdio: "ignore" }).status === 0) {
    process.stderr.write("tests: installing redis-server (once) …\n");
    const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
    const apt = (...args: string[]) =>
      spawnSync("apt-get", ["-qq", "-y", ...args], { env, stdio: ["ignore", "ignore", "inherit"] });
    apt("update");
    // The tests start servers of their own; the package's service must not run beside them.
    apt("install", "--no-install-recommends", "redis-server");
    if (installed()) return;
  }
  throw new Error("the tests need Redis: install it (Debian: `apt-get install redis-server`) and run them again");
};
