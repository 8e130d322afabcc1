/** A short run of `npm run chaos` over SQLite and Redis, and that its checker would notice what must never be. */

import { SecretKey } from "@chainsafe/blst";
import { beforeAll, describe, expect, it } from "vitest";
import { attestation, block } from "../helpers/duties.ts";
import { findViolations } from "./checker.ts";
import type { Exchange } from "./ledger.ts";
import { countInTime, longestUnavailabilityMs, lostByWorkerKill } from "./measures.ts";
import { describeRun, findShortcomings } from "./report.ts";
import { type RunResult, runChaos } from "./run.ts";

/** Of load and faults for each store. */
const SECONDS = 8;
const SEED = 7;

describe.each(["sqlite", "redis"] as const)(`${SECONDS} seconds of chaos over %s`, (name) => {
  let result: RunResult;
  beforeAll(async () => {
    result = await runChaos({
      name,
      seconds: SECONDS,
      seed: SEED,
      signal: new AbortController().signal,
      log: () => undefined,
    });
  }, 90_000);

  it("broke something, again and again, under load", () => {
    const kinds = new Set(result.injected.map(({ kind }) => kind));
    expect(kinds).toContain("kill -9 of a worker");
    expect(kinds.size, [...kinds].join(", ")).toBeGreaterThanOrEqual(4);
    for (const client of ["honest", "contested", "twin", "rival"] as const) {
      expect(result.exchanges.filter((exchange) => exchange.client === client).length, client).toBeGreaterThan(50);
    }
    expect(result.exchanges.some(({ status }) => status === 412)).toBe(true);
    expect(result.exchanges.some(({ status }) => status !== 200 && status !== 412)).toBe(true);
  });

  it("led to no violation, lost nothing by a worker alone, and honest duties were signed in time", () => {
    expect(result.violations).toEqual([]);
    expect(result.exchanges.filter(({ status }) => status === 200).length).toBeGreaterThan(200);
    expect(findShortcomings(result), describeRun(result)).toEqual([]);
  });
});

describe("the checker", () => {
  const secret = SecretKey.fromKeygen(Buffer.alloc(32, 7));
  const pubkey = secret.toPublicKey().toHex();
  let clockMs = 0;

  /** A signature that was answered after all before it. */
  const signed = (message: Exchange["message"], { by = secret }: { by?: SecretKey } = {}): Exchange => {
    const root = Buffer.from(message.root.slice(2), "hex");
    clockMs += 10;
    const times = { startMs: clockMs, endMs: clockMs + 5 };
    return { client: "honest", pubkey, message, status: 200, body: by.sign(root).toHex(), ...times };
  };
  const vote = (source: number, target: number, head?: number): Exchange["message"] => {
    const { root } = attestation({ source, target }, head === undefined ? {} : { head });
    return { kind: "attestation", source, target, root };
  };
  const proposal = (slot: number, body?: number): Exchange["message"] => {
    const { root } = block(slot, body === undefined ? {} : { body });
    return { kind: "block", slot, root };
  };
  const kindsIn = (exchanges: readonly Exchange[]): string[] => {
    const kinds = findViolations(exchanges, { verifyMax: 100 }).map(({ kind }) => kind);
    return [...new Set(kinds)].sort();
  };

  it("accepts what an honest validator gets, repeats and refusals among it", () => {
    const first = signed(vote(1, 2));
    const refusal = { ...signed(vote(1, 2, 0xbb)), status: 412, body: "{}" };
    const honest = [first, signed(proposal(64)), signed(vote(1, 2)), refusal, signed(vote(2, 3)), signed(proposal(65))];
    expect(kindsIn(honest)).toEqual([]);
    // An enclave that saw it recorded repeats what it signed, after another one has signed the next.
    expect(kindsIn([...honest, signed(vote(1, 2))])).toEqual([]);
    const unanswered = { ...signed(vote(3, 4)), status: 503, body: "{}" };
    expect(kindsIn([...honest, unanswered, signed(vote(4, 5)), signed(vote(3, 4))])).toEqual([]);
  });

  const ROWS: [what: string, exchanges: () => Exchange[], kinds: string[]][] = [
    ["a double vote", () => [signed(vote(1, 2)), signed(vote(1, 2, 0xbb))], ["slashable"]],
    ["a surrounding vote", () => [signed(vote(2, 3)), signed(vote(1, 4))], ["backwards", "slashable"]],
    ["a surrounded vote", () => [signed(vote(1, 4)), signed(vote(2, 3))], ["backwards", "slashable"]],
    ["two blocks of a slot", () => [signed(proposal(9)), signed(proposal(9, 0xcc))], ["slashable"]],
    ["a vote below an earlier one", () => [signed(vote(4, 5)), signed(vote(3, 4))], ["backwards"]],
    ["a block below an earlier one", () => [signed(proposal(9)), signed(proposal(8))], ["backwards"]],
    [
      "another key's signature",
      () => [signed(vote(1, 2), { by: SecretKey.fromKeygen(Buffer.alloc(32, 8)) })],
      ["wrong signature"],
    ],
    ["no signature at all", () => [{ ...signed(vote(1, 2)), body: "0x00" }], ["wrong signature"]],
  ];
  it.each(ROWS)("notices %s", (_what, exchanges, kinds) => {
    expect(kindsIn(exchanges())).toEqual(kinds);
  });

  it("measures from the moment when signing became possible", () => {
    const duty = (startMs: number, endMs: number) => ({ pubkey, startMs, endMs, outcome: "signed" as const });
    const periods = [
      { startMs: 0, endMs: 1_000 },
      { startMs: 5_000, endMs: 20_000 },
    ];
    // Asked before the outage, in it, and after it; the last two needed more than two seconds.
    const duties = [duty(500, 6_500), duty(2_000, 6_900), duty(6_000, 7_000), duty(900, 7_100), duty(8_000, 10_500)];
    const evidence = { exchanges: [], duties, periods, injected: [] };
    expect(countInTime(evidence)).toEqual({ inTime: 3, late: 2, unjudged: 0 });
    const failure = { ...signed(vote(1, 2)), status: 503, body: "{}", startMs: 900, endMs: 901 };
    const answers = [200, 700, 6_000, 19_000].map((ms) => ({ ...signed(vote(1, 2)), startMs: ms - 1, endMs: ms }));
    expect(longestUnavailabilityMs({ ...evidence, exchanges: answers })).toBe(13_000);
    expect(lostByWorkerKill({ ...evidence, exchanges: [...answers, failure] })).toEqual([failure]);
    const injected = [
      { kind: "kill -9 of the gateway", scope: "service" as const, detail: "", startMs: 800, endMs: 900 },
    ];
    expect(lostByWorkerKill({ ...evidence, exchanges: [...answers, failure], injected })).toEqual([]);
    // The outage from 1 s on belongs to that fault, with five seconds after it; what fails later has no excuse.
    const failedAt = (ms: number) => ({ ...failure, startMs: ms, endMs: ms + 1 });
    const lost = [4_000, 9_000, 10_001].map(failedAt);
    expect(lostByWorkerKill({ ...evidence, exchanges: lost, injected })).toEqual([failedAt(10_001)]);
    const calm = { ...evidence, periods: [{ startMs: 0, endMs: 20_000 }], injected };
    expect(lostByWorkerKill({ ...calm, exchanges: lost })).toEqual([failedAt(9_000), failedAt(10_001)]);
  });
});
