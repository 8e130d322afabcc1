/** The report as Markdown: what was measured on what, which budgets hold, and every run's numbers. */

import type { BenchResult, Latencies, Run } from "../result.ts";
import { dearestParts, HALF, judge, type Verdict } from "./budgets.ts";

/** What goes into a report besides the numbers. */
export interface ReportOptions {
  /** YYYY-MM-DD. */
  readonly day: string;
  /** Plots as they lie beside the report. */
  readonly plots: readonly { readonly title: string; readonly path: string }[];
  /** What people should know, one paragraph each. */
  readonly notes: readonly string[];
}

/** The whole text. @throws Error without results */
export const renderReport = (results: readonly BenchResult[], { day, plots, notes }: ReportOptions): string => {
  const [first] = results;
  if (first === undefined) throw new Error("a report needs results");
  const verdicts = judge(results);
  const sections = [
    `# Benchmarks of ${day}`,
    describeGround(results),
    ...notes,
    "## Budgets",
    "Ratios are CPU of gateway and enclaves per signature, divided by that of one bare `@chainsafe/blst` signature measured" +
      " in the same run, window by window. [docs/performance.md](../../docs/performance.md) explains all figures.",
    budgetTable(verdicts),
    ...describeMisses(verdicts),
    ...plots.map(({ title, path }) => `![${title}](${path})`),
    ...results.flatMap(renderResult),
  ];
  return `${sections.filter((section) => section !== "").join("\n\n")}\n`;
};

const describeGround = (results: readonly BenchResult[]): string => {
  const all = (read: (result: BenchResult) => string): string => [...new Set(results.map(read))].join("; ");
  const engines = [...new Set(results.flatMap(({ runs }) => runs.map(({ engine }) => engine)))].join(", ");
  return [
    `- machine: ${all(({ machine }) => `${machine.cpu}, ${machine.cores} cores, ${machine.memoryGiB} GiB, ${machine.kernel}`)}; load generator, Redis and servers share these cores`,
    `- Node: ${all(({ node }) => node)}`,
    `- commit: ${all(({ commit, isDirty }) => `\`${commit.slice(0, 12)}\`${isDirty ? " with uncommitted changes" : ""}`)}`,
    `- signing engine: ${engines}`,
    `- measured: ${all(({ date }) => date.slice(0, 10))}`,
  ].join("\n");
};

const budgetTable = (verdicts: readonly Verdict[]): string =>
  verdicts.length === 0
    ? "No run has the load that the budgets are for."
    : table(
        ["budget", "run", "measured", "must", "aim", ""],
        verdicts.map(({ budget, run, value, holds, reachesAim }) => [
          budget.what,
          run.label,
          `${figure(value)} ${budget.unit}`,
          `≤ ${budget.must}`,
          budget.aim === undefined ? "" : `≤ ${budget.aim}`,
          holds ? (reachesAim ? "holds, aim too" : "holds") : "**does not hold**",
        ]),
      );

/** For each budget that does not hold, what its figure is made of. */
const describeMisses = (verdicts: readonly Verdict[]): string[] =>
  verdicts
    .filter(({ holds }) => !holds)
    .map(({ budget, run, value }) => {
      const engine = run.engine === "native" ? "" : ` The engine was ${run.engine}, not the native one.`;
      const made = describeParts({ budget, run });
      return `**${budget.what}, ${run.label}** does not hold: ${figure(value)} instead of ${budget.must}.${made}${engine}`;
    });

const describeParts = ({ budget, run }: Pick<Verdict, "budget" | "run">): string => {
  const half = run.levels?.find(({ share }) => share === HALF);
  if (budget.scenario === "latency" && half !== undefined) {
    const { latencyMs, commitMs, latenessMs } = half;
    return ` In ms, p50 / p90 / p99 / max: latency ${latencies(latencyMs)}, of which the generator itself ${latencies(latenessMs)}; the store's commit ${latencies(commitMs)}.`;
  }
  const parts = dearestParts(run).map(({ name, ratio }) => `${name} ${figure(ratio)}`);
  return parts.length === 0 ? "" : ` Dearest parts, in bare signatures: ${parts.join(", ")}.`;
};

const renderResult = ({ scenario, runs }: BenchResult): string[] => {
  const measured = runs.filter(({ signaturesPerSecond }) => signaturesPerSecond !== null);
  return [
    `## ${scenario}`,
    ...new Set(runs.map(describeLoad)),
    measured.length === 0 ? "" : runTable(measured),
    ...runs.flatMap(renderExtras),
  ];
};

const describeLoad = ({ load, engine }: Run): string => {
  const shape = `${load.workload}, ${load.keys.toLocaleString("en")} keys, ${load.enclaves} enclaves × ${load.threads} signing threads`;
  return load.windows === 0
    ? `Load: none; ${shape.replace(/^none, /, "")}; engine ${engine}.`
    : `Load: ${shape}, ${load.connections} connections saturated, generator ${load.generator}; engine ${engine}.`;
};

const runTable = (runs: readonly Run[]): string =>
  table(
    [
      ...["run", "store", "signatures/s", "p50 / p90 / p99 / max ms", "gateway µs", "enclaves µs"],
      ...[
        "pool-manager µs",
        "Redis µs",
        "generator µs",
        "bare µs",
        "ratio (windows)",
        "with store",
        "errors",
        "verified",
      ],
    ],
    runs.map((run) => {
      const { cpuMicrosPerSignature: cpu, ratioSpread: spread, load } = run;
      const part = (name: keyof NonNullable<typeof cpu>): string => (cpu === null ? "" : cpu[name].toFixed(1));
      return [
        ...[run.label, load.durability, figure(run.signaturesPerSecond ?? 0), latencies(run.latencyMs)],
        ...[part("gateway"), part("enclaves"), part("poolManager"), part("redis"), part("generator")],
        (run.bareMicros ?? 0).toFixed(1),
        spread === null ? "" : `**${figure(spread.median)}** (${figure(spread.min)}–${figure(spread.max)})`,
        figure(run.ratioWithStore ?? 0),
        String(load.errors),
        `${load.verified} of ${load.signatures.toLocaleString("en")}`,
      ];
    }),
  );

const renderExtras = (run: Run): string[] => [
  ...(run.refused === undefined ? [] : [`${run.label}: refused by Testudo: ${run.refused}`]),
  ...(run.levels === undefined
    ? []
    : [
        `${run.label}, open loop:`,
        table(
          [
            "load",
            "requests/s",
            "p50 / p90 / p99 / max ms",
            "store's commit ms",
            "noticed late ms",
            "p50, p99 in bare signs",
            "ratio",
            "errors",
          ],
          run.levels.map((level) => [
            `${Math.round(100 * level.share)} %`,
            figure(level.ratePerSecond),
            latencies(level.latencyMs),
            latencies(level.commitMs),
            latencies(level.latenessMs),
            `${figure(level.bareSigns.p50)}, ${figure(level.bareSigns.p99)}`,
            figure(level.ratio),
            String(level.errors),
          ]),
        ),
      ]),
  ...(run.restartMs === undefined || run.readyMs === null
    ? []
    : [
        `${run.label}: raw ${(run.readyMs / 1_000).toFixed(2)} s, sealed ${(run.restartMs / 1_000).toFixed(2)} s to ready.`,
      ]),
  ...(run.memoryGrowth === undefined
    ? []
    : [
        `${run.label}: memory grew by ${(100 * run.memoryGrowth).toFixed(1)} % in ${(run.load.seconds / 60).toFixed(1)} minutes of load.`,
      ]),
];

const latencies = (values: Latencies | null): string =>
  values === null ? "" : [values.p50, values.p90, values.p99, values.max].map((value) => value.toFixed(2)).join(" / ");

/** Three digits that say something. */
const figure = (value: number): string => {
  if (Math.abs(value) >= 100) return Math.round(value).toLocaleString("en");
  return Math.abs(value) >= 10 ? value.toFixed(1) : value.toFixed(3);
};

const table = (head: readonly string[], rows: readonly (readonly string[])[]): string =>
  [head, head.map(() => "---"), ...rows].map((row) => `| ${row.join(" | ")} |`).join("\n");
