/** What the load generator asks for: the signer takes every body, computes the very root, and nothing is slashable. */

import { beforeAll, describe, expect, it } from "vitest";
import { loadNetwork } from "#protocol/signing/load-network.ts";
import type { Network } from "#protocol/signing/network.ts";
import { parseSignRequest } from "#protocol/signing/request.ts";
import * as messages from "../../../bench/load/messages.ts";
import { MAINNET_VALIDATORS, mixOf, wholeCounts } from "../../../bench/load/mix.ts";
import { type Ask, createWorkload, WORKLOADS, type WorkloadName } from "../../../bench/load/workload.ts";

const KEYS = 50;
const ROUNDS = 40;
const SLOT = 6_400_007;

let network: Network;
beforeAll(() => {
  network = loadNetwork({ network: "mainnet", preset: undefined, readFile: () => "" });
});

const parse = ({ body }: messages.Message) => parseSignRequest(Buffer.from(body), network);
const hexOf = (bytes: Uint8Array): string => `0x${Buffer.from(bytes).toString("hex")}`;

/** All requests of the next round. */
const roundOf = (workload: ReturnType<typeof createWorkload>): Ask[] => {
  const asks = [workload.next()];
  while (!workload.isBetweenRounds) asks.push(workload.next());
  return asks;
};

const rounds = (name: WorkloadName, keys = KEYS): Ask[][] => {
  const workload = createWorkload(name, { keys });
  return Array.from({ length: ROUNDS }, () => roundOf(workload));
};

describe("messages", () => {
  const ROWS: [type: string, make: () => messages.Message][] = [
    ["ATTESTATION", () => messages.attestation(SLOT)],
    ["ATTESTATION", () => messages.attestationsOf(SLOT)(messages.rootOf(1, 2))],
    ["AGGREGATION_SLOT", () => messages.aggregationSlot(SLOT)],
    ["RANDAO_REVEAL", () => messages.randaoReveal(SLOT)],
    ["BLOCK_V2", () => messages.block(SLOT, 7)],
    ["AGGREGATE_AND_PROOF_V2", () => messages.aggregateAndProof(SLOT, 12_345)],
    ["SYNC_COMMITTEE_MESSAGE", () => messages.syncCommitteeMessage(SLOT)],
    ["SYNC_COMMITTEE_SELECTION_PROOF", () => messages.syncCommitteeSelectionProof(SLOT, 3)],
    ["SYNC_COMMITTEE_CONTRIBUTION_AND_PROOF", () => messages.contributionAndProof(SLOT, 99)],
  ];
  it.each(ROWS)("%s is taken by the signer, which computes the same root", (type, make) => {
    const message = make();
    const request = parse(message);
    expect(request.type).toBe(type);
    expect(hexOf(request.signingRoot)).toBe(message.root);
    expect(message.tail).toBe(`${Buffer.byteLength(message.body)}\r\n\r\n${message.body}`);
  });
});

describe.each(WORKLOADS)("%s", (name) => {
  it("never asks a key for what is slashable or for an epoch twice", () => {
    const targets = new Map<number, number>();
    for (const { key, message } of rounds(name).flat()) {
      const { duty } = parse(message);
      if (duty.kind !== "attestation") continue;
      expect(duty.sourceEpoch).toBe(duty.targetEpoch - 1);
      expect(duty.targetEpoch).toBeGreaterThan(targets.get(key) ?? 0);
      targets.set(key, duty.targetEpoch);
    }
    expect(targets.size).toBe(name === "unprotected" ? 0 : KEYS);
  });
});

describe("rounds", () => {
  it("of a burst have every key once and one root, another in each round", () => {
    const all = rounds("slot-burst");
    for (const round of all) {
      expect(round.map(({ key }) => key)).toEqual(Array.from({ length: KEYS }, (_, key) => key));
      expect(new Set(round.map(({ message }) => message.root)).size).toBe(1);
    }
    expect(new Set(all.flat().map(({ message }) => message.root)).size).toBe(ROUNDS);
  });

  it("of distinct requests have no two alike", () => {
    const all = rounds("distinct").flat();
    expect(new Set(all.map(({ message }) => message.root)).size).toBe(KEYS * ROUNDS);
    expect(new Set(all.map(({ message }) => message.body)).size).toBe(KEYS * ROUNDS);
  });
});

describe("the mix of a slot", () => {
  it("follows from the specs: the whole chain's duties when the fleet is the chain", () => {
    const mix = mixOf({ attesters: MAINNET_VALIDATORS / 32 });
    expect(mix).toEqual({
      blocks: 1,
      selectionProofs: 31_250,
      attestations: 31_250,
      aggregates: 1_024,
      syncMessages: 512,
      contributions: 64,
    });
  });

  it("is as the documentation says for 2,000 attesters", () => {
    const mix = mixOf({ attesters: 2_000 });
    expect(mix.aggregates).toBeCloseTo(65.5, 1);
    expect(mix.syncMessages).toBeCloseTo(32.8, 1);
    expect(mix.contributions).toBeCloseTo(4.1, 1);
    expect(mix.blocks).toBeCloseTo(0.064, 3);
  });

  it("carries fractions over, so that many slots have the average; the first has a block", () => {
    const mix = mixOf({ attesters: 2_000 });
    const slots = 1_000;
    const counts = Array.from({ length: slots }, (_, number) => wholeCounts(mix, number));
    expect(counts[0]?.blocks).toBe(1);
    for (const name of Object.keys(mix) as (keyof typeof mix)[]) {
      const sum = counts.reduce((total, count) => total + count[name], 0);
      expect(Math.abs(sum - mix[name] * slots), name).toBeLessThanOrEqual(1);
    }
  });

  it("is what the generator sends", () => {
    const sent = rounds("slot-mix", 2_000).flat();
    const types = Map.groupBy(sent, ({ message }) => /"type":"([A-Z0-9_]+)"/.exec(message.body)?.[1]);
    const mix = mixOf({ attesters: 2_000 });
    const expected = {
      BLOCK_V2: mix.blocks,
      RANDAO_REVEAL: mix.blocks,
      AGGREGATION_SLOT: mix.selectionProofs,
      ATTESTATION: mix.attestations,
      AGGREGATE_AND_PROOF_V2: mix.aggregates,
      SYNC_COMMITTEE_MESSAGE: mix.syncMessages,
      SYNC_COMMITTEE_SELECTION_PROOF: mix.syncMessages,
      SYNC_COMMITTEE_CONTRIBUTION_AND_PROOF: mix.contributions,
    };
    expect([...types.keys()].sort()).toEqual(Object.keys(expected).sort());
    for (const [type, average] of Object.entries(expected)) {
      expect(Math.abs((types.get(type)?.length ?? 0) - average * ROUNDS), type).toBeLessThanOrEqual(1);
    }
  });
});
