import { describe, expect, it } from "vitest";
import { parseOptions, UsageError } from "../../../bench/options.ts";
import { SCENARIOS } from "../../../bench/scenarios.ts";

const run = (...args: string[]) => {
  const parsed = parseOptions(args);
  if (parsed.kind !== "run") throw new Error("expected a run");
  return parsed;
};

describe("the bench's command line", () => {
  it("lists the scenarios when none is named", () => {
    const parsed = parseOptions([]);
    for (const name of Object.keys(SCENARIOS)) expect(parsed.kind === "help" && parsed.text).toContain(`  ${name} `);
  });

  it("explains a scenario", () => {
    const parsed = parseOptions(["soak", "--help"]);
    expect(parsed.kind === "help" && parsed.text).toContain(SCENARIOS.soak.description);
  });

  it("has defaults for everything, those of the scenario before the common ones", () => {
    expect(run("slot-burst").options).toMatchObject({ stores: ["sqlite", "redis"], connections: 64, enclaves: 1 });
    expect(run("scale").options.enclaves).toBe(4);
    expect(run("scale", "--enclaves", "2").options.enclaves).toBe(2);
    expect(run("startup").options.stores).toEqual(["sqlite"]);
  });

  it("takes what it is told", () => {
    const { options, jsonPath } = run(
      ...["distinct", "--store", "redis,sqlite", "--keys", "500", "--connections", "8", "--seconds", "3"],
      ...["--threads", "2", "--seed", "9", "--json", "out.json", "--up=--no-native", "--up=--log-level=warn"],
    );
    expect(options).toMatchObject({ stores: ["redis", "sqlite"], keys: 500, connections: 8, seconds: 3, threads: 2 });
    expect(options.upArgs).toEqual(["--no-native", "--log-level=warn"]);
    expect(jsonPath).toBe("out.json");
  });

  it.each([
    ["an unknown scenario", ["nope"], /expected one scenario/],
    ["two scenarios", ["soak", "scale"], /expected one scenario/],
    ["an unknown option", ["soak", "--fast"], /--fast/],
    ["an unknown store", ["soak", "--store", "etcd"], /--store: expected sqlite/],
    ["a number that is none", ["soak", "--seconds", "many"], /--seconds: expected a whole number/],
    ["no seconds", ["soak", "--seconds", "0"], /--seconds/],
    ["too many enclaves", ["scale", "--enclaves", "5"], /--enclaves: expected a whole number 1..4/],
    ["an unknown generator", ["soak", "--generator", "wrk"], /--generator/],
    ["fewer keys than its connections need", ["soak", "--keys", "100"], /twice the connections/],
  ])("refuses %s", (_what, args, message) => {
    expect(() => parseOptions(args)).toThrow(UsageError);
    expect(() => parseOptions(args)).toThrow(message);
  });
});
