/**
 * Writes a dated report with plots: `npm run bench:report [-- files…]`. Without files it measures first, one scenario
 * after the other. Exit code 1 when a measurement failed; budgets that do not hold are the report's business.
 */

import { spawn } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { renderReport } from "./report/markdown.ts";
import { drawPlots } from "./report/plots.ts";
import type { BenchResult } from "./result.ts";
import { SCENARIOS } from "./scenarios.ts";

const HELP = `Writes bench/reports/<day>.md, with plots and the numbers themselves in a folder beside it.

  npm run bench:report                          measures everything first, three quarters of an hour
  npm run bench:report -- out.json other.json   reports what \`npm run bench -- <scenario> --json\` wrote

  --scenarios <names>  measures only these, with commas (${Object.keys(SCENARIOS).join(", ")})
  --note <text>        a paragraph for readers, repeatable: what else ran, why something does not hold
  --out <dir>          where to write (default bench/reports)
  -- <options>         behind a second --: options of every measurement, as -- --seconds 30
`;

const FOLDER = fileURLToPath(new URL("./reports", import.meta.url));
const BENCH = fileURLToPath(new URL("./main.ts", import.meta.url));

const main = async (args: readonly string[]): Promise<void> => {
  const split = args.indexOf("--");
  const [own, passedOn] = split < 0 ? [args, []] : [args.slice(0, split), args.slice(split + 1)];
  const { values, positionals } = parseArgs({
    args: [...own],
    allowPositionals: true,
    options: {
      scenarios: { type: "string", default: Object.keys(SCENARIOS).join(",") },
      note: { type: "string", multiple: true, default: [] },
      out: { type: "string", default: FOLDER },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help) {
    process.stdout.write(HELP);
    return;
  }
  const day = new Date().toISOString().slice(0, 10);
  const folder = join(values.out, day);
  mkdirSync(folder, { recursive: true });
  const results: BenchResult[] = [];
  if (positionals.length > 0) results.push(...positionals.map(readResult));
  else {
    for (const scenario of values.scenarios.split(",")) {
      const path = join(folder, `${scenario}.json`);
      await measure(scenario, [...passedOn, "--json", path]);
      results.push(readResult(path));
    }
  }
  for (const result of results) writeFileSync(join(folder, `${result.scenario}.json`), toJson(result));
  const plots = await drawPlots(results);
  for (const { name, svg } of plots) writeFileSync(join(folder, `${name}.svg`), svg);
  const links = plots.map(({ name, title }) => ({ title, path: `${basename(folder)}/${name}.svg` }));
  const path = join(values.out, `${day}.md`);
  writeFileSync(path, renderReport(results, { day, plots: links, notes: values.note }));
  process.stdout.write(`written: ${path}\n`);
};

const toJson = (result: BenchResult): string => `${JSON.stringify(result, null, 2)}\n`;

const readResult = (path: string): BenchResult => {
  const result = JSON.parse(readFileSync(path, "utf8")) as Partial<BenchResult>;
  if (typeof result.scenario === "string" && Array.isArray(result.runs)) return result as BenchResult;
  throw new Error(`${path}: expected what \`npm run bench -- <scenario> --json\` writes`);
};

/** Each in a process of its own: nothing of one measurement stays for the next. */
const measure = (scenario: string, args: readonly string[]): Promise<void> =>
  new Promise((resolve, reject) => {
    // The channel tells it when we are gone.
    const child = spawn(process.execPath, [BENCH, scenario, ...args], {
      stdio: ["ignore", "inherit", "inherit", "ipc"],
    });
    for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.once(name, () => child.kill(name));
    child.once("error", reject);
    child.once("exit", (code) => (code === 0 ? resolve() : reject(new Error(`${scenario}: exit code ${code}`))));
  });

try {
  await main(process.argv.slice(2));
} catch (error) {
  process.stderr.write(`bench:report: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
