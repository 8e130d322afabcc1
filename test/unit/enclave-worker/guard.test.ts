/** Slashing protection at the moment of signing: nothing leaves before its record does, whatever the store answers. */

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createRecordCodec } from "#protocol/slashing/record.ts";
import { EMPTY_STATE } from "#protocol/slashing/rules.ts";
import { BROKEN_FATES, CRASHING_FATES, HONEST_FATES, plans, simulate } from "../../helpers/guard-simulation.ts";
import {
  ask,
  attestation,
  block,
  blockState,
  CODEC_OPTIONS,
  codec,
  filledBytes,
  hasSettled,
  manualSigner,
  resultOf,
  validator,
  watchedGuard,
} from "../../helpers/guarded.ts";
import { createMemoryStore, type MemoryStore, type Script, UNKNOWN } from "../../helpers/memory-store.ts";

const KEY = validator(1);
const OTHER_KEY = validator(2);
const NEVER = new Promise<never>(() => undefined);

/** A guard that tracks both keys, already registered; the store's calls so far are forgotten. */
const start = async (store: MemoryStore = createMemoryStore()) => {
  const watched = watchedGuard(store);
  await watched.guard.track([KEY, OTHER_KEY].map((pubkey) => ({ pubkey, registered: false })));
  store.calls.length = 0;
  watched.counts.storeRoundTrips = 0;
  return { ...watched, watched, store };
};
const asks = (guard: Parameters<typeof ask>[0], candidate: ReturnType<typeof block>, pubkey = KEY) =>
  resultOf(ask(guard, { pubkey, candidate }));
const gate = () => Promise.withResolvers<void>();

describe("record before release", () => {
  it("keeps a finished signature back until the record is stored", async () => {
    const { guard, store } = await start();
    const stored = gate();
    store.scripts.push({ after: stored.promise });
    const outcome = ask(guard, { pubkey: KEY, candidate: block(5, 1) });
    expect(await hasSettled(outcome)).toBe(false);
    expect(codec.decode(KEY, store.get(KEY) as Uint8Array)).toMatchObject({ kind: "record", state: blockState(5, 1) });
    stored.resolve();
    expect(await outcome).toEqual({ kind: "signed", signature: filledBytes(0x99, 96) });
  });

  it("signs while the store writes, once, and waits for the slower of the two", async () => {
    const { guard, store } = await start();
    const signer = manualSigner();
    const outcome = ask(guard, { pubkey: KEY, candidate: block(5, 1), sign: signer.sign });
    expect(signer.calls).toBe(0); // not before it is this request's turn
    expect(await hasSettled(outcome)).toBe(false);
    expect(store.calls).toHaveLength(1);
    expect(signer.calls).toBe(1);
    signer.finish();
    expect(await resultOf(outcome)).toBe("signed");
    expect(signer.calls).toBe(1);
  });

  it.each<[string, Script]>([
    ["unknown, and did not write", { effect: "never", answer: UNKNOWN }],
    ["unknown, but wrote", { answer: UNKNOWN }],
  ])("releases nothing when the store answers %s", async (_name, script) => {
    const { guard, store } = await start();
    store.scripts.push(script);
    expect(await asks(guard, block(5, 1))).toBe("unknown_outcome");
  });

  it.each<[string, Script]>([
    ["wrote", { after: NEVER }],
    ["did not write", { effect: "never", after: NEVER }],
  ])("releases nothing when the store never answers and %s", async (_name, script) => {
    const { guard, store } = await start();
    store.scripts.push(script);
    expect(await hasSettled(ask(guard, { pubkey: KEY, candidate: block(5, 1) }))).toBe(false);
  });

  it("needs one round trip for a new duty and counts it", async () => {
    const { guard, store, counts } = await start();
    for (const slot of [5, 6, 7]) expect(await asks(guard, block(slot, slot))).toBe("signed");
    expect(await asks(guard, attestation(1, 2, 9))).toBe("signed");
    expect(store.calls).toHaveLength(4);
    expect(counts).toEqual({ repeated: 0, conflicts: 0, storeRoundTrips: 4 });
  });
});

describe("a refusal", () => {
  it.each([
    ["another block at the same slot", [block(5, 1)], block(5, 2), "double_block_proposal"],
    ["an earlier block", [block(5, 1)], block(4, 2), "block_slot_below_watermark"],
    ["another vote for the same target", [attestation(1, 2, 1)], attestation(1, 2, 2), "double_vote"],
    ["a surrounding vote", [attestation(2, 3, 1)], attestation(1, 4, 2), "source_below_watermark"],
    ["a surrounded vote", [attestation(1, 5, 1)], attestation(2, 4, 2), "target_below_watermark"],
    ["a vote that ends before it starts", [], attestation(3, 2, 2), "source_after_target"],
  ])("of %s asks neither the store nor the signer", async (_name, before, candidate, rule) => {
    const { guard, store, counts } = await start();
    for (const earlier of before) expect(await asks(guard, earlier)).toBe("signed");
    store.calls.length = 0;
    const signer = manualSigner();
    expect(await resultOf(ask(guard, { pubkey: KEY, candidate, sign: signer.sign }))).toBe(rule);
    expect(store.calls).toEqual([]);
    expect(signer.calls).toBe(0);
    expect(counts.repeated).toBe(0);
  });
});

describe("a conflict", () => {
  it("brings the other enclave's record in, decides again and is counted", async () => {
    const { guard, store, counts } = await start();
    store.put(KEY, codec.encode(KEY, blockState(5, 1)));
    expect(await asks(guard, block(6, 2))).toBe("signed");
    expect(counts).toEqual({ repeated: 0, conflicts: 1, storeRoundTrips: 2 });
    expect(store.calls[1]?.expected).toEqual(new Uint8Array(codec.encode(KEY, blockState(5, 1))));
  });

  it("turns a duty that another enclave signed differently into a refusal, although the signature was begun", async () => {
    const { guard, store } = await start();
    store.put(KEY, codec.encode(KEY, blockState(5, 1)));
    const signer = manualSigner();
    const outcome = ask(guard, { pubkey: KEY, candidate: block(5, 2), sign: signer.sign });
    signer.finish();
    expect(await resultOf(outcome)).toBe("double_block_proposal");
    expect(store.calls).toHaveLength(1);
  });

  it("signs once however often it decides", async () => {
    const { guard, store } = await start();
    store.put(KEY, codec.encode(KEY, blockState(5, 1)));
    const signer = manualSigner();
    const outcome = ask(guard, { pubkey: KEY, candidate: block(6, 2), sign: signer.sign });
    signer.finish();
    expect(await resultOf(outcome)).toBe("signed");
    expect(signer.calls).toBe(1);
  });

  it.each([
    [4, "signed"],
    [5, "unavailable"],
  ])("%i times in a row ends as %s", async (conflicts, expected) => {
    const { guard, store, counts } = await start();
    let left = conflicts;
    store.script = () => {
      // Another enclave is always a little faster.
      if (left > 0) store.put(KEY, codec.encode(KEY, blockState(100 - left, left)));
      left -= 1;
      return {};
    };
    expect(await asks(guard, block(200, 7))).toBe(expected);
    expect(counts.conflicts).toBe(conflicts);
    expect(store.calls).toHaveLength(5);
  });
});

describe("the same message again", () => {
  it("is released without a write when this enclave saw its record acknowledged", async () => {
    const { guard, store, counts } = await start();
    await asks(guard, block(5, 1));
    expect(await asks(guard, block(5, 1))).toBe("signed");
    expect(store.calls).toHaveLength(1);
    expect(counts.repeated).toBe(1);
  });

  it("is confirmed by writing equal bytes when its record was only read at the start", async () => {
    const store = createMemoryStore();
    store.put(KEY, codec.encode(KEY, blockState(5, 1)));
    const { guard } = await start(store);
    const confirmed = gate();
    store.scripts.push({ after: confirmed.promise });
    const outcome = ask(guard, { pubkey: KEY, candidate: block(5, 1) });
    expect(await hasSettled(outcome)).toBe(false);
    expect(store.calls).toHaveLength(1);
    expect(store.calls[0]?.next).toEqual(store.calls[0]?.expected);
    expect(store.calls[0]?.next).toEqual(store.get(KEY));
    confirmed.resolve();
    expect(await resultOf(outcome)).toBe("signed");
    expect(await asks(guard, block(5, 1))).toBe("signed");
    expect(store.calls).toHaveLength(1);
  });

  it("is confirmed likewise when its record came from a conflict", async () => {
    const { guard, store } = await start();
    store.put(KEY, codec.encode(KEY, blockState(5, 1)));
    store.scripts.push({}, { effect: "never", answer: UNKNOWN });
    expect(await asks(guard, block(5, 1))).toBe("unknown_outcome");
    expect(store.calls).toHaveLength(2);
    expect(store.calls[1]?.next).toEqual(store.calls[1]?.expected);
    expect(await asks(guard, block(5, 1))).toBe("signed");
    expect(store.calls).toHaveLength(3);
  });

  it("is not signed when the confirming write finds the record gone", async () => {
    const store = createMemoryStore();
    store.put(KEY, codec.encode(KEY, blockState(5, 1)));
    const { guard } = await start(store);
    store.put(KEY, undefined);
    expect(await asks(guard, block(5, 1))).toBe("store_suspect");
    expect(store.get(KEY)).toBeUndefined();
  });

  it("loses its acknowledgement when a later conflict replaces the record", async () => {
    const { guard, store } = await start();
    await asks(guard, block(5, 1));
    // Another enclave attests: the block in the record is ours, the record is not.
    const both = {
      ...blockState(5, 1),
      attestation: { sourceEpoch: 1, targetEpoch: 2, signingRoot: filledBytes(3, 32) },
    };
    store.put(KEY, codec.encode(KEY, both));
    expect(await asks(guard, attestation(1, 2, 4))).toBe("double_vote");
    store.calls.length = 0;
    expect(await asks(guard, block(5, 1))).toBe("signed");
    expect(store.calls).toHaveLength(1);
    expect(store.calls[0]?.next).toEqual(store.calls[0]?.expected);
  });
});

describe("after an unknown outcome", () => {
  const ROWS: [name: string, script: Script, sameAgain: string, otherRoot: string][] = [
    ["of a write that took place", { answer: UNKNOWN }, "signed", "double_block_proposal"],
    ["of a write that was lost", { effect: "never", answer: UNKNOWN }, "signed", "signed"],
  ];
  it.each(ROWS)("%s, the same message succeeds and is confirmed", async (_name, script, sameAgain) => {
    const { guard, store } = await start();
    store.scripts.push(script);
    await asks(guard, block(5, 1));
    expect(await asks(guard, block(5, 1))).toBe(sameAgain);
    expect(codec.decode(KEY, store.get(KEY) as Uint8Array)).toMatchObject({ state: blockState(5, 1) });
    expect(await asks(guard, block(5, 2))).toBe("double_block_proposal");
  });

  it.each(ROWS)(
    "%s, another message for the duty is judged by what the store holds",
    async (_name, script, _, other) => {
      const { guard, store } = await start();
      store.scripts.push(script);
      await asks(guard, block(5, 1));
      expect(await asks(guard, block(5, 2))).toBe(other);
    },
  );

  it("a write that arrives late cannot undo what was decided meanwhile", async () => {
    const { guard, store } = await start();
    const late = gate();
    store.scripts.push({ effect: "late", before: late.promise, answer: UNKNOWN });
    expect(await asks(guard, block(5, 1))).toBe("unknown_outcome");
    expect(await asks(guard, block(5, 2))).toBe("signed");
    late.resolve();
    expect(await asks(guard, block(5, 1))).toBe("double_block_proposal");
    expect(codec.decode(KEY, store.get(KEY) as Uint8Array)).toMatchObject({ state: blockState(5, 2) });
  });

  it("the record that the enclave knows to be acknowledged still releases its own message", async () => {
    const { guard, store } = await start();
    await asks(guard, block(5, 1));
    store.scripts.push({ effect: "never", answer: UNKNOWN });
    expect(await asks(guard, block(6, 2))).toBe("unknown_outcome");
    expect(await asks(guard, block(5, 1))).toBe("signed");
  });
});

describe("a store that contradicts what was seen", () => {
  const flipped = (): Uint8Array => {
    const bytes = codec.encode(KEY, blockState(9, 9));
    bytes[20] = (bytes[20] ?? 0) ^ 1;
    return bytes;
  };
  const foreign = (change: object, pubkey = KEY) =>
    createRecordCodec({ ...CODEC_OPTIONS, ...change }).encode(pubkey, blockState(9, 9));
  const ROWS: [name: string, actual: () => Uint8Array | undefined, reason: RegExp][] = [
    ["lost the record", () => undefined, /is gone from the store/],
    ["went back to an older record", () => codec.encode(KEY, blockState(4, 4)), /is older than one seen before/],
    ["went back to an empty record", () => codec.encode(KEY, EMPTY_STATE), /is older than one seen before/],
    ["has another root at the same slot", () => codec.encode(KEY, blockState(5, 7)), /is older than one seen before/],
    ["flipped a bit", flipped, /cannot be verified/],
    ["cut the record short", () => codec.encode(KEY, blockState(9, 9)).subarray(0, 135), /cannot be verified/],
    ["holds no bytes at all", () => new Uint8Array(), /cannot be verified/],
    ["holds a record of another store", () => foreign({ storeId: filledBytes(0x34, 16) }), /cannot be verified/],
    [
      "holds a record of another chain",
      () => foreign({ genesisValidatorsRoot: filledBytes(0, 32) }),
      /cannot be verified/,
    ],
    ["holds a record of another validator", () => foreign({}, OTHER_KEY), /cannot be verified/],
    [
      "holds a record under another MAC key",
      () => foreign({ macKeys: new Map([[1, filledBytes(0x12, 32)]]) }),
      /cannot be verified/,
    ],
  ];

  it.each(ROWS)(
    "and %s: refuses every key from then on, once told, nothing overwritten",
    async (_name, actual, reason) => {
      const { guard, store, suspicions } = await start();
      expect(await asks(guard, block(5, 5))).toBe("signed");
      const bytes = actual();
      store.put(KEY, bytes);
      store.calls.length = 0;
      expect(guard.problem).toBeUndefined();
      expect(await asks(guard, block(6, 6))).toBe("store_suspect");
      expect(store.calls).toHaveLength(1);
      expect(await asks(guard, block(6, 6))).toBe("store_suspect");
      expect(await asks(guard, block(5, 5))).toBe("store_suspect"); // not even a repeat
      expect(await asks(guard, block(1, 1), OTHER_KEY)).toBe("store_suspect");
      expect(store.calls).toHaveLength(1);
      expect(store.get(KEY)).toEqual(bytes && new Uint8Array(bytes));
      expect(suspicions).toHaveLength(1);
      expect(guard.problem).toBe(suspicions[0]);
      expect(guard.problem).toMatch(reason);
    },
  );

  it("is told of once, although several requests find out at the same time", async () => {
    const { guard, store, suspicions } = await start();
    store.put(KEY, undefined);
    store.put(OTHER_KEY, filledBytes(1, 136));
    const outcomes = [asks(guard, block(5, 5)), asks(guard, block(5, 5), OTHER_KEY)];
    expect(await Promise.all(outcomes)).toEqual(["store_suspect", "store_suspect"]);
    expect(store.calls).toHaveLength(2);
    expect(suspicions).toHaveLength(1);
  });

  it("refuses the requests that already wait in line", async () => {
    const { guard, store, suspicions } = await start();
    store.put(KEY, undefined);
    const outcomes = [1, 2, 3].map((slot) => asks(guard, block(slot, slot)));
    expect(await Promise.all(outcomes)).toEqual(["store_suspect", "store_suspect", "store_suspect"]);
    expect(store.calls).toHaveLength(1);
    expect(suspicions).toHaveLength(1);
  });

  it("releases nothing that is in flight for another key when the suspicion arises", async () => {
    const { guard, store } = await start();
    const stored = gate();
    store.scripts.push({ after: stored.promise });
    const inFlight = asks(guard, block(5, 5), OTHER_KEY);
    await hasSettled(inFlight);
    store.put(KEY, undefined);
    expect(await asks(guard, block(5, 5))).toBe("store_suspect");
    stored.resolve();
    expect(await inFlight).toBe("store_suspect");
  });
});

describe("order", () => {
  it("takes the requests of one validator one after the other, in order", async () => {
    const { guard, store } = await start();
    const first = gate();
    store.scripts.push({ after: first.promise });
    const outcomes = [5, 6, 7].map((slot) => ask(guard, { pubkey: KEY, candidate: block(slot, slot) }));
    const late = asks(guard, block(6, 66));
    expect(await hasSettled(Promise.race([...outcomes, late]))).toBe(false);
    expect(store.calls).toHaveLength(1);
    first.resolve();
    expect(await Promise.all(outcomes.map(resultOf))).toEqual(["signed", "signed", "signed"]);
    expect(await late).toBe("block_slot_below_watermark");
    expect(store.calls).toHaveLength(3);
  });

  it("does not hold up the next request of a validator while a signature is still being made", async () => {
    const { guard } = await start();
    const slow = manualSigner();
    const first = ask(guard, { pubkey: KEY, candidate: block(5, 5), sign: slow.sign });
    expect(await asks(guard, block(6, 6))).toBe("signed");
    slow.finish();
    expect(await resultOf(first)).toBe("signed");
  });

  it("lets no validator wait for another", async () => {
    const { guard, store } = await start();
    store.scripts.push({ after: NEVER });
    const stuck = ask(guard, { pubkey: KEY, candidate: block(5, 5) });
    expect(await hasSettled(stuck)).toBe(false);
    expect(await asks(guard, block(5, 5), OTHER_KEY)).toBe("signed");
    expect(await hasSettled(stuck)).toBe(false);
  });

  it("takes 64 requests for one validator and no more, until some have ended", async () => {
    const { guard, store } = await start();
    const stored = gate();
    store.scripts.push({ after: stored.promise });
    const outcomes = Array.from({ length: 64 }, (_, slot) => asks(guard, block(slot, 1)));
    expect(await asks(guard, block(99, 1))).toBe("overloaded");
    expect(await asks(guard, block(1, 1), OTHER_KEY)).toBe("signed");
    stored.resolve();
    expect(new Set(await Promise.all(outcomes))).toEqual(new Set(["signed"]));
    expect(await asks(guard, block(99, 1))).toBe("signed");
  });
});

describe("a deadline", () => {
  it.each([
    [999, "signed"],
    [1_000, "deadline_exceeded"],
    [1_001, "deadline_exceeded"],
  ])("of 1000 at time %i: %s", async (nowMs, expected) => {
    const { guard, store, watched } = await start();
    watched.nowMs = nowMs;
    const signer = manualSigner();
    const outcome = ask(guard, { pubkey: KEY, candidate: block(5, 5), sign: signer.sign, deadlineMs: 1_000 });
    signer.finish();
    expect(await resultOf(outcome)).toBe(expected);
    expect(store.calls).toHaveLength(expected === "signed" ? 1 : 0);
    expect(signer.calls).toBe(expected === "signed" ? 1 : 0);
  });

  it("ends a request that waited too long in line, and one whose conflict came too late", async () => {
    const { guard, store, watched } = await start();
    const first = gate();
    store.put(KEY, codec.encode(KEY, blockState(4, 4)));
    store.scripts.push({ after: first.promise });
    const conflicted = resultOf(ask(guard, { pubkey: KEY, candidate: block(5, 5), deadlineMs: 1_000 }));
    const waiting = resultOf(ask(guard, { pubkey: KEY, candidate: block(6, 6), deadlineMs: 1_000 }));
    await hasSettled(waiting);
    watched.nowMs = 1_000;
    first.resolve();
    expect(await Promise.all([conflicted, waiting])).toEqual(["deadline_exceeded", "deadline_exceeded"]);
    expect(store.calls).toHaveLength(1);
  });
});

describe("a signature that fails", () => {
  it("fails that request only, and the same message can be asked for again", async () => {
    const { guard } = await start();
    const signer = manualSigner();
    const failing = ask(guard, { pubkey: KEY, candidate: block(5, 5), sign: signer.sign });
    const next = asks(guard, block(6, 6));
    signer.fail(new Error("thread died"));
    await expect(failing).rejects.toThrow("thread died");
    expect(await next).toBe("signed");
    const again = manualSigner();
    const first = ask(guard, { pubkey: OTHER_KEY, candidate: block(5, 5), sign: again.sign });
    again.fail(new Error("thread died"));
    await expect(first).rejects.toThrow("thread died");
    expect(await asks(guard, block(5, 5), OTHER_KEY)).toBe("signed");
  });

  it("of a dropped request is nobody's unhandled rejection", async () => {
    const unhandled: unknown[] = [];
    const listener = (reason: unknown): void => void unhandled.push(reason);
    process.on("unhandledRejection", listener);
    try {
      const { guard, store } = await start();
      store.scripts.push({ effect: "never", answer: UNKNOWN });
      const signer = manualSigner();
      const outcome = resultOf(ask(guard, { pubkey: KEY, candidate: block(5, 5), sign: signer.sign }));
      expect(await outcome).toBe("unknown_outcome");
      expect(signer.calls).toBe(1);
      signer.fail(new Error("too late to matter"));
      await hasSettled(outcome);
    } finally {
      process.off("unhandledRejection", listener);
    }
    expect(unhandled).toEqual([]);
  });
});

describe("registration", () => {
  const track = (store: MemoryStore, registered: boolean) => {
    const watched = watchedGuard(store);
    return { ...watched, done: watched.guard.track([{ pubkey: KEY, registered }]) };
  };

  it("creates an empty record for a new validator and never overwrites one", async () => {
    const store = createMemoryStore();
    const { guard, done } = track(store, false);
    await done;
    expect(codec.decode(KEY, store.get(KEY) as Uint8Array)).toMatchObject({ kind: "record", state: EMPTY_STATE });
    expect(store.calls).toMatchObject([{ expected: undefined }]);
    await asks(guard, block(5, 5));
    const { guard: second, done: secondDone } = track(store, false);
    await secondDone;
    expect(store.calls).toHaveLength(2);
    expect(await asks(second, block(5, 6))).toBe("double_block_proposal");
  });

  it("takes the absent record of a registered validator for data loss", async () => {
    const store = createMemoryStore();
    const { guard, done, suspicions } = track(store, true);
    await done;
    expect(store.calls).toEqual([]);
    expect(store.values.size).toBe(0);
    expect(suspicions).toEqual([expect.stringContaining("is gone from the store")]);
    expect(guard.problem).toBe(suspicions[0]);
    expect(await asks(guard, block(5, 5))).toBe("store_suspect");
    expect(await asks(guard, block(5, 5), OTHER_KEY)).toBe("store_suspect");
  });

  it("refuses a record that it cannot verify", async () => {
    const store = createMemoryStore();
    store.put(KEY, filledBytes(7, 136));
    const { guard, done, suspicions } = track(store, false);
    await done;
    expect(store.get(KEY)).toEqual(filledBytes(7, 136));
    expect(suspicions).toHaveLength(1);
    expect(await asks(guard, block(5, 5))).toBe("store_suspect");
    expect(store.calls).toEqual([]);
  });

  it("keeps the record of whoever was faster", async () => {
    const store = createMemoryStore();
    const read = gate();
    store.readGate = () => read.promise;
    const racer = track(store, false);
    const other = watchedGuard(store);
    const otherDone = other.guard.track([{ pubkey: KEY, registered: false }]);
    store.script = () => {
      // The other enclave has registered the validator and signed with it.
      if (store.calls.length === 1) store.put(KEY, codec.encode(KEY, blockState(5, 5)));
      return {};
    };
    read.resolve();
    await Promise.all([racer.done, otherDone]);
    expect(store.calls.map((call) => call.expected)).toEqual([undefined, undefined]);
    expect(await asks(racer.guard, block(5, 6))).toBe("double_block_proposal");
    expect(await asks(other.guard, block(5, 6))).toBe("double_block_proposal");
  });

  it.each<[string, Script]>([
    ["does not answer", { effect: "never", answer: UNKNOWN }],
    ["contradicts itself", { effect: "never", answer: { kind: "conflict", actual: undefined } }],
  ])("can be tried again when the store %s", async (_name, script) => {
    const store = createMemoryStore();
    store.scripts.push(script);
    const { guard, done, suspicions } = track(store, false);
    await expect(done).rejects.toMatchObject({ code: "unavailable" });
    expect(await asks(guard, block(5, 5))).toBe("unknown_key");
    await guard.track([{ pubkey: KEY, registered: false }]);
    expect(await asks(guard, block(5, 5))).toBe("signed");
    expect(suspicions).toEqual([]);
  });

  it("does not count as an acknowledgement of a record that a conflict showed", async () => {
    const store = createMemoryStore();
    const read = gate();
    store.readGate = () => read.promise;
    const { guard, done } = track(store, false);
    store.put(KEY, undefined);
    store.script = (call) => {
      if (call.expected === undefined) store.put(KEY, codec.encode(KEY, blockState(5, 5)));
      return {};
    };
    read.resolve();
    await done;
    store.calls.length = 0;
    expect(await asks(guard, block(5, 5))).toBe("signed");
    expect(store.calls).toHaveLength(1);
  });
});

describe("tracking and forgetting", () => {
  it("refuses a validator that is not tracked", async () => {
    const { guard, store } = await start();
    expect(await asks(guard, block(5, 5), validator(3))).toBe("unknown_key");
    expect(store.calls).toEqual([]);
  });

  it("reads only what it does not keep yet, in pages", async () => {
    const store = createMemoryStore();
    const { guard } = watchedGuard(store);
    const keys = Array.from({ length: 5_000 }, (_, index) => {
      const pubkey = new Uint8Array(48);
      new DataView(pubkey.buffer).setUint32(0, index);
      return { pubkey, registered: false };
    });
    await guard.track(keys);
    expect(store.reads.map((page) => page.length)).toEqual([4_096, 904]);
    await guard.track([...keys, { pubkey: KEY, registered: false }]);
    expect(store.reads.map((page) => page.length)).toEqual([4_096, 904, 1]);
  });

  it("forgets one validator and reads its record anew when it comes back", async () => {
    const { guard, store } = await start();
    await asks(guard, block(5, 5));
    guard.forget(KEY);
    expect(await asks(guard, block(6, 6))).toBe("unknown_key");
    expect(await asks(guard, block(6, 6), OTHER_KEY)).toBe("signed");
    await guard.track([{ pubkey: KEY, registered: true }]);
    expect(await asks(guard, block(5, 6))).toBe("double_block_proposal");
    expect(await asks(guard, block(6, 6))).toBe("signed");
    expect(store.get(KEY)).toBeDefined();
  });

  it("stays safe when a validator is forgotten and tracked again while a request is under way", async () => {
    const { guard, store } = await start();
    const held = gate();
    store.scripts.push({ before: held.promise });
    const slow = asks(guard, block(5, 5));
    await hasSettled(slow);
    guard.forget(KEY);
    await guard.track([{ pubkey: KEY, registered: true }]);
    const other = asks(guard, block(5, 6));
    expect(await hasSettled(other)).toBe(false); // the validator's line outlives the forgetting
    held.resolve();
    expect(await slow).toBe("signed");
    expect(await other).toBe("double_block_proposal");
  });

  it("keeps the line of a validator when two trackings overlap", async () => {
    const store = createMemoryStore();
    const { guard } = watchedGuard(store);
    const reads = [gate(), gate()];
    let read = 0;
    store.readGate = () => (reads[read++] as PromiseWithResolvers<void>).promise;
    const trackings = [1, 2].map(() => guard.track([{ pubkey: KEY, registered: false }]));
    reads[0]?.resolve();
    await trackings[0];
    const stored = gate();
    store.calls.length = 0;
    store.scripts.push({ after: stored.promise });
    const first = asks(guard, block(5, 5));
    await hasSettled(first);
    reads[1]?.resolve();
    await trackings[1];
    const second = asks(guard, block(6, 6));
    expect(await hasSettled(second)).toBe(false);
    expect(store.calls.filter(({ expected }) => expected !== undefined)).toHaveLength(1);
    stored.resolve();
    expect(await Promise.all([first, second])).toEqual(["signed", "signed"]);
  });
});

describe("three enclaves at one store, in any interleaving", () => {
  const seen = { released: 0, repeated: 0, conflicts: 0 };

  it("never release a slashable pair, nor anything before its record, and trust an honest store", async () => {
    const check = fc.asyncProperty(fc.scheduler(), plans(HONEST_FATES), async (scheduler, plan) => {
      const outcome = await simulate(scheduler, plan);
      expect(outcome.slashable).toBeUndefined();
      expect(outcome.unrecorded).toEqual([]);
      expect(outcome.suspicions).toEqual([]);
      seen.released += outcome.released;
      seen.repeated += outcome.counts.repeated;
      seen.conflicts += outcome.counts.conflicts;
    });
    await fc.assert(check, { numRuns: 1_500 });
    // The property speaks of something.
    expect(seen.released).toBeGreaterThan(1_500);
    expect(seen.repeated).toBeGreaterThan(50);
    expect(seen.conflicts).toBeGreaterThan(500);
  });

  it("stay safe when a store's crash takes back what they have read but nobody was told is durable", async () => {
    const check = fc.asyncProperty(fc.scheduler(), plans(CRASHING_FATES), async (scheduler, plan) => {
      const outcome = await simulate(scheduler, plan);
      expect(outcome.slashable).toBeUndefined();
      expect(outcome.unrecorded).toEqual([]);
    });
    await fc.assert(check, { numRuns: 4_000 });
  });

  it.each(BROKEN_FATES)("would be seen to sign a slashable pair if the store broke its promise: %s", async (fate) => {
    const check = fc.asyncProperty(fc.scheduler(), plans(["true", fate]), async (scheduler, plan) => {
      expect((await simulate(scheduler, plan)).slashable).toBeUndefined();
    });
    const { failed, errorInstance } = await fc.check(check, { numRuns: 3_000, endOnFailure: true });
    expect(failed).toBe(true);
    expect(String(errorInstance)).toContain("to be undefined");
  });
});
