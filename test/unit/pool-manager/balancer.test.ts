import { createHash } from "node:crypto";
import { describe, expect, it } from "vitest";
import {
  type MemberLoad,
  orderCandidates,
  rendezvousScore,
  SPILL_FACTOR,
  SPILL_SLACK,
  STALL_MS,
} from "#pool-manager/balancer.ts";

const KEYS = 10_000;

/** 48 bytes that are uniformly distributed and the same in every run. */
const pubkeyOf = (index: number): Uint8Array => createHash("sha384").update(`key ${index}`).digest();
const pubkeys = Array.from({ length: KEYS }, (_, index) => pubkeyOf(index));

const idle = (...cids: number[]): MemberLoad[] =>
  cids.map((cid) => ({ cid, inFlight: 0, silentMs: 0, reachesStore: true }));
const orderOf = (pubkey: Uint8Array, members: readonly MemberLoad[], slashable = true): number[] =>
  orderCandidates({ pubkey, slashable }, members).map((member) => member.cid);
const homeOf = (pubkey: Uint8Array, members: readonly MemberLoad[]): number => orderOf(pubkey, members)[0] as number;

const countHomes = (keys: readonly Uint8Array[], members: readonly MemberLoad[]): Map<number, number> => {
  const counts = new Map(members.map((member) => [member.cid, 0]));
  for (const key of keys) counts.set(homeOf(key, members), (counts.get(homeOf(key, members)) ?? 0) + 1);
  return counts;
};

describe("homes", () => {
  it.each([
    ["two", [16, 17]],
    ["three", [16, 17, 18]],
    ["four", [16, 17, 18, 19]],
    ["distant CIDs of", [16, 1_000, 4_294_967_294]],
  ])("spread evenly over %s members", (_, cids) => {
    for (const count of countHomes(pubkeys, idle(...cids)).values()) {
      expect(Math.abs(count / (KEYS / cids.length) - 1)).toBeLessThan(0.05);
    }
  });

  it("spread evenly for the second choice too", () => {
    const members = idle(16, 17, 18);
    const orphans = pubkeys.filter((pubkey) => homeOf(pubkey, members) === 17);
    const heirs = orphans.filter((pubkey) => orderOf(pubkey, members)[1] === 16).length;
    expect(Math.abs(heirs / orphans.length - 0.5)).toBeLessThan(0.03);
  });

  it("stay when a member leaves, except for its own keys", () => {
    for (const pubkey of pubkeys) {
      const before = orderOf(pubkey, idle(16, 17, 18));
      expect(orderOf(pubkey, idle(16, 18))).toEqual(before.filter((cid) => cid !== 17));
    }
  });

  it("move only to a member that joins, and only its share", () => {
    const moved = pubkeys.filter((pubkey) => homeOf(pubkey, idle(16, 17, 18)) !== homeOf(pubkey, idle(16, 17, 18, 19)));
    expect(moved.every((pubkey) => homeOf(pubkey, idle(16, 17, 18, 19)) === 19)).toBe(true);
    expect(Math.abs(moved.length / (KEYS / 4) - 1)).toBeLessThan(0.05);
  });

  it("do not depend on the order of the list", () => {
    for (const pubkey of pubkeys.slice(0, 100)) {
      expect(orderOf(pubkey, idle(18, 16, 17))).toEqual(orderOf(pubkey, idle(16, 17, 18)));
    }
  });

  it("come from scores of 32 bits", () => {
    for (const pubkey of pubkeys.slice(0, 100)) {
      const score = rendezvousScore(pubkey, 16);
      expect(Number.isInteger(score) && score >= 0 && score < 2 ** 32).toBe(true);
    }
  });
});

describe("bounded load", () => {
  const pubkey = pubkeys[0] as Uint8Array;
  const [home, second, third] = orderOf(pubkey, idle(16, 17, 18)) as [number, number, number];
  /** Loads of home, second and third. */
  const loads = (...inFlight: number[]): MemberLoad[] =>
    [home, second, third].map((cid, index) => ({
      cid,
      inFlight: inFlight[index] ?? 0,
      silentMs: 1,
      reachesStore: true,
    }));

  it.each([
    ["an idle pool", [0, 0, 0], false],
    ["a few requests more at home", [SPILL_SLACK, 0, 0], false],
    ["a home at its bound", [112, 80, 60], false], // 1.25 × 253 / 3 + 8 = 113.4
    ["a home above its bound", [120, 70, 60], true], // 1.25 × 251 / 3 + 8 = 112.6
    ["everyone equally busy", [5_000, 5_000, 5_000], false],
  ])("with %s a request that is not slashable leaves home: %#", (_, inFlight, spills) => {
    expect(orderOf(pubkey, loads(...inFlight), false)[0]).toBe(spills ? second : home);
  });

  it("spills in the key's own order and past a busy second", () => {
    expect(orderOf(pubkey, loads(500, 10, 0), false)).toEqual([second, third, home]);
    expect(orderOf(pubkey, loads(500, 500, 0), false)).toEqual([third, home, second]);
  });

  it("never gives a member more than its bound while another has room", () => {
    const counts = new Map([16, 17, 18].map((cid) => [cid, 0]));
    const hot = pubkeys.filter((each) => homeOf(each, idle(16, 17, 18)) === 16); // all keys at one home
    for (const each of hot) {
      const members = [...counts].map(([cid, inFlight]) => ({ cid, inFlight, silentMs: 0, reachesStore: true }));
      const chosen = orderOf(each, members, false)[0] as number;
      counts.set(chosen, (counts.get(chosen) ?? 0) + 1);
    }
    const bound = (SPILL_FACTOR * hot.length) / 3 + SPILL_SLACK + 1;
    for (const count of counts.values()) expect(count).toBeLessThanOrEqual(bound);
  });

  it("keeps a slashable request at home however long the queue", () => {
    expect(orderOf(pubkey, loads(8_000, 0, 0), true)).toEqual([home, second, third]);
  });

  it.each([
    [STALL_MS, true, false],
    [STALL_MS + 1, true, true],
    [STALL_MS, false, false],
    [STALL_MS + 1, false, true],
  ])("with a home that is silent for %i ms (slashable: %s) leaves home: %s", (silentMs, slashable, spills) => {
    const members = loads(3, 0, 0).map((member) => (member.cid === home ? { ...member, silentMs } : member));
    expect(orderOf(pubkey, members, slashable)[0]).toBe(spills ? second : home);
  });

  it("goes home when everyone stalls", () => {
    const members = loads(3, 3, 3).map((member) => ({ ...member, silentMs: STALL_MS * 2 }));
    expect(orderOf(pubkey, members, true)).toEqual([home, second, third]);
  });

  it("leads slashable work away from a home that does not reach its store, also to a busy member", () => {
    const members = loads(0, 500, 0).map((member) => ({
      ...member,
      reachesStore: member.cid !== home,
      silentMs: member.cid === second ? STALL_MS * 2 : 0,
    }));
    expect(orderOf(pubkey, members, true)).toEqual([third, second, home]);
    expect(orderOf(pubkey, members, false)).toEqual([home, third, second]);
  });

  it("keeps slashable work at home when nobody reaches the store", () => {
    const members = loads(0, 0, 0).map((member) => ({ ...member, reachesStore: false }));
    expect(orderOf(pubkey, members, true)).toEqual([home, second, third]);
  });

  it("orders nobody to nobody", () => {
    expect(orderCandidates({ pubkey, slashable: true }, [])).toEqual([]);
  });
});
