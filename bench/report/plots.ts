/** The report's plots: Vega-Lite specifications, rendered to SVG text without a browser or canvas. */

import * as vega from "vega";
import { compile, type TopLevelSpec } from "vega-lite";
import type { BenchResult, Run } from "../result.ts";
import { BUDGETS, THREAD_NAMES } from "./budgets.ts";

/** A plot to be written beside the report. */
export interface Plot {
  /** File name without ending. */
  readonly name: string;
  /** What it shows, for people who do not see it. */
  readonly title: string;
  readonly svg: string;
}

/** All plots for which there are numbers. */
export const drawPlots = async (results: readonly BenchResult[]): Promise<Plot[]> => {
  const specifications = [ratioPlot(results), cpuPlot(results), latencyPlot(results), memoryPlot(results)];
  const plots: Plot[] = [];
  for (const plot of specifications) {
    if (plot !== undefined) plots.push({ name: plot.name, title: plot.title, svg: await render(plot) });
  }
  return plots;
};

interface Specification {
  readonly name: string;
  readonly title: string;
  /** How to read it. */
  readonly subtitle: string;
  readonly spec: Omit<TopLevelSpec, "$schema" | "title">;
}

const render = async ({ title, subtitle, spec }: Specification): Promise<string> => {
  const heading = { text: title, subtitle, anchor: "start", offset: 12 };
  const { spec: full } = compile({ ...LOOK, title: heading, ...spec } as TopLevelSpec);
  const view = new vega.View(vega.parse(full), { renderer: "none" });
  try {
    return `${await view.toSVG()}\n`;
  } finally {
    view.finalize();
  }
};

/** Readable on light and dark pages alike. */
const LOOK = {
  $schema: "https://vega.github.io/schema/vega-lite/v6.json",
  background: "white",
  config: { font: "sans-serif", axis: { labelLimit: 260 }, legend: { labelLimit: 260 }, view: { stroke: null } },
} as const;

/** Scenarios whose runs have a ratio under the same load. */
const SATURATED: ReadonlySet<string> = new Set(["slot-burst", "slot-mix", "distinct"]);

const saturatedRuns = (results: readonly BenchResult[]): { scenario: string; name: string; run: Run }[] =>
  results
    .filter(({ scenario }) => SATURATED.has(scenario))
    .flatMap(({ scenario, runs }) => runs.map((run) => ({ scenario, name: `${scenario}, ${run.load.store}`, run })));

const ratioPlot = (results: readonly BenchResult[]): Specification | undefined => {
  const values = saturatedRuns(results).flatMap(({ scenario, name, run }) => {
    const budget = BUDGETS.find((known) => known.scenario === scenario);
    const { ratioSpread: spread } = run;
    return spread === null ? [] : [{ name, ...spread, must: budget?.must, aim: budget?.aim }];
  });
  if (values.length === 0) return undefined;
  const y = { field: "name", type: "nominal", sort: null, title: null } as const;
  const tick = (field: string, color: string) => ({
    mark: { type: "tick", thickness: 3, size: 26, color },
    encoding: { x: { field, type: "quantitative" }, y },
  });
  return {
    name: "ratio",
    title: "CPU of gateway and enclaves per signature ÷ that of one bare signature",
    subtitle: "bar: median of the windows, line: least to greatest; red: must, green: aim",
    spec: {
      width: 560,
      height: { step: 34 },
      data: { values },
      layer: [
        {
          mark: { type: "bar", height: 18, color: "#7a9cc6" },
          encoding: { x: { field: "median", type: "quantitative", title: "ratio" }, y },
        },
        { mark: { type: "rule" }, encoding: { x: { field: "min", type: "quantitative" }, x2: { field: "max" }, y } },
        tick("must", "#c0392b"),
        tick("aim", "#27ae60"),
      ],
    } as Specification["spec"],
  };
};

const cpuPlot = (results: readonly BenchResult[]): Specification | undefined => {
  const values = saturatedRuns(results).flatMap(({ name, run }) => partRows(name, run));
  if (values.length === 0) return undefined;
  return {
    name: "cpu",
    title: "CPU per signature by part",
    subtitle: "black: one bare signature of the same run",
    spec: {
      width: 560,
      height: { step: 34 },
      data: { values },
      layer: [
        {
          mark: { type: "bar", height: 18 },
          encoding: {
            x: { field: "micros", type: "quantitative", aggregate: "sum", title: "µs a signature" },
            y: { field: "name", type: "nominal", sort: null, title: null },
            color: { field: "part", type: "nominal", sort: null, title: null, scale: { scheme: "tableau10" } },
            order: { field: "order", type: "quantitative" },
          },
        },
        {
          mark: { type: "tick", thickness: 3, size: 26, color: "black" },
          encoding: {
            x: { field: "bare", type: "quantitative", aggregate: "max" },
            y: { field: "name", type: "nominal", sort: null },
          },
        },
      ],
    } as Specification["spec"],
  };
};

const partRows = (name: string, { threadMicrosPerSignature: threads, cpuMicrosPerSignature: cpu, bareMicros }: Run) => {
  if (threads === null || cpu === null) return [];
  const { gateway, enclaves } = threads;
  const parts: [string, number][] = [
    [THREAD_NAMES.enclaves.workers, enclaves.workers],
    [THREAD_NAMES.enclaves.main, enclaves.main],
    [THREAD_NAMES.gateway.main, gateway.main + gateway.workers],
    ["V8 and libuv of both", gateway.helpers + enclaves.helpers],
    ["pool-manager with SQLite", cpu.poolManager],
    ["Redis", cpu.redis],
  ];
  return parts.map(([part, micros], order) => ({ name, part, micros, order, bare: bareMicros }));
};

const latencyPlot = (results: readonly BenchResult[]): Specification | undefined => {
  const values = results.flatMap(({ runs }) =>
    runs.flatMap(({ label, levels = [] }) =>
      levels.flatMap(({ share, latencyMs }) =>
        (["p50", "p90", "p99"] as const).map((quantile) => ({
          store: label,
          share: 100 * share,
          quantile,
          ms: latencyMs[quantile],
        })),
      ),
    ),
  );
  if (values.length === 0) return undefined;
  return {
    name: "latency",
    title: "Latency by load, open loop",
    subtitle: "counted from the scheduled arrival",
    spec: {
      width: 300,
      height: 260,
      data: { values },
      mark: { type: "line", point: true },
      encoding: {
        x: { field: "share", type: "quantitative", title: "% of the measured capacity", scale: { domain: [0, 100] } },
        y: { field: "ms", type: "quantitative", title: "ms (logarithmic)", scale: { type: "log" } },
        color: { field: "quantile", type: "nominal", sort: null, title: null },
        column: { field: "store", type: "nominal", sort: null, title: null },
      },
    } as Specification["spec"],
  };
};

const memoryPlot = (results: readonly BenchResult[]): Specification | undefined => {
  const values = results.flatMap(({ runs }) =>
    runs.flatMap(({ label, memory = [] }) =>
      memory.flatMap(({ seconds, gateway, enclaves, poolManager }) =>
        Object.entries({ gateway, enclaves, "pool-manager": poolManager }).map(([part, mebibytes]) => ({
          store: label,
          minutes: seconds / 60,
          part,
          mebibytes,
        })),
      ),
    ),
  );
  if (values.length === 0) return undefined;
  return {
    name: "memory",
    title: "Resident memory under saturated load",
    subtitle: "all processes of a part together",
    spec: {
      width: 300,
      height: 260,
      data: { values },
      mark: { type: "line" },
      encoding: {
        x: { field: "minutes", type: "quantitative", title: "minutes" },
        y: { field: "mebibytes", type: "quantitative", title: "MiB" },
        color: { field: "part", type: "nominal", sort: null, title: null },
        column: { field: "store", type: "nominal", sort: null, title: null },
      },
    } as Specification["spec"],
  };
};
