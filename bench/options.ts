/** The command line of the bench. */

import { parseArgs } from "node:util";
import type { BenchOptions } from "./scenario.ts";
import { SCENARIOS, type ScenarioName } from "./scenarios.ts";
import { STORES, type StoreName } from "./stores.ts";

/** Wrong usage; the message says what was expected. */
export class UsageError extends Error {}

/** What the command line asks for. */
export type Parsed =
  | { readonly kind: "help"; readonly text: string }
  | {
      readonly kind: "run";
      readonly scenario: ScenarioName;
      readonly options: BenchOptions;
      readonly jsonPath: string | undefined;
    };

const NAMES = Object.keys(SCENARIOS) as ScenarioName[];
const NAME_WIDTH = Math.max(...NAMES.map((name) => name.length));

const LIST = NAMES.map((name) => `  ${name.padEnd(NAME_WIDTH)}  ${SCENARIOS[name].summary}`).join("\n");

const HELP = `Measures a real Testudo: CPU per signature against one bare @chainsafe/blst signature of the same minutes.

  npm run bench -- <scenario> [options]

Scenarios:
${LIST}

  --store <names>       ${STORES.join(", ")}; several with commas (default: sqlite,redis, one after the other)
  --keys <n>            keys, at least twice the connections (default: the scenario's)
  --connections <n>     connections, each with one request in flight (default 64)
  --seconds <n>         seconds of load for each measurement; warm-up and bare signing come on top (default 16)
  --enclaves <n>        1..4 (default 1)
  --threads <n>         signing threads of each enclave (default: cores shared out)
  --minutes <n>         length of the soak (default 10)
  --seed <n>            decides keys and arrival times (default 1)
  --json <file>         writes all numbers
  --generator <name>    raw, or autocannon as a cross-check in slot-burst (default raw)
  --cpu-profile <dir>   writes CPU profiles of gateway and first enclave; the numbers are then not for comparison
  --up <argument>       a further argument of testudo up, repeatable (--up=--no-native)

  npm run bench -- slot-burst --json out.json
  npm run bench -- distinct --store sqlite --seconds 30
  npm run bench -- slot-burst --store sqlite --cpu-profile profiles

\`<scenario> --help\` explains one. docs/performance.md explains the numbers. Redis needs redis-server in PATH.
`;

/** Reads it. @throws UsageError */
export const parseOptions = (args: readonly string[]): Parsed => {
  const { values, positionals } = parse(args);
  const [name, ...rest] = positionals;
  if (name === undefined) return { kind: "help", text: HELP };
  const scenario = NAMES.find((known) => known === name);
  if (scenario === undefined || rest.length > 0) {
    throw new UsageError(`expected one scenario, got "${positionals.join(" ")}":\n${LIST}`);
  }
  if (values.help) {
    const { summary, description } = SCENARIOS[scenario];
    return { kind: "help", text: `${scenario}: ${summary}\n\n${description}\n\n${HELP}` };
  }
  const options = { ...DEFAULTS, ...SCENARIOS[scenario].defaults, ...given(values) };
  const { keys, connections } = options;
  if (keys !== undefined && keys < 2 * connections && scenario !== "startup") {
    throw new UsageError(
      `--keys: expected at least twice the connections (${2 * connections}), or a key's next duty could overtake its last; got ${keys}`,
    );
  }
  return { kind: "run", scenario, options, jsonPath: values.json };
};

/** Of all scenarios that have no others. */
const DEFAULTS: BenchOptions = {
  stores: ["sqlite", "redis"],
  keys: undefined,
  connections: 64,
  seconds: 16,
  enclaves: 1,
  threads: undefined,
  minutes: 10,
  seed: 1,
  generator: "raw",
  cpuProfile: undefined,
  upArgs: [],
};

/** Only what the command line says. */
const given = (values: ReturnType<typeof parse>["values"]): Partial<BenchOptions> => ({
  ...(values.store !== undefined && { stores: storesOf(values.store) }),
  ...number("keys", values.keys, 1_000_000),
  ...number("connections", values.connections, 1_000),
  ...number("seconds", values.seconds, 3_600),
  ...number("enclaves", values.enclaves, 4),
  ...number("threads", values.threads, 64),
  ...number("minutes", values.minutes, 24 * 60),
  ...number("seed", values.seed, 2 ** 31),
  ...(values.generator !== undefined && { generator: generatorOf(values.generator) }),
  ...(values["cpu-profile"] !== undefined && { cpuProfile: values["cpu-profile"] }),
  ...(values.up !== undefined && { upArgs: values.up }),
});

const parse = (args: readonly string[]) => {
  try {
    return parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        store: { type: "string" },
        keys: { type: "string" },
        connections: { type: "string" },
        seconds: { type: "string" },
        enclaves: { type: "string" },
        threads: { type: "string" },
        minutes: { type: "string" },
        seed: { type: "string" },
        json: { type: "string" },
        generator: { type: "string" },
        "cpu-profile": { type: "string" },
        up: { type: "string", multiple: true },
        help: { type: "boolean", short: "h", default: false },
      },
    });
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
};

/** A whole number from 1 on. */
const number = <Name extends keyof BenchOptions>(
  name: Name,
  text: string | undefined,
  max: number,
): Partial<Record<Name, number>> => {
  if (text === undefined) return {};
  const value = /^\d{1,10}$/.test(text) ? Number(text) : 0;
  if (value < 1 || value > max) throw new UsageError(`--${name}: expected a whole number 1..${max}, got "${text}"`);
  return { [name]: value } as Partial<Record<Name, number>>;
};

const storesOf = (text: string): readonly StoreName[] =>
  text.split(",").map((part) => {
    const name = STORES.find((known) => known === part);
    if (name !== undefined) return name;
    throw new UsageError(`--store: expected ${STORES.join(", ")}, got "${part}"`);
  });

const generatorOf = (text: string): "raw" | "autocannon" => {
  if (text === "raw" || text === "autocannon") return text;
  throw new UsageError(`--generator: expected raw or autocannon, got "${text}"`);
};
