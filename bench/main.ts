/**
 * Benchmarks of the whole server: `npm run bench -- <scenario> [options]`. Exit code 0 when everything was measured, 1
 * when something failed, 2 for wrong usage.
 */

import { writeFileSync } from "node:fs";
import { canMeasureCpu } from "./measure/cpu.ts";
import { describeMachine, describeSource } from "./measure/machine.ts";
import { parseOptions, UsageError } from "./options.ts";
import { createStatus } from "./output.ts";
import { contextOf, toBenchResult } from "./result.ts";
import type { BenchModules } from "./scenario.ts";
import { SCENARIOS } from "./scenarios.ts";
import { describeResult } from "./summary.ts";

const EXIT_USAGE = 2;
/** As shells count an end by SIGINT. */
const EXIT_INTERRUPTED = 130;

/** What must not outlive the bench, in the order of its beginning. */
const owned: { close(): Promise<unknown> }[] = [];

const main = async (): Promise<void> => {
  const parsed = parseOptions(process.argv.slice(2));
  if (parsed.kind === "help") {
    process.stdout.write(parsed.text);
    return;
  }
  if (!canMeasureCpu()) throw new UsageError("CPU per part is read from /proc: the benchmarks need Linux");
  const { scenario: name, options, jsonPath } = parsed;
  const status = createStatus();
  const modules: BenchModules = {
    status: status.show,
    own: (resource) => {
      owned.push(resource);
      return resource;
    },
  };
  const context = contextOf({
    scenario: name,
    machine: describeMachine(),
    source: describeSource(),
    date: new Date(),
    seed: options.seed,
  });
  const result = toBenchResult(context, await SCENARIOS[name].run(options, modules));
  status.end();
  process.stdout.write(`${describeResult(result)}\n`);
  if (jsonPath !== undefined) {
    writeFileSync(jsonPath, `${JSON.stringify(result, null, 2)}\n`);
    process.stdout.write(`written: ${jsonPath}\n`);
  }
};

/** Ends what was started, last first; a second signal meanwhile changes nothing. */
const closeAll = async (): Promise<void> => {
  for (const resource of owned.splice(0).reverse()) await resource.close().catch(() => undefined);
};

let isInterrupted = false;
const interrupt = (): void => {
  isInterrupted = true;
  process.stderr.write("\nbench: stopping …\n");
  void closeAll().then(() => process.exit(EXIT_INTERRUPTED));
};

for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.once(name, interrupt);
if (process.channel !== undefined) {
  process.once("disconnect", interrupt);
  process.channel.unref(); // an open channel to the launcher keeps nothing running
}
try {
  await main();
} catch (error) {
  // What is being closed fails in the hands of whoever uses it.
  if (isInterrupted) await new Promise(() => undefined);
  await closeAll();
  const isUsage = error instanceof UsageError;
  process.stderr.write(`bench: ${isUsage ? error.message : error instanceof Error ? error.stack : String(error)}\n`);
  process.exit(isUsage ? EXIT_USAGE : 1);
}
