/** Operator commands at several enclaves of one store: who may, how often, and what a suspicion and its end look like. */

import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { lastEpochToSign } from "#enclave/policy.ts";
import { NAMED_NETWORKS } from "#protocol/signing/named-networks.ts";
import { networkFromJson } from "#protocol/signing/network.ts";
import { encodeMarker, type Marker } from "#protocol/slashing/marker.ts";
import { EMPTY_STATE } from "#protocol/slashing/rules.ts";
import type { StoreEntry } from "#protocol/slashing/store.ts";
import { attestation, block, blockState, codec, filledBytes, validator } from "../../../helpers/guarded.ts";
import { createMemoryStore, type MemoryStore, UNKNOWN } from "../../../helpers/memory-store.ts";
import {
  MAC_KEYS,
  markerOf,
  NOW_SECONDS,
  type Operated,
  SLOTS_PER_EPOCH,
  STRANGER,
  startOperated,
  stateIn,
  WALL_CLOCK_MS,
} from "../../../helpers/operated.ts";

/** Signed commands are numbered from here. */
const NOW = NOW_SECONDS;
const KEY = validator(1);
const OTHER = validator(2);
const NEW = validator(3);
const KEYS = [KEY, OTHER];
const NETWORK = networkFromJson({ name: "mainnet", ...NAMED_NETWORKS.mainnet });
const EPOCH_SECONDS = NETWORK.secondsPerSlot * NETWORK.slotsPerEpoch;
/** What recoveries of these tests raise to. */
const EPOCH = 100;
const LAST_SLOT = (EPOCH + 1) * SLOTS_PER_EPOCH - 1;

/** Enclaves on one store, the first of which registered both keys. */
const startPool = async (count = 2, options: Parameters<typeof startOperated>[1] = {}) => {
  const store = createMemoryStore();
  const enclaves = [await startOperated(store, { keys: KEYS, registered: false, initialise: true, ...options })];
  while (enclaves.length < count) enclaves.push(await startOperated(store, { keys: KEYS, ...options }));
  return { store, enclaves: enclaves as [Operated, Operated, ...Operated[]] };
};
/** A snapshot of the store, and the way back to it. */
const snapshot = (store: MemoryStore) => {
  const values = new Map(store.values);
  const { markerBytes } = store;
  return {
    restoreRecords: (): void => {
      store.values.clear();
      for (const [name, value] of values) store.values.set(name, value);
    },
    restoreMarker: (): void => {
      store.markerBytes = markerBytes;
    },
  };
};
const flushAll = (store: MemoryStore): void => {
  store.values.clear();
  store.markerBytes = undefined;
};
const changeMarker = (store: MemoryStore, change: Partial<Marker>): void => {
  store.markerBytes = encodeMarker({ ...markerOf(store), ...change }, MAC_KEYS);
};
const look = async (enclaves: readonly Operated[]): Promise<void> => {
  for (const enclave of enclaves) await enclave.look();
};
/** What becomes of one duty at every enclave. */
const atAll = async (enclaves: readonly Operated[], ...duty: Parameters<Operated["signs"]>): Promise<string[]> => {
  const results: string[] = [];
  for (const enclave of enclaves) results.push(await enclave.signs(...duty));
  return results;
};
const SUSPECT = ["store_suspect", "store_suspect"];
const SIGNED = ["signed", "signed"];
/** As the pool-manager does it before a recovery. */
const collectFloors = (to: Operated, from: readonly Operated[]): void => {
  for (const enclave of from) to.keepFloors(enclave.floors());
};
/** Brings the store back to before a block of slot 9 of KEY; the first enclave saw it. Everybody knows it is suspect. */
const rolledBack = async (count = 2) => {
  const pool = await startPool(count);
  const [first] = pool.enclaves;
  expect(await first.signs(KEY, block(5, 1))).toBe("signed");
  const before = snapshot(pool.store);
  expect(await first.signs(KEY, block(9, 1))).toBe("signed");
  before.restoreRecords();
  return { ...pool, before };
};

describe("a signed command", () => {
  it("works once: not again at that enclave, at another, or after a restart", async () => {
    const { store, enclaves } = await startPool();
    const [first, second] = enclaves;
    await first.run({ command: "disable" });
    const enable = { command: "enable", sequence: NOW + 1 } as const;
    expect(await first.run(enable)).toMatchObject({ written: 2, failures: [] });
    await first.run({ command: "disable" });
    const bytes = new Map(store.values);
    for (const enclave of [first, second, await startOperated(store, { keys: KEYS })]) {
      expect(await enclave.failure(enable)).toMatchObject({
        code: "bad_request",
        detail: expect.stringMatching(/sequence: expected 1700000002\.\..* got 1700000001: .*sign it anew/),
      });
    }
    expect(store.values).toEqual(bytes);
    expect(markerOf(store).commandSequence).toBe(NOW + 1);
  });

  it.each([
    [0, false],
    [1, false],
    [NOW - 601, false],
    [NOW - 600, true],
    [NOW, true],
    [NOW + 600, true],
    [NOW + 601, false],
    [0xffff_ffff, false],
  ])("signed at %i, ten minutes or less from now: accepted is %s", async (sequence, accepted) => {
    const { store, enclaves } = await startPool();
    const wanted = { command: "enable", sequence } as const;
    if (accepted) await enclaves[0].run(wanted);
    else
      expect((await enclaves[0].failure(wanted)).detail).toMatch(/expected 1699999400\.\.1700000600 .*signed too long/);
    expect(markerOf(store).commandSequence).toBe(accepted ? sequence : 0);
  });

  it("has a higher sequence than the last, whichever enclave did that", async () => {
    const { enclaves } = await startPool();
    await enclaves[0].run({ command: "enable", sequence: NOW + 1 });
    await enclaves[1].run({ command: "enable", sequence: NOW + 3 });
    expect(enclaves[1].commandSequence).toBe(NOW + 3);
    expect((await enclaves[0].failure({ command: "enable", sequence: NOW + 2 })).code).toBe("bad_request");
    expect((await enclaves[0].failure({ command: "enable", sequence: NOW + 3 })).code).toBe("bad_request");
    await enclaves[0].look();
    expect(enclaves[0].commandSequence).toBe(NOW + 3);
  });

  it("follows the last one where the clock was put back, so that the operator is not shut out", async () => {
    const { store, enclaves } = await startPool();
    changeMarker(store, { commandSequence: NOW + 50_000 });
    await look(enclaves);
    expect((await enclaves[0].failure({ command: "enable", sequence: NOW })).detail).toMatch(/expected 1700050001\.\./);
    await enclaves[0].run({ command: "enable", sequence: NOW + 50_001 });
    expect((await enclaves[0].failure({ command: "enable", sequence: NOW + 50_602 })).code).toBe("bad_request");
    await enclaves[0].run({ command: "recover", sequence: NOW + 50_002, epoch: EPOCH });
  });

  it.each(["register", "enable", "recover"] as const)(
    "%s of another store or another operator is refused",
    async (command) => {
      const { store, enclaves } = await startPool();
      const bytes = new Map(store.values);
      const wanted = { command, sequence: NOW + 1, epoch: EPOCH, pubkeys: command === "register" ? [NEW] : [] };
      const elsewhere = { ...wanted, storeId: filledBytes(0x34, 16) };
      expect((await enclaves[0].failure(elsewhere)).detail).toMatch(/is for another store/);
      expect((await enclaves[0].failure(wanted, STRANGER)).detail).toMatch(/not signed by the operator/);
      expect(store.values).toEqual(bytes);
      expect(markerOf(store)).toMatchObject({ commandSequence: 0, suspectSinceUnixSeconds: 0 });
    },
  );

  it("that raced another one fails, and only one of two takes effect", async () => {
    const { store, enclaves } = await startPool();
    const enable = { command: "enable", sequence: NOW + 1, pubkeys: [KEY] } as const;
    const runs = enclaves.map((enclave) => enclave.run(enable));
    const results = await Promise.allSettled(runs);
    expect(results.map(({ status }) => status).sort()).toEqual(["fulfilled", "rejected"]);
    expect(stateIn(store, KEY).control.generation).toBe(1);
  });

  it("does not work again when the store's marker was put back to before it", async () => {
    const { store, enclaves } = await startPool();
    const before = snapshot(store);
    await enclaves[0].run({ command: "enable", sequence: NOW + 1 });
    await enclaves[0].run({ command: "disable" });
    before.restoreMarker();
    expect(await enclaves[0].failure({ command: "enable", sequence: NOW + 1 })).toMatchObject({
      code: "store_suspect",
      detail: expect.stringMatching(/marker is older than one seen before/),
    });
    expect(markerOf(store).suspectSinceUnixSeconds).toBeGreaterThan(0);
    const old = await enclaves[0].failure({ command: "recover", sequence: NOW + 1, epoch: EPOCH });
    expect(old.detail).toMatch(/sequence: expected 1700000002\.\./);
    await enclaves[0].run({ command: "recover", sequence: NOW + 2, epoch: EPOCH });
    expect(markerOf(store).commandSequence).toBe(NOW + 2);
  });

  it.each(["lost", "rolled back"])(
    "does not work again where the store was %s and every enclave is new",
    async (fate) => {
      const clock = { nowMs: WALL_CLOCK_MS };
      const wallClock = (): number => clock.nowMs;
      const { store, enclaves } = await startPool(2, { wallClock });
      const before = snapshot(store);
      const recover = { command: "recover", sequence: NOW + 1, epoch: EPOCH } as const;
      const enable = { command: "enable", sequence: NOW + 2 } as const;
      await enclaves[0].run(recover);
      await enclaves[0].run(enable);
      clock.nowMs += 700_000;
      if (fate === "lost") flushAll(store);
      else {
        before.restoreRecords();
        before.restoreMarker();
      }
      const fresh = await startOperated(store, { keys: KEYS, wallClock });
      expect((await fresh.failure(recover)).detail).toMatch(/signed too long ago/);
      expect((await fresh.failure(enable)).code).toBe(fate === "lost" ? "store_suspect" : "bad_request");
      await fresh.run({ ...recover, sequence: NOW + 700 });
      await fresh.run({ command: "disable" }); // the recovery knows of none
      expect((await fresh.failure(enable)).code).toBe("bad_request");
      expect(await fresh.signs(KEY, block(LAST_SLOT + 1, 1))).toBe("validator_disabled");
      clock.nowMs -= 700_000; // nor by a clock that was put back, once a newer command was executed
      expect((await fresh.failure(enable)).code).toBe("bad_request");
    },
  );

  it.each(["looked", "started"])(
    "enable reaches an enclave that %s before it had written, a little later",
    async (what) => {
      const { store, enclaves } = await startPool();
      let nowMs = 0;
      const other = () => startOperated(store, { keys: KEYS, now: () => nowMs });
      let late = await other();
      await enclaves[0].run({ command: "disable" });
      await late.refresh();
      let done = false;
      const meanwhile = async (): Promise<void> => {
        done = true;
        if (what === "looked") await late.look();
        else late = await other();
      };
      store.script = () => (done ? {} : { before: meanwhile() });
      expect(await enclaves[0].run({ command: "enable", sequence: NOW })).toMatchObject({ written: 2 });
      expect(late.commandSequence).toBe(NOW);
      const late1 = [await late.signs(KEY, block(5, 1)), await late.signs(OTHER, block(5, 1))];
      expect(late1).toContain("validator_disabled");
      nowMs += 2_000;
      await late.look();
      expect(await atAll([late], KEY, block(6, 1))).toEqual(["signed"]);
      expect(await atAll([late], OTHER, block(6, 1))).toEqual(["signed"]);
      const reads = store.reads.length;
      await late.look();
      expect(store.reads).toHaveLength(reads);
      for (let minute = 0; minute < 60; minute += 1) {
        nowMs += 60_000;
        await late.look();
      }
      expect(store.reads.length - reads).toBe(8); // 4 s, 8 s, … 512 s, and no more
    },
  );

  it("is not looked for again while the store is suspect: a recovery is at work", async () => {
    let nowMs = 0;
    const { store, enclaves } = await startPool(2, { now: () => nowMs });
    await enclaves[0].run({ command: "enable", sequence: NOW });
    await look(enclaves);
    changeMarker(store, { suspectSinceUnixSeconds: NOW });
    const reads = store.reads.length;
    nowMs += 2_000;
    await look(enclaves);
    expect(store.reads).toHaveLength(reads);
  });

  it("waits for no other: one at a time", async () => {
    const { enclaves } = await startPool(2, { seenByAllMs: 30 });
    const recovery = enclaves[0].run({ command: "recover", sequence: NOW + 1, epoch: EPOCH });
    expect((await enclaves[0].failure({ command: "disable" })).code).toBe("overloaded");
    await recovery;
    await enclaves[0].run({ command: "disable" });
  });
});

describe("an unsigned command", () => {
  it("for another store is refused", async () => {
    const { enclaves } = await startPool();
    const { detail } = await enclaves[0].failure({ command: "disable", storeId: filledBytes(0x34, 16) });
    expect(detail).toMatch(/is for another store/);
  });

  it("disable acts at every enclave at once, also on repeats", async () => {
    const { enclaves } = await startPool();
    const [first, second] = enclaves;
    expect(await atAll(enclaves, KEY, block(5, 1))).toEqual(SIGNED);
    expect(await second.run({ command: "disable", pubkeys: [KEY] })).toMatchObject({ written: 1 });
    await first.refresh();
    for (const slot of [5, 6]) {
      expect(await atAll(enclaves, KEY, block(slot, 1))).toEqual(["validator_disabled", "validator_disabled"]);
    }
    expect(await atAll(enclaves, OTHER, block(5, 1))).toEqual(SIGNED);
    await first.run({ command: "enable", sequence: NOW + 1, pubkeys: [KEY] });
    await second.look();
    expect(await atAll(enclaves, KEY, block(5, 1))).toEqual(SIGNED);
    expect(await second.signs(KEY, block(4, 1))).toBe("block_slot_below_watermark");
  });

  it("disable is noticed by an enclave that was not told when it asks for a new duty", async () => {
    const { enclaves } = await startPool();
    await enclaves[1].run({ command: "disable", pubkeys: [KEY] });
    expect(await enclaves[0].signs(KEY, block(5, 1))).toBe("validator_disabled");
  });

  it("stop-at lets earlier duties through, and the earlier stop stays", async () => {
    const { enclaves } = await startPool();
    await enclaves[0].run({ command: "stop-at", epoch: 3 });
    await enclaves[0].run({ command: "stop-at", epoch: 4 });
    await enclaves[1].refresh();
    expect(await atAll(enclaves, KEY, attestation(1, 2, 1))).toEqual(SIGNED);
    expect(await atAll(enclaves, KEY, attestation(2, 3, 1))).toEqual(["validator_stopped", "validator_stopped"]);
    expect(await atAll(enclaves, KEY, block(3 * SLOTS_PER_EPOCH - 1, 1))).toEqual(SIGNED);
    expect(await atAll(enclaves, KEY, block(3 * SLOTS_PER_EPOCH, 1))).toEqual([
      "validator_stopped",
      "validator_stopped",
    ]);
  });

  it("watermark of validators that are not registered fails for them alone", async () => {
    const { store, enclaves } = await startPool();
    const report = await enclaves[0].run({ command: "watermark", epoch: 4, slot: 200, pubkeys: [NEW, KEY] });
    expect(report).toMatchObject({ written: 1, failures: [{ reason: expect.stringMatching(/^not registered/) }] });
    expect(store.get(NEW)).toBeUndefined();
    expect(await enclaves[1].signs(KEY, block(200, 1))).toBe("double_block_proposal");
    expect(await enclaves[1].signs(KEY, block(201, 1))).toBe("signed");
  });

  it("of no public key is about every validator in the store, loaded or not", async () => {
    const { store, enclaves } = await startPool();
    store.put(NEW, codec.encode(NEW, blockState(5, 1)));
    expect(await enclaves[0].run({ command: "disable" })).toMatchObject({ written: 3 });
    expect(stateIn(store, NEW).control.disabled).toBe(true);
  });

  it("of an unverifiable record leaves it alone", async () => {
    const { store, enclaves } = await startPool();
    store.put(KEY, filledBytes(0xee, 136));
    expect(await enclaves[0].run({ command: "disable" })).toMatchObject({ written: 1, failures: [{}] });
    expect(store.get(KEY)).toEqual(filledBytes(0xee, 136));
  });
});

describe("register", () => {
  it("makes records of the named validators, and of no others", async () => {
    const { store, enclaves } = await startPool();
    await enclaves[0].signs(KEY, block(5, 1));
    expect(await enclaves[0].run({ command: "register", sequence: NOW + 1, pubkeys: [NEW, KEY] })).toEqual({
      written: 1,
      unchanged: 1,
      blank: 0,
      failures: [],
    });
    expect(stateIn(store, NEW)).toEqual(EMPTY_STATE);
    expect(stateIn(store, KEY)).toEqual(blockState(5, 1));
    expect((await enclaves[0].failure({ command: "register", sequence: NOW + 2 })).detail).toMatch(
      /names the validators/,
    );
    expect(markerOf(store).commandSequence).toBe(NOW + 1);
  });

  it("does not make an empty record in place of one that was lost", async () => {
    const { store, enclaves } = await startPool();
    await enclaves[0].signs(KEY, block(5, 1));
    store.put(KEY, undefined);
    const report = await enclaves[0].run({ command: "register", sequence: NOW + 1, pubkeys: [KEY] });
    expect(report).toMatchObject({ written: 0, failures: [{ reason: expect.stringMatching(/its record is lost/) }] });
    expect(store.get(KEY)).toBeUndefined();
  });
});

describe("a suspicion", () => {
  it("of one enclave is every enclave's at its next look; a restarted one has it at once", async () => {
    const { store, enclaves } = await rolledBack();
    const [first, second] = enclaves;
    expect(await second.signs(OTHER, block(5, 1))).toBe("signed");
    expect(await first.signs(KEY, block(10, 1))).toBe("store_suspect");
    expect(await second.signs(OTHER, block(6, 1))).toBe("signed"); // it does not know yet
    await look(enclaves);
    await look(enclaves);
    for (const key of KEYS) expect(await atAll(enclaves, key, block(11, 1))).toEqual(SUSPECT);
    expect(first.problem).toMatch(/is older than one seen before/);
    expect(second.problem).toMatch(/suspect since 2023-11-14.*slashing recover/);
    const restarted = await startOperated(store, { keys: KEYS });
    expect(restarted.problem).toMatch(/suspect since/);
    expect(await restarted.signs(OTHER, block(12, 1))).toBe("store_suspect");
    expect(second.suspicions).toHaveLength(1); // told once, not at every look
  });

  it("of lost records alone comes from whoever asks for them", async () => {
    const { store, enclaves } = await startPool();
    store.put(KEY, undefined);
    expect(await enclaves[0].signs(OTHER, block(5, 1))).toBe("signed");
    expect(await enclaves[0].signs(KEY, block(5, 1))).toBe("store_suspect");
    await look([...enclaves, ...enclaves]);
    expect(await atAll(enclaves, OTHER, block(6, 1))).toEqual(SUSPECT);
  });

  it("follows at the next look when the whole store is empty", async () => {
    const { store, enclaves } = await startPool();
    flushAll(store);
    await look(enclaves);
    expect(await atAll(enclaves, KEY, block(5, 1))).toEqual(SUSPECT);
    expect(enclaves[1].problem).toMatch(/its data was lost.*slashing recover/);
    expect(store.markerBytes).toBeUndefined();
    expect(store.values.size).toBe(0);
  });

  it.each(["register", "enable"] as const)("does not end with %s", async (command) => {
    const { store, enclaves } = await rolledBack();
    await enclaves[0].signs(KEY, block(10, 1));
    await look([...enclaves, ...enclaves]);
    for (const [index, enclave] of enclaves.entries()) {
      await enclave.run({ command, sequence: NOW + index + 1, pubkeys: [NEW] });
    }
    await look([...enclaves, ...enclaves]);
    for (const enclave of enclaves) await enclave.refresh();
    expect(markerOf(store)).toMatchObject({ commandSequence: NOW + 2, suspectSinceUnixSeconds: expect.any(Number) });
    expect(markerOf(store).suspectSinceUnixSeconds).toBeGreaterThan(0);
    for (const key of KEYS) expect(await atAll(enclaves, key, block(11, 1))).toEqual(SUSPECT);
    const restarted = await startOperated(store, { keys: KEYS });
    expect(await restarted.signs(OTHER, block(11, 1))).toBe("store_suspect");
    await enclaves[0].run({ command: "recover", sequence: NOW + 3, epoch: EPOCH });
    await look(enclaves);
    expect(await atAll(enclaves, KEY, block(LAST_SLOT + 1, 1))).toEqual(SIGNED);
  });

  it("lets a disable through: that only raises", async () => {
    const { enclaves } = await rolledBack();
    await enclaves[0].signs(KEY, block(10, 1));
    await look(enclaves);
    expect(await enclaves[1].run({ command: "disable", pubkeys: [OTHER] })).toMatchObject({ written: 1 });
    expect(enclaves[1].problem).toBeDefined();
  });

  it("that came up during another command stays", async () => {
    const { store, enclaves } = await startPool();
    store.put(KEY, undefined);
    await enclaves[0].run({ command: "enable", sequence: NOW + 1, pubkeys: [OTHER] }); // reads all records again
    expect(enclaves[0].problem).toMatch(/is gone from the store/);
    await look([...enclaves, ...enclaves]);
    expect(await atAll(enclaves, OTHER, block(5, 1))).toEqual(SUSPECT);
  });
});

describe("recover", () => {
  it.each([
    [100, 99, false],
    [100, 100, true],
    [100, 101, true],
    [undefined, 0, true],
  ])("with a bound at %s and epoch %i: accepted is %s", async (lastEpoch, epoch, accepted) => {
    const { store, enclaves } = await startPool(2, { lastSignableEpoch: () => lastEpoch });
    const wanted = { command: "recover", sequence: NOW + 1, epoch } as const;
    if (accepted) {
      expect(await enclaves[0].run(wanted)).toMatchObject({ written: 2 });
      return;
    }
    expect((await enclaves[0].failure(wanted)).detail).toBe("recover: --epoch: expected at least 100, got 99");
    expect(markerOf(store)).toMatchObject({ commandSequence: 0, suspectSinceUnixSeconds: 0 });
    expect(await atAll(enclaves, KEY, block(5, 1))).toEqual(SIGNED);
  });

  it("allows for the clock of another parent that is ahead: what that let through, and was lost, is never doubled", async () => {
    // An epoch begins 9 s from now here; 10 s ahead of this clock, it has begun.
    const network = { ...NETWORK, genesisTimeSeconds: NOW - (EPOCH - 1) * EPOCH_SECONDS + 9 };
    const bound = (aheadMs: number) =>
      lastEpochToSign({ clockBoundEpochs: 1, network, wallClock: () => WALL_CLOCK_MS + aheadMs });
    expect([bound(0), bound(10_000)]).toEqual([EPOCH - 1, EPOCH]);
    const { store, enclaves } = await startPool(2, { lastSignableEpoch: bound });
    const empty = snapshot(store);
    expect(await enclaves[1].signs(KEY, attestation(EPOCH - 1, EPOCH, 1))).toBe("signed"); // by the clock that is ahead
    expect(await enclaves[1].signs(KEY, block(LAST_SLOT, 1))).toBe("signed");
    empty.restoreRecords();
    const fresh = await startOperated(store, { keys: KEYS, lastSignableEpoch: bound });
    const recover = { command: "recover", sequence: NOW + 1 } as const;
    expect((await fresh.failure({ ...recover, epoch: EPOCH - 1 })).detail).toMatch(/expected at least 100, got 99/);
    await fresh.run({ ...recover, epoch: EPOCH });
    expect(await fresh.signs(KEY, attestation(EPOCH, EPOCH, 2))).toBe("double_vote");
    expect(await fresh.signs(KEY, attestation(EPOCH - 1, EPOCH, 2))).toBe("source_below_watermark");
    expect(await fresh.signs(KEY, attestation(EPOCH - 2, EPOCH + 1, 2))).toBe("source_below_watermark");
    expect(await fresh.signs(KEY, block(LAST_SLOT, 2))).toBe("double_block_proposal");
  });

  it("of an epoch without a slot number, or of named validators, is refused before anything happens", async () => {
    const { store, enclaves } = await startPool();
    const before = store.markerBytes;
    for (const wanted of [
      { epoch: Number.MAX_SAFE_INTEGER },
      { epoch: 2 ** 48 - 1 },
      { epoch: EPOCH, pubkeys: [KEY] },
    ]) {
      const { code } = await enclaves[0].failure({ command: "recover", sequence: NOW + 1, ...wanted });
      expect(code).toBe("bad_request");
    }
    expect(store.markerBytes).toBe(before);
    await enclaves[0].run({ command: "recover", sequence: NOW + 1, epoch: 2 ** 48 - 2 });
    expect(stateIn(store, KEY).block).toEqual({ slot: 2 ** 53 - 33 });
  });

  it("raises a rolled-back store above the bound and brings trust back everywhere, restarts too", async () => {
    const { store, enclaves } = await rolledBack(3);
    const [first, second, third] = enclaves;
    await first.signs(KEY, block(10, 1));
    await look([...enclaves, ...enclaves]);
    collectFloors(second, [first, third as Operated]);
    expect(await second.run({ command: "recover", sequence: NOW + 1, epoch: EPOCH })).toEqual({
      written: 2,
      unchanged: 0,
      blank: 0,
      failures: [],
    });
    await first.refresh(); // told by the pool-manager
    await (third as Operated).look(); // of another parent
    const restarted = await startOperated(store, { keys: KEYS });
    const all = [...enclaves, restarted];
    for (const enclave of all) expect(enclave.problem).toBeUndefined();
    for (const enclave of all) {
      expect(await enclave.signs(KEY, block(LAST_SLOT, 1))).toBe("double_block_proposal");
      expect(await enclave.signs(KEY, attestation(EPOCH, EPOCH, 1))).toBe("double_vote");
      expect(await enclave.signs(KEY, attestation(EPOCH - 1, EPOCH + 9, 1))).toBe("source_below_watermark");
    }
    for (const [index, enclave] of all.entries()) {
      expect(await enclave.signs(KEY, block(LAST_SLOT + 1 + index, 1))).toBe("signed");
      expect(await enclave.signs(OTHER, attestation(EPOCH, EPOCH + 1 + index, 1))).toBe("signed");
    }
    expect(markerOf(store)).toMatchObject({ commandSequence: NOW + 1, suspectSinceUnixSeconds: 0 });
  });

  it("takes in what other enclaves have seen above the bound, and their controls", async () => {
    const { store, enclaves } = await startPool(3);
    const [first, second, third] = enclaves as [Operated, Operated, Operated];
    await first.signs(KEY, block(9_000, 1));
    await third.run({ command: "disable", pubkeys: [OTHER] });
    flushAll(store);
    await look(enclaves);
    collectFloors(second, [first, third]);
    await second.run({ command: "recover", sequence: NOW + 1, epoch: EPOCH });
    expect(stateIn(store, KEY)).toMatchObject(blockState(9_000, 1));
    expect(stateIn(store, OTHER).control.disabled).toBe(true);
    await look(enclaves);
    expect(await atAll([first, second, third], OTHER, block(9_001, 1))).toEqual(Array(3).fill("validator_disabled"));
    expect(await atAll([first, second, third], KEY, block(9_000, 2))).toEqual(Array(3).fill("double_block_proposal"));
    expect(await first.signs(KEY, block(9_001, 1))).toBe("signed");
  });

  it("believes no floor that does not verify", async () => {
    const { store, enclaves } = await startPool();
    const forged: StoreEntry[] = [
      { key: KEY, value: filledBytes(0xee, 136) },
      { key: NEW, value: codec.encode(KEY, blockState(99_999, 1)) },
    ];
    enclaves[0].keepFloors(forged);
    expect(await enclaves[0].run({ command: "recover", sequence: NOW + 1, epoch: EPOCH })).toMatchObject({
      written: 2,
    });
    expect(stateIn(store, KEY).block).toEqual({ slot: LAST_SLOT });
    expect(store.get(NEW)).toBeUndefined();
  });

  it("begins a store anew that lost everything, its marker too, and goes on counting", async () => {
    const { store, enclaves } = await startPool();
    await enclaves[0].run({ command: "enable", sequence: NOW + 1 });
    await look(enclaves);
    flushAll(store);
    await look(enclaves);
    expect((await enclaves[1].failure({ command: "register", sequence: NOW + 2, pubkeys: [NEW] })).code).toBe(
      "store_suspect",
    );
    expect((await enclaves[1].failure({ command: "disable" })).code).toBe("store_suspect");
    expect((await enclaves[1].failure({ command: "recover", sequence: NOW + 1, epoch: EPOCH })).detail).toMatch(
      /expected 1700000002\.\./,
    );
    await enclaves[1].run({ command: "recover", sequence: NOW + 2, epoch: EPOCH });
    expect(markerOf(store)).toMatchObject({ commandSequence: NOW + 2, suspectSinceUnixSeconds: 0 });
    await look(enclaves);
    expect(await atAll(enclaves, KEY, block(LAST_SLOT + 1, 1))).toEqual(SIGNED);
    expect(await atAll(enclaves, OTHER, block(LAST_SLOT, 1))).toEqual(Array(2).fill("double_block_proposal"));
    const restarted = await startOperated(store, { keys: KEYS });
    expect(await restarted.signs(OTHER, block(LAST_SLOT + 1, 1))).toBe("signed");
  });

  it("works at enclaves that started on the empty store", async () => {
    const { store } = await startPool();
    flushAll(store);
    const enclaves = [await startOperated(store, { keys: KEYS }), await startOperated(store, { keys: KEYS })] as const;
    expect(await atAll(enclaves, KEY, block(5, 1))).toEqual(SUSPECT);
    await enclaves[0].run({ command: "recover", sequence: NOW + 1, epoch: EPOCH });
    await enclaves[1].refresh();
    expect(await atAll(enclaves, KEY, block(LAST_SLOT + 1, 1))).toEqual(SIGNED);
  });

  it("replaces an altered marker and unverifiable records, and keeps what was seen of them", async () => {
    const { store, enclaves } = await startPool();
    await enclaves[0].signs(KEY, block(9_000, 1));
    store.put(KEY, filledBytes(0xee, 136));
    store.put(OTHER, codec.encode(KEY, blockState(5, 1)));
    store.markerBytes = filledBytes(0xee, 107);
    await look(enclaves);
    expect(await atAll(enclaves, KEY, block(9_001, 1))).toEqual(SUSPECT);
    await enclaves[0].run({ command: "recover", sequence: NOW + 1, epoch: EPOCH });
    await look(enclaves);
    expect(stateIn(store, KEY)).toMatchObject(blockState(9_000, 1));
    expect(stateIn(store, OTHER).block).toEqual({ slot: LAST_SLOT });
    expect(await atAll(enclaves, OTHER, block(LAST_SLOT + 1, 1))).toEqual(SIGNED);
  });

  it.each([
    ["another store", { storeId: filledBytes(9, 16) }],
    ["another chain", { genesisValidatorsRoot: filledBytes(9, 32) }],
    ["a later configuration", { configVersionMin: 2 }],
  ])("does not replace the whole marker of %s", async (_name, change) => {
    const { store, enclaves } = await startPool();
    changeMarker(store, change);
    const before = store.markerBytes;
    const values = new Map(store.values);
    await look(enclaves);
    const { code } = await enclaves[0].failure({ command: "recover", sequence: NOW + 1, epoch: EPOCH });
    expect(code).toBe("bad_request");
    expect(store.markerBytes).toBe(before);
    expect(store.values).toEqual(values);
  });

  it("keeps everybody from signing while it works", async () => {
    const { store, enclaves } = await startPool(2, { seenByAllMs: 50 });
    const recovery = enclaves[0].run({ command: "recover", sequence: NOW + 1, epoch: EPOCH });
    await sleep(5);
    await look(enclaves);
    expect(markerOf(store)).toMatchObject({ commandSequence: 0 });
    expect(markerOf(store).suspectSinceUnixSeconds).toBeGreaterThan(0);
    for (const key of KEYS) expect(await atAll(enclaves, key, block(5, 1))).toEqual(SUSPECT);
    expect(stateIn(store, KEY)).toEqual(EMPTY_STATE);
    await recovery;
    await look(enclaves);
    expect(await atAll(enclaves, KEY, block(LAST_SLOT + 1, 1))).toEqual(SIGNED);
  });

  it("of what an enclave signed just before is above that, too", async () => {
    const { store, enclaves } = await startPool(2, { seenByAllMs: 50 });
    const recovery = enclaves[0].run({ command: "recover", sequence: NOW + 1, epoch: EPOCH });
    expect(await enclaves[1].signs(KEY, block(9_000, 1))).toBe("signed"); // it has not looked yet
    await recovery;
    expect(stateIn(store, KEY)).toMatchObject(blockState(9_000, 1));
  });
});

describe("a recovery that fails in the middle", () => {
  it("keeps the store suspect, and a second one finishes with the same sequence", async () => {
    const { store, enclaves } = await rolledBack();
    const [first, second] = enclaves;
    await first.signs(KEY, block(10, 1));
    await look([...enclaves, ...enclaves]);
    collectFloors(second, [first]);
    store.scripts.push({ answer: UNKNOWN }); // written, but nobody knows whether it lasts
    const recover = { command: "recover", sequence: NOW + 1, epoch: EPOCH } as const;
    const report = await second.run(recover);
    expect(report).toMatchObject({ written: 1, failures: [{ reason: expect.stringMatching(/did not answer/) }] });
    expect(markerOf(store)).toMatchObject({ commandSequence: 0 });
    expect(markerOf(store).suspectSinceUnixSeconds).toBeGreaterThan(0);
    await look([...enclaves, ...enclaves]);
    expect(await atAll(enclaves, OTHER, block(LAST_SLOT + 1, 1))).toEqual(SUSPECT);
    const writes = store.calls.length;
    expect(await second.run(recover)).toEqual({ written: 0, unchanged: 2, blank: 0, failures: [] });
    expect(store.calls).toHaveLength(writes + 2); // waits until what was found is durable
    await look(enclaves);
    expect(await atAll(enclaves, KEY, block(LAST_SLOT + 1, 1))).toEqual(SIGNED);
  });

  it("because the store is gone: suspect, and a second one finishes at another enclave", async () => {
    const { store, enclaves } = await rolledBack();
    const [first, second] = enclaves;
    await first.signs(KEY, block(10, 1));
    store.readGate = () => Promise.reject(new Error("gone"));
    await expect(first.run({ command: "recover", sequence: NOW + 1, epoch: EPOCH })).rejects.toThrow("gone");
    store.readGate = () => Promise.resolve();
    await look(enclaves);
    expect(await atAll(enclaves, OTHER, block(11, 1))).toEqual(SUSPECT);
    collectFloors(second, [first]);
    await second.run({ command: "recover", sequence: NOW + 1, epoch: EPOCH });
    await look(enclaves);
    expect(await atAll(enclaves, KEY, block(LAST_SLOT + 1, 1))).toEqual(SIGNED);
  });

  it.each(["lost", "rolled back"])("because the data was %s once more: nothing is trusted", async (fate) => {
    const { store, enclaves } = await startPool(2, { seenByAllMs: 40 });
    const before = snapshot(store);
    const recovery = enclaves[0].failure({ command: "recover", sequence: NOW + 1, epoch: EPOCH });
    await sleep(5);
    await look(enclaves);
    store.script = () => {
      if (fate === "lost") flushAll(store);
      else before.restoreMarker();
      return {};
    };
    expect(await recovery).toMatchObject({ code: "unavailable", detail: expect.stringMatching(/marker changed/) });
    await look([...enclaves, ...enclaves]);
    expect(await atAll(enclaves, KEY, block(LAST_SLOT + 1, 1))).toEqual(SUSPECT);
  });

  it("at its last step, unknown to itself: trusted or not, a look tells, and it can be run again", async () => {
    for (const wrote of [true, false]) {
      const { store, enclaves } = await startPool(2, { seenByAllMs: 20 });
      const write = store.compareAndSetMarker;
      let writes = 0;
      store.compareAndSetMarker = async (expected, next) => {
        writes += 1;
        if (writes !== 2) return write(expected, next);
        if (wrote) await write(expected, next);
        return UNKNOWN;
      };
      const recovery = enclaves[0].failure({ command: "recover", sequence: NOW + 1, epoch: EPOCH });
      await sleep(5);
      await look(enclaves); // everybody looks once a second
      expect((await recovery).code).toBe("unknown_outcome");
      await look([...enclaves, ...enclaves]);
      if (!wrote) {
        expect(await atAll(enclaves, KEY, block(LAST_SLOT + 1, 1))).toEqual(SUSPECT);
        await enclaves[1].run({ command: "recover", sequence: NOW + 1, epoch: EPOCH });
        await look(enclaves);
      }
      expect(await atAll(enclaves, KEY, block(LAST_SLOT + 1, 1))).toEqual(SIGNED);
    }
  });
});
