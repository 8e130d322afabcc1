/**
 * Chaos on real processes: `npm run chaos -- --seconds 600 --seed 1`. Ends with `violations: N`; exit code 1 when there
 * are any, or when a run is not good enough in another way, and 2 for wrong usage.
 */

import { parseArgs } from "node:util";
import { describeRun, findShortcomings } from "./report.ts";
import { runChaos } from "./run.ts";
import { SET_UPS, type SetUpName } from "./set-up.ts";

const HELP = `Breaks a real Testudo over real stores, under load, and checks every answer.

  npm run chaos -- [options]

  --seconds <n>    time of load and faults, shared out over the set-ups (default 120)
  --seed <n>       decides the faults and the duties (default 1)
  --set-up <name>  ${SET_UPS.join(", ")} or all (default all)
  --only <text>    only faults whose name contains it
  --quiet          do not name each fault as it happens
`;

const EXIT_USAGE = 2;

class UsageError extends Error {}

const main = async (): Promise<number> => {
  const { values } = parseArgs({
    options: {
      seconds: { type: "string", default: "120" },
      seed: { type: "string", default: "1" },
      "set-up": { type: "string", default: "all" },
      only: { type: "string" },
      quiet: { type: "boolean", default: false },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help) {
    process.stdout.write(HELP);
    return 0;
  }
  const names = setUpsOf(values["set-up"]);
  const seconds = wholeNumber(values.seconds, "--seconds") / names.length;
  const seed = wholeNumber(values.seed, "--seed");
  const signal = untilStopped();
  let violations = 0;
  let isGood = true;
  for (const name of names) {
    if (signal.aborted) break;
    const startedMs = performance.now();
    const log = (text: string): void => {
      const time = ((performance.now() - startedMs) / 1_000).toFixed(1).padStart(6);
      if (!values.quiet) process.stderr.write(`${time} s  ${name}  ${text}\n`);
    };
    try {
      const result = await runChaos({ name, seconds, seed, only: values.only, signal, log });
      process.stdout.write(`${describeRun(result)}\n\n`);
      violations += result.isSafe ? result.violations.length : 0;
      isGood &&= findShortcomings(result).length === 0;
    } catch (error) {
      process.stdout.write(`${name}: could not be run: ${error instanceof Error ? error.stack : String(error)}\n\n`);
      isGood = false;
    }
  }
  process.stdout.write(`violations: ${violations}\n`);
  return isGood && violations === 0 && !signal.aborted ? 0 : 1;
};

const setUpsOf = (text: string): readonly SetUpName[] => {
  if (text === "all") return SET_UPS;
  const name = SET_UPS.find((known) => known === text);
  if (name === undefined) throw new UsageError(`--set-up: expected ${SET_UPS.join(", ")} or all, got "${text}"`);
  return [name];
};

const wholeNumber = (text: string, option: string): number => {
  if (/^\d{1,6}$/.test(text)) return Number(text);
  throw new UsageError(`${option}: expected a whole number 0..999999, got "${text}"`);
};

/** Aborts at the first signal, or when the launcher is gone; the run then ends in order. */
const untilStopped = (): AbortSignal => {
  const stopping = new AbortController();
  for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(name, () => stopping.abort());
  if (process.channel !== undefined) {
    process.once("disconnect", () => stopping.abort());
    process.channel.unref(); // an open channel alone keeps nothing running
  }
  return stopping.signal;
};

const isUsageError = (error: unknown): error is Error =>
  error instanceof UsageError || String((error as { code?: unknown }).code).startsWith("ERR_PARSE_ARGS");

try {
  process.exitCode = await main();
} catch (error) {
  if (!isUsageError(error)) throw error;
  process.stderr.write(`chaos: ${error.message}\n`);
  process.exitCode = EXIT_USAGE;
}
