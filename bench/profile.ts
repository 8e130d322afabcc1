/**
 * CPU profiles of a running gateway and its first enclave, main threads and worker threads, for Chrome's developer
 * tools or `npx speedscope`. Through the inspector (SIGUSR1), so that the profile has the load alone and no start.
 */

import { writeFileSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Testudo } from "../test/helpers/testudo.ts";
import { connectInspector, type Inspector } from "./inspector.ts";

/**
 * Environment of a `testudo up` that is to be profiled: the inspector of its gateway takes a free port. Enclaves get an
 * environment of their own, so that only one of them can open an inspector, at the default port.
 */
export const PROFILED_ENVIRONMENT = { NODE_OPTIONS: "--inspect-port=0" } as const;

/** Profiles that are being taken. */
export interface Profiles {
  /** Writes them; their paths. */
  stop(): Promise<string[]>;
}

const OPEN_MS = 5_000;

/** Starts profiling. @throws Error when an inspector does not open */
export const startProfiles = async (
  { testudo, store }: { testudo: Testudo; store: { name: string } },
  { folder }: { folder: string },
): Promise<Profiles> => {
  await mkdir(folder, { recursive: true });
  const { gateway, enclaves } = testudo.processes();
  const [[cid, enclave] = []] = enclaves;
  if (cid === undefined || enclave === undefined) throw new Error("no enclave to profile");
  const opened = [
    { name: `enclave-${cid}`, inspector: await openInspector(testudo, enclave) },
    { name: "gateway", inspector: await openInspector(testudo, gateway) },
  ];
  for (const { inspector } of opened) await inspector.startProfiling();
  return {
    stop: async () => {
      const paths: string[] = [];
      for (const { name, inspector } of opened) {
        for (const { thread, profile } of await inspector.stopProfiling()) {
          const path = join(folder, `${store.name}-${name}-${thread}.cpuprofile`);
          writeFileSync(path, JSON.stringify(profile));
          paths.push(path);
        }
        inspector.close();
      }
      return paths;
    },
  };
};

/** The signal opens it, and the process says in its log where. */
const openInspector = async ({ command }: Testudo, pid: number): Promise<Inspector> => {
  const before = command.stderr().length;
  process.kill(pid, "SIGUSR1");
  const deadlineMs = performance.now() + OPEN_MS;
  for (;;) {
    const said = command.stderr().slice(before);
    const [, url] = /Debugger listening on (ws:\/\/\S+)/.exec(said) ?? [];
    if (url !== undefined) return connectInspector(url);
    if (performance.now() > deadlineMs) throw new Error(`process ${pid} opened no inspector: ${said.slice(-500)}`);
    await sleep(20);
  }
};
