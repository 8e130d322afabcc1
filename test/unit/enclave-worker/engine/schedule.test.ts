/** What is signed next, and how much at one go. */

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createCosts, type RootWarmth } from "#enclave/engine/costs.ts";
import { BATCH_MICROS, BATCH_SIZE_MAX, type Batch, createSchedule, type Job } from "#enclave/engine/schedule.ts";
import { toByteString } from "#protocol/bytes.ts";
import { DUTY_CLASSES, type DutyClass } from "#protocol/signing/types.ts";

const root = (number: number): Uint8Array => {
  const bytes = new Uint8Array(32);
  new DataView(bytes.buffer).setUint32(28, number);
  return bytes;
};
const TABLED: RootWarmth = { hashed: true, tabled: true };

const setUp = ({ native = true, warm = new Map<string, RootWarmth>(), nowMs = 0 } = {}) => {
  const expired: Job[] = [];
  const clock = { nowMs };
  const costs = createCosts({ native });
  const schedule = createSchedule({
    costs,
    warmthOf: (name) => warm.get(name),
    now: () => clock.nowMs,
    onExpired: (job) => expired.push(job),
  });
  let slot = 0;
  const add = (rootNumber: number, options: { dutyClass?: DutyClass; deadlineMs?: number } = {}): number => {
    const { dutyClass = "attestation", deadlineMs = Infinity } = options;
    const nothing = () => undefined;
    schedule.add({ slot, root: root(rootNumber), dutyClass, deadlineMs, resolve: nothing, reject: nothing });
    slot += 1;
    return slot - 1;
  };
  return { schedule, add, expired, clock, costs };
};
const slotsOf = (batch: Batch | undefined): number[] | undefined =>
  batch?.groups.flatMap(({ jobs }) => jobs.map((job) => job.slot));

describe("the schedule", () => {
  it("has nothing to take at first", () => {
    expect(setUp().schedule.take(10)).toBeUndefined();
  });

  it("hands out a lone job at once", () => {
    const { schedule, add } = setUp();
    const slot = add(1);
    expect(slotsOf(schedule.take(1))).toEqual([slot]);
    expect(schedule.take(1)).toBeUndefined();
  });

  it("brings jobs of one root together, in the order they came", () => {
    const { schedule, add } = setUp();
    const [first, other, second] = [add(1), add(2), add(1)];
    const batch = schedule.take(10);
    expect(batch?.groups.map(({ jobs }) => jobs.map((job) => job.slot))).toEqual([[first, second], [other]]);
    expect(batch?.size).toBe(3);
  });

  it("takes the most urgent duty class first, whenever it came", () => {
    const { schedule, add } = setUp();
    const slots = new Map(
      [...DUTY_CLASSES].reverse().map((dutyClass, index) => [dutyClass, add(index, { dutyClass, deadlineMs: 10 })]),
    );
    const order = DUTY_CLASSES.map(() => slotsOf(schedule.take(1))?.[0]);
    expect(order).toEqual(DUTY_CLASSES.map((dutyClass) => slots.get(dutyClass)));
  });

  it("takes the earliest deadline of a class first, a group's being its earliest job's", () => {
    const { schedule, add } = setUp();
    const late = add(1, { deadlineMs: 30 });
    const early = add(2, { deadlineMs: 20 });
    const pulled = add(1, { deadlineMs: 10 });
    expect(slotsOf(schedule.take(2))).toEqual([late, pulled]);
    expect(slotsOf(schedule.take(2))).toEqual([early]);
  });

  it("drops what nobody waits for any more", () => {
    const { schedule, add, expired, clock } = setUp();
    add(1, { deadlineMs: 5 });
    const waiting = add(1, { deadlineMs: 6 });
    add(2, { deadlineMs: 5 });
    clock.nowMs = 5;
    expect(slotsOf(schedule.take(10))).toEqual([waiting]);
    expect(schedule.take(10)).toBeUndefined();
    expect(expired.map((job) => job.slot).sort()).toEqual([0, 2]);
    expect(schedule.size).toBe(0);
  });

  it("forgets the urgency of jobs that are gone: a root that keeps coming must not hold up its class", () => {
    const { schedule, add } = setUp();
    const first = add(1, { deadlineMs: 10 });
    const next = add(1, { deadlineMs: 40 });
    const other = add(2, { deadlineMs: 20 });
    expect([1, 2, 3].map(() => slotsOf(schedule.take(1))?.[0])).toEqual([first, other, next]);
  });

  it("drops what nobody waits for also where its turn never comes", () => {
    const { schedule, add, expired, clock } = setUp();
    const exit = add(1, { dutyClass: "exit", deadlineMs: 5 });
    const alive = add(1, { dutyClass: "exit", deadlineMs: 6 });
    for (let count = 0; count < 4; count += 1) add(2, { dutyClass: "block" });
    schedule.take(1);
    expect(expired).toEqual([]);
    clock.nowMs = 5;
    schedule.take(1);
    expect(expired.map((job) => job.slot)).toEqual([exit]);
    expect(schedule.size).toBe(3);
    schedule.take(2);
    expect(slotsOf(schedule.take(1))).toEqual([alive]);
  });

  it("drops thousands of dead roots at one go, without looking at the rest again for each", () => {
    const times = [1, 2, 3].map(() => {
      const { schedule, add, expired, clock } = setUp();
      for (let number = 0; number < 8_192; number += 1) add(number, { deadlineMs: 5 });
      clock.nowMs = 5;
      const started = performance.now();
      expect(schedule.take(8_192)).toBeUndefined();
      const ended = performance.now();
      expect(expired.length).toBe(8_192);
      return ended - started;
    });
    expect(Math.min(...times)).toBeLessThan(25); // 2 ms; 80 to 130 when each root costs a look at all
  });

  it("says how many of a root wait on", () => {
    const { schedule, add } = setUp();
    for (let count = 0; count < 10; count += 1) add(1);
    expect(schedule.take(4)?.groups[0]?.waiting).toBe(6);
  });

  it.each([
    ["cold roots", false],
    ["roots with a table", true],
  ])("bounds a batch of a storm over %s by its estimated time, so that a block waits no longer", (_, tabled) => {
    const warm = new Map(tabled ? [[toByteString(root(1)), TABLED]] : []);
    const { schedule, add } = setUp({ warm });
    for (let count = 0; count < 3_000; count += 1) add(1);
    const storm = schedule.take(3_000);
    expect(storm?.micros).toBeLessThanOrEqual(BATCH_MICROS);
    expect(storm?.size).toBeGreaterThan(20);
    const block = add(2, { dutyClass: "block" });
    expect(slotsOf(schedule.take(3_000))?.[0]).toBe(block);
  });

  it("learns how fast this machine is, within bounds", () => {
    const { schedule, add, costs } = setUp();
    for (let count = 0; count < 100; count += 1) costs.learn(1_000, 4_000);
    for (let count = 0; count < 3_000; count += 1) add(1);
    const slow = schedule.take(3_000)?.size ?? 0;
    for (let count = 0; count < 1_000; count += 1) costs.learn(1_000, 1);
    const fast = schedule.take(3_000)?.size ?? 0;
    expect(slow).toBeLessThan(10);
    expect(slow).toBeGreaterThanOrEqual(1);
    expect(fast).toBeGreaterThan(slow * 8);
    expect(fast).toBeLessThanOrEqual(BATCH_SIZE_MAX);
  });

  it.each([
    ["stood still", 1_000_000],
    ["was told no time at all by its clock", 0.001],
  ])("learns little from one batch that %s", (_, actual) => {
    const { schedule, add, costs } = setUp();
    for (let count = 0; count < 3_000; count += 1) add(1);
    const usual = schedule.take(3_000)?.size ?? 0;
    costs.learn(1_000, actual);
    const next = schedule.take(3_000)?.size ?? 0;
    expect(next).toBeGreaterThan(usual * 0.8);
    expect(next).toBeLessThan(usual * 1.25);
  });

  it("gives up the least urgent for something more urgent, and nothing for its like", () => {
    const { schedule, add } = setUp();
    const attestation = add(1);
    const exit = add(2, { dutyClass: "exit" });
    const sync = add(3, { dutyClass: "sync" });
    expect([1, 2, 3, 4].map(() => schedule.giveUpFor("attestation")?.slot)).toEqual([exit, sync, undefined, undefined]);
    expect(schedule.size).toBe(1);
    expect(schedule.giveUpFor("block")?.slot).toBe(attestation);
    expect(schedule.giveUpFor("block")).toBeUndefined();
    expect(schedule.size).toBe(0);
  });

  it("hands out every job exactly once, gives it up or drops it as expired, whatever comes in whatever order", () => {
    const jobs = fc.array(
      fc.record({
        rootNumber: fc.nat(4),
        dutyClass: fc.constantFrom(...DUTY_CLASSES),
        deadlineMs: fc.constantFrom(1, 2, 3, Infinity),
        takeAfter: fc.option(fc.integer({ min: 1, max: 40 }), { nil: undefined }),
        tick: fc.boolean(),
        giveUp: fc.boolean(),
      }),
      { maxLength: 200 },
    );
    fc.assert(
      fc.property(jobs, fc.boolean(), (steps, native) => {
        const { schedule, add, expired, clock } = setUp({ native });
        const taken: number[] = [];
        for (const { rootNumber, dutyClass, deadlineMs, takeAfter, tick, giveUp } of steps) {
          add(rootNumber, { dutyClass, deadlineMs });
          if (tick) clock.nowMs += 0.2;
          const givenUp = giveUp ? schedule.giveUpFor(dutyClass) : undefined;
          if (givenUp !== undefined) taken.push(givenUp.slot);
          if (takeAfter === undefined) continue;
          const batch = schedule.take(takeAfter);
          if ((batch?.size ?? 0) > takeAfter) return false;
          taken.push(...(slotsOf(batch) ?? []));
        }
        const drained = schedule.drain().map((job) => job.slot);
        const all = [...taken, ...drained, ...expired.map((job) => job.slot)].sort((a, b) => a - b);
        return all.length === steps.length && all.every((slot, index) => slot === index) && schedule.size === 0;
      }),
      { numRuns: 300 },
    );
  });
});
