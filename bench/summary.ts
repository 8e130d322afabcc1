/** A result in words and numbers, for the terminal. */

import type { BenchResult, Latencies, Run } from "./result.ts";

/** Several lines. */
export const describeResult = (result: BenchResult): string => {
  const { machine, node, commit, isDirty } = result;
  const head = [
    `${result.scenario}`,
    `  ${machine.cpu}, ${machine.cores} cores, ${machine.memoryGiB} GiB, ${machine.kernel}; Node ${node}`,
    `  commit ${commit.slice(0, 12)}${isDirty ? " with changes" : ""}`,
  ];
  return [...head, ...result.runs.flatMap(describeRun)].join("\n");
};

const describeRun = (run: Run): string[] => {
  const { load, cpuMicrosPerSignature: cpu, threadMicrosPerSignature: threads } = run;
  const rows: (readonly [string, string])[] = [
    ["load", describeLoad(run)],
    ["engine", `${run.engine}${run.profiled ? ", profiled: not for comparison" : ""}`],
  ];
  if (run.refused !== undefined) rows.push(["refused", run.refused]);
  if (run.readyMs !== null) rows.push(["ready after", `${(run.readyMs / 1_000).toFixed(2)} s`]);
  if (run.restartMs !== undefined) rows.push(["  sealed keys", `${(run.restartMs / 1_000).toFixed(2)} s`]);
  if (run.signaturesPerSecond !== null) rows.push(["signatures/s", run.signaturesPerSecond.toFixed(0)]);
  if (run.latencyMs !== null) rows.push(["latency ms", describeLatencies(run.latencyMs)]);
  if (cpu !== null && threads !== null && run.bareMicros !== null && run.ratioSpread !== null) {
    const kinds = ({ main, workers, helpers }: { main: number; workers: number; helpers: number }): string =>
      `main ${micros(main)}, workers ${micros(workers)}, V8 and libuv ${micros(helpers)}`;
    rows.push(
      ["CPU µs/signature", `server ${micros(cpu.server)}`],
      ["  gateway", `${micros(cpu.gateway)} (${kinds(threads.gateway)})`],
      ["  enclaves", `${micros(cpu.enclaves)} (${kinds(threads.enclaves)})`],
      ["  pool-manager", `${micros(cpu.poolManager)} (${kinds(threads.poolManager)})`],
      ["  redis", micros(cpu.redis)],
      ["  generator", micros(cpu.generator)],
      ["bare µs", micros(run.bareMicros)],
      ["ratio", `${ratio(run.ratioSpread.median)} (${ratio(run.ratioSpread.min)}–${ratio(run.ratioSpread.max)})`],
      ["ratio with store", ratio(run.ratioWithStore ?? Number.NaN)],
    );
  }
  for (const level of run.levels ?? []) {
    const { share, ratePerSecond, latencyMs, commitMs, latenessMs, bareSigns } = level;
    rows.push(
      [
        `at ${Math.round(100 * share)} %`,
        `${ratePerSecond.toFixed(0)}/s, ratio ${ratio(level.ratio)}, ${level.errors} errors`,
      ],
      ["  latency ms", describeLatencies(latencyMs)],
      ["  commit ms", describeLatencies(commitMs)],
      ["  noticed late ms", describeLatencies(latenessMs)],
      ["  in bare signs", `p50 ${bareSigns.p50.toFixed(1)}, p99 ${bareSigns.p99.toFixed(1)} (less the commit's)`],
    );
  }
  if (run.memory !== undefined) rows.push(...describeMemory(run.memory));
  if (run.memoryGrowth !== undefined) rows.push(["memory growth", `${(100 * run.memoryGrowth).toFixed(1)} %`]);
  if (load.signatures > 0)
    rows.push(["verified", `${load.verified} of ${load.signatures} signatures, ${load.errors} errors`]);
  if (load.firstError !== undefined) rows.push(["first error", load.firstError]);
  const width = Math.max(...rows.map(([name]) => name.length));
  return ["", `  ${run.label}`, ...rows.map(([name, text]) => `    ${name.padEnd(width)}  ${text}`)];
};

const describeLoad = ({ load }: Run): string =>
  `${load.workload}, ${load.keys.toLocaleString("en")} keys, ${load.connections} connections, ` +
  `${load.enclaves} enclaves × ${load.threads} threads, ${load.store} (${load.durability}), ` +
  `${load.windows} windows, ${load.seconds.toFixed(1)} s`;

const describeMemory = (points: NonNullable<Run["memory"]>): [string, string][] => {
  const step = Math.max(1, Math.floor(points.length / 10));
  return points
    .filter((_, index) => index % step === 0 || index === points.length - 1)
    .map(({ seconds, gateway, enclaves, poolManager }) => [
      `MiB at ${seconds.toFixed(0)} s`,
      `gateway ${gateway.toFixed(0)}, enclaves ${enclaves.toFixed(0)}, pool-manager ${poolManager.toFixed(0)}`,
    ]);
};

const describeLatencies = ({ p50, p90, p99, max }: Latencies): string =>
  `p50 ${p50.toFixed(2)}, p90 ${p90.toFixed(2)}, p99 ${p99.toFixed(2)}, max ${max.toFixed(2)}`;

const micros = (value: number): string => value.toFixed(1);
const ratio = (value: number): string => value.toFixed(3);
