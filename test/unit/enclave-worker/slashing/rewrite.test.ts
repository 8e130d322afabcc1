/** Many records rewritten while enclaves sign: nothing that was recorded is lost, and whatever failed is named. */

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type RewriteOptions, rewriteRecords } from "#enclave/slashing/rewrite.ts";
import { toHex } from "#protocol/bytes.ts";
import { createRecordCodec } from "#protocol/slashing/record.ts";
import { EMPTY_STATE, isBehind, merge, type SlashingState } from "#protocol/slashing/rules.ts";
import { blockState, CODEC_OPTIONS, codec, filledBytes, validator } from "../../../helpers/guarded.ts";
import { createMemoryStore, type MemoryStore, UNKNOWN } from "../../../helpers/memory-store.ts";
import { anyState, stateIn } from "../../../helpers/operated.ts";

const KEY = validator(1);
const OTHER = validator(2);
const THIRD = validator(3);
/** Raises a block watermark to 10, of every validator. */
const raise = (_pubkey: Uint8Array, state: SlashingState = EMPTY_STATE): SlashingState =>
  merge(state, { block: { slot: 10 }, control: state.control });
const put = (store: MemoryStore, pubkey: Uint8Array, state: SlashingState): void =>
  store.put(pubkey, codec.encode(pubkey, state));
const rewrite = (store: MemoryStore, options: Partial<RewriteOptions> & Pick<RewriteOptions, "pubkeys">) =>
  rewriteRecords({ transform: raise, overwriteUnverifiable: false, ...options }, { store, codec });
const storeOf = (...states: [Uint8Array, SlashingState][]): MemoryStore => {
  const store = createMemoryStore();
  for (const [pubkey, state] of states) put(store, pubkey, state);
  return store;
};

describe("a rewrite", () => {
  it("writes what changes, makes what is absent, and says how many", async () => {
    const store = storeOf([KEY, blockState(5, 1)], [OTHER, { ...EMPTY_STATE, block: { slot: 10 } }]);
    const report = await rewrite(store, { pubkeys: [KEY, OTHER, THIRD] });
    expect(report).toEqual({ written: 2, unchanged: 1, failures: [] });
    for (const key of [KEY, OTHER, THIRD]) expect(stateIn(store, key).block).toEqual({ slot: 10 });
  });

  it("of nobody asks nobody", async () => {
    const store = createMemoryStore();
    expect(await rewrite(store, { pubkeys: [] })).toEqual({ written: 0, unchanged: 0, failures: [] });
    expect(store.reads).toEqual([]);
  });

  it("of more validators than a page reads page by page, each once", async () => {
    const store = createMemoryStore();
    const pubkeys = Array.from({ length: 2_500 }, (_, index) => {
      const pubkey = filledBytes(0, 48);
      new DataView(pubkey.buffer).setUint32(0, index);
      return pubkey;
    });
    expect(await rewrite(store, { pubkeys })).toEqual({ written: 2_500, unchanged: 0, failures: [] });
    expect(Math.max(...store.reads.map((page) => page.length))).toBeLessThanOrEqual(1024);
    expect(store.reads.flat()).toEqual(pubkeys.map(toHex));
  });

  it("of one validator named twice ends with one record that says it", async () => {
    const store = storeOf([KEY, blockState(5, 1)]);
    expect(await rewrite(store, { pubkeys: [KEY, KEY] })).toEqual({ written: 1, unchanged: 1, failures: [] });
  });

  it("writes an unchanged record onto itself: one that was only read may not be durable yet", async () => {
    const unchanged: SlashingState = { ...EMPTY_STATE, block: { slot: 10 } };
    const store = storeOf([KEY, unchanged], [OTHER, unchanged]);
    store.script = ({ keyHex }) => (keyHex === toHex(KEY) ? { effect: "never", answer: UNKNOWN } : {});
    const report = await rewrite(store, { pubkeys: [KEY, OTHER] });
    expect(report).toMatchObject({ written: 0, unchanged: 1, failures: [{ pubkeyHex: toHex(KEY) }] });
    expect(store.calls).toHaveLength(2);
    for (const call of store.calls) expect(call.next).toEqual(call.expected);
  });

  it("names those that the transform refuses and goes on with the others", async () => {
    const store = storeOf([KEY, blockState(5, 1)], [THIRD, blockState(5, 1)]);
    const transform: RewriteOptions["transform"] = (pubkey, state) =>
      state === undefined ? { refused: "not registered" } : raise(pubkey, state);
    expect(await rewrite(store, { pubkeys: [KEY, OTHER, THIRD], transform })).toEqual({
      written: 2,
      unchanged: 0,
      failures: [{ pubkeyHex: toHex(OTHER), reason: "not registered" }],
    });
    expect(store.get(OTHER)).toBeUndefined();
  });
});

describe("a rewrite under signing enclaves", () => {
  it("takes in what another one wrote between read and write", async () => {
    const store = storeOf([KEY, blockState(5, 1)]);
    const races = [blockState(7, 2), { ...blockState(12, 3), control: { generation: 1, disabled: true } }];
    store.script = () => {
      const raced = races.shift();
      if (raced !== undefined) put(store, KEY, raced);
      return {};
    };
    expect(await rewrite(store, { pubkeys: [KEY] })).toEqual({ written: 0, unchanged: 1, failures: [] });
    expect(stateIn(store, KEY)).toEqual({ ...blockState(12, 3), control: { generation: 1, disabled: true } });
    expect(store.calls).toHaveLength(3);
  });

  it("starts anew when the record is gone by then", async () => {
    const store = storeOf([KEY, blockState(12, 1)]);
    store.scripts.push({ before: Promise.resolve().then(() => store.put(KEY, undefined)) });
    expect(await rewrite(store, { pubkeys: [KEY] })).toMatchObject({ written: 1 });
    expect(stateIn(store, KEY).block).toEqual({ slot: 10 });
  });

  it("gives a validator up whose record keeps changing, after a bounded number of attempts", async () => {
    const store = storeOf([KEY, EMPTY_STATE], [OTHER, EMPTY_STATE]);
    let slot = 20;
    store.script = ({ keyHex }) => {
      slot += 1;
      if (keyHex === toHex(KEY)) put(store, KEY, blockState(slot, 1));
      return {};
    };
    expect(await rewrite(store, { pubkeys: [KEY, OTHER] })).toEqual({
      written: 1,
      unchanged: 0,
      failures: [{ pubkeyHex: toHex(KEY), reason: "the record keeps changing, try again" }],
    });
    expect(store.calls.filter(({ keyHex }) => keyHex === toHex(KEY))).toHaveLength(8);
  });

  it("never lowers what anybody wrote, whoever writes when", async () => {
    await fc.assert(
      fc.asyncProperty(anyState, fc.array(anyState, { maxLength: 6 }), async (first, racing) => {
        const store = storeOf([KEY, first]);
        const seen: SlashingState[] = [first];
        const left = [...racing];
        store.script = () => {
          const raced = left.shift();
          if (raced === undefined) return {};
          const next = merge(stateIn(store, KEY), raced); // as every enclave writes
          put(store, KEY, next);
          seen.push(next);
          return {};
        };
        const { written, unchanged } = await rewrite(store, { pubkeys: [KEY] });
        expect(written + unchanged).toBe(1);
        const last = stateIn(store, KEY);
        for (const state of seen) expect(isBehind(last, state)).toBe(false);
        expect(last.block?.slot).toBeGreaterThanOrEqual(10);
      }),
    );
  });
});

describe("a store", () => {
  it.each([
    ["and wrote", {}],
    ["and did not write", { effect: "never" as const }],
  ])("that does not answer %s makes it a failure, and is not asked again", async (_name, effect) => {
    const store = storeOf([KEY, EMPTY_STATE]);
    store.scripts.push({ ...effect, answer: UNKNOWN });
    expect(await rewrite(store, { pubkeys: [KEY] })).toEqual({
      written: 0,
      unchanged: 0,
      failures: [{ pubkeyHex: toHex(KEY), reason: "the store did not answer: the test says so" }],
    });
    expect(store.calls).toHaveLength(1);
    expect(await rewrite(store, { pubkeys: [KEY] })).toMatchObject({ failures: [] });
  });

  it("that cannot be read ends it", async () => {
    const store = storeOf([KEY, EMPTY_STATE]);
    store.readGate = () => Promise.reject(new Error("gone"));
    await expect(rewrite(store, { pubkeys: [KEY] })).rejects.toThrow("gone");
    expect(store.calls).toEqual([]);
  });
});

describe("a record that cannot be verified", () => {
  const foreign = createRecordCodec({ ...CODEC_OPTIONS, macKeys: new Map([[1, filledBytes(0x12, 32)]]) });
  const ROWS: [string, Uint8Array][] = [
    ["of another MAC key", foreign.encode(KEY, blockState(500, 1))],
    ["of another validator", codec.encode(OTHER, blockState(500, 1))],
    ["of garbage", filledBytes(0xee, 136)],
    ["of nothing", new Uint8Array()],
  ];

  it.each(ROWS)("%s is kept as it is and named", async (_name, bytes) => {
    const store = storeOf([OTHER, EMPTY_STATE]);
    store.put(KEY, bytes);
    const report = await rewrite(store, { pubkeys: [KEY, OTHER] });
    expect(report).toEqual({
      written: 1,
      unchanged: 0,
      failures: [{ pubkeyHex: toHex(KEY), reason: expect.stringMatching(/./) }],
    });
    expect(store.get(KEY)).toEqual(new Uint8Array(bytes));
  });

  it.each(ROWS)("%s counts as absent under recover", async (_name, bytes) => {
    const store = createMemoryStore();
    store.put(KEY, bytes);
    const asked: (SlashingState | undefined)[] = [];
    const transform: RewriteOptions["transform"] = (pubkey, state) => {
      asked.push(state);
      return raise(pubkey, state);
    };
    expect(await rewrite(store, { pubkeys: [KEY], transform, overwriteUnverifiable: true })).toMatchObject({
      written: 1,
    });
    expect(asked).toEqual([undefined]);
    expect(stateIn(store, KEY).block).toEqual({ slot: 10 });
  });

  it("that comes up in a race is not overwritten either", async () => {
    const store = storeOf([KEY, EMPTY_STATE]);
    store.script = () => {
      store.put(KEY, filledBytes(0xee, 136));
      return {};
    };
    expect(await rewrite(store, { pubkeys: [KEY] })).toMatchObject({
      written: 0,
      failures: [{ pubkeyHex: toHex(KEY) }],
    });
    expect(store.get(KEY)).toEqual(filledBytes(0xee, 136));
  });
});
