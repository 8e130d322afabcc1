/** The marker as an enclave keeps it: what it finds, and how it changes it without undoing what others did. */

import { describe, expect, it } from "vitest";
import { createMarkerKeeper } from "#enclave/slashing/marker-keeper.ts";
import { encodeMarker, type Marker, newMarker } from "#protocol/slashing/marker.ts";
import { CODEC_OPTIONS, filledBytes } from "../../../helpers/guarded.ts";
import { createMemoryStore, type MemoryStore, UNKNOWN } from "../../../helpers/memory-store.ts";
import { MAC_KEYS, markerOf, WALL_CLOCK_MS } from "../../../helpers/operated.ts";

const { storeId, genesisValidatorsRoot } = CODEC_OPTIONS;
const MARKER: Marker = {
  ...newMarker(storeId, { genesisValidatorsRoot, nowMs: WALL_CLOCK_MS }),
  commandSequence: 7,
  configVersionMin: 1,
};
const NOW_SECONDS = 1_700_000_000;
const bytesOf = (change: Partial<Marker> = {}, keys = MAC_KEYS): Uint8Array =>
  new Uint8Array(encodeMarker({ ...MARKER, ...change }, keys));
const start = (markerBytes?: Uint8Array, wallClockMs = WALL_CLOCK_MS) => {
  const store: MemoryStore = Object.assign(createMemoryStore(), { markerBytes });
  const keeper = createMarkerKeeper(
    { expected: { storeId, genesisValidatorsRoot, configVersion: 1 }, macKeys: () => MAC_KEYS },
    { store, wallClock: () => wallClockMs },
  );
  return { store, keeper };
};
/** Has the next write of the marker answered in another way. */
const answerOnce = (store: MemoryStore, write: MemoryStore["compareAndSetMarker"]): void => {
  const real = store.compareAndSetMarker;
  store.compareAndSetMarker = (expected, next) => {
    store.compareAndSetMarker = real;
    return write(expected, next);
  };
};

describe("find", () => {
  const flipped = bytesOf();
  flipped[30] = (flipped[30] ?? 0) ^ 1;
  const otherKey = { macKeys: new Map([[1, filledBytes(0x12, 32)]]), writingKeyId: 1 };
  it.each([
    ["nothing", undefined, { kind: "absent" }],
    ["our marker", bytesOf(), { kind: "ok", marker: MARKER, macKeyId: 1, bytes: bytesOf() }],
    ["an altered one", flipped, { kind: "refused", genuine: false, bytes: flipped, reason: /MAC does not match/ }],
    ["another MAC key's", bytesOf({}, otherKey), { kind: "refused", genuine: false, reason: /MAC does not match/ }],
    ["garbage", filledBytes(1, 3), { kind: "refused", genuine: false, reason: /length/ }],
    ["another store's", bytesOf({ storeId: filledBytes(9, 16) }), { kind: "refused", genuine: true, reason: /0x0909/ }],
    [
      "another chain's",
      bytesOf({ genesisValidatorsRoot: filledBytes(9, 32) }),
      { kind: "refused", genuine: true, reason: /0x0909/ },
    ],
    [
      "a later configuration's",
      bytesOf({ configVersionMin: 2 }),
      { kind: "refused", genuine: true, reason: /below the minimum 2/ },
    ],
  ])("tells %s", async (_name, bytes, wanted) => {
    const { keeper, store } = start(bytes);
    const { reason, ...found } = { reason: undefined, ...(await keeper.find()) };
    const { reason: pattern, ...rest } = { reason: undefined, ...wanted };
    expect(found).toMatchObject(rest);
    if (pattern !== undefined) expect(reason).toMatch(pattern);
    expect(store.markerBytes).toBe(bytes);
  });
});

it("tells the key of a marker that verifies before anything is written in its place, and of no other", async () => {
  const accepted = new Map([...MAC_KEYS.macKeys, [2, filledBytes(0x12, 32)]]);
  for (const [bytes, told] of [
    [bytesOf({}, { macKeys: accepted, writingKeyId: 2 }), [2]],
    [bytesOf({}, { macKeys: new Map([[3, filledBytes(0x13, 32)]]), writingKeyId: 3 }), []],
    [undefined, []],
  ] as const) {
    const seen: number[] = [];
    const store = Object.assign(createMemoryStore(), { markerBytes: bytes });
    let writingKeyId = 1;
    const keeper = createMarkerKeeper(
      {
        expected: { storeId, genesisValidatorsRoot, configVersion: 1 },
        macKeys: () => ({ macKeys: accepted, writingKeyId }),
        onMacKey: (id) => {
          seen.push(id);
          writingKeyId = id;
        },
      },
      { store, wallClock: () => WALL_CLOCK_MS },
    );
    const found = await keeper.find();
    expect(seen).toEqual(told);
    if (found.kind !== "ok") continue;
    await keeper.raiseSuspicion();
    expect(Buffer.from(store.markerBytes as Uint8Array).readUInt16BE(77)).toBe(2);
  }
});

describe("create", () => {
  it("writes the first marker and tells it", async () => {
    const { keeper, store } = start();
    const found = await keeper.create(genesisValidatorsRoot);
    expect(found).toMatchObject({ kind: "ok", marker: { createdUnixSeconds: NOW_SECONDS, commandSequence: 0 } });
    expect(await keeper.find()).toEqual({ ...found, bytes: store.markerBytes });
  });

  it("finds the one of an enclave that was faster, and leaves it alone", async () => {
    for (const [bytes, kind] of [
      [bytesOf(), "ok"],
      [bytesOf({ storeId: filledBytes(9, 16) }), "refused"],
    ] as const) {
      const { keeper, store } = start(bytes);
      expect((await keeper.create(genesisValidatorsRoot)).kind).toBe(kind);
      expect(store.markerBytes).toBe(bytes);
    }
  });

  it("fails when the store does not answer", async () => {
    const { keeper, store } = start();
    answerOnce(store, async () => UNKNOWN);
    await expect(keeper.create(genesisValidatorsRoot)).rejects.toMatchObject({ code: "unavailable" });
  });
});

describe("replace", () => {
  const next = { ...MARKER, commandSequence: 8 };

  it("writes in place of what was found, be it nothing or unreadable", async () => {
    for (const bytes of [bytesOf(), undefined, filledBytes(1, 3)]) {
      const { keeper, store } = start(bytes);
      expect(await keeper.replace(await keeper.find(), next)).toBe(true);
      expect(markerOf(store)).toEqual(next);
    }
  });

  it("leaves alone what came there meanwhile", async () => {
    for (const [found, later] of [
      [bytesOf(), bytesOf({ commandSequence: 9 })],
      [bytesOf(), undefined],
      [undefined, bytesOf()],
    ]) {
      const { keeper, store } = start(found);
      const before = await keeper.find();
      store.markerBytes = later;
      expect(await keeper.replace(before, next)).toBe(false);
      expect(store.markerBytes).toBe(later);
    }
  });

  it("says when the outcome is not known", async () => {
    const { keeper, store } = start(bytesOf());
    answerOnce(store, async () => UNKNOWN);
    await expect(keeper.replace(await keeper.find(), next)).rejects.toMatchObject({ code: "unknown_outcome" });
  });
});

describe("a suspicion", () => {
  it("is written into the marker with its time; the rest of it stays", async () => {
    const { keeper, store } = start(bytesOf());
    await keeper.raiseSuspicion();
    expect(markerOf(store)).toEqual({ ...MARKER, suspectSinceUnixSeconds: NOW_SECONDS });
  });

  it("that is there already keeps its time", async () => {
    const { keeper, store } = start(bytesOf({ suspectSinceUnixSeconds: 5 }));
    await keeper.raiseSuspicion();
    expect(markerOf(store).suspectSinceUnixSeconds).toBe(5);
  });

  it("is one at the beginning of time, too", async () => {
    const { keeper, store } = start(bytesOf(), 0);
    await keeper.raiseSuspicion();
    expect(markerOf(store).suspectSinceUnixSeconds).toBe(1);
  });

  it.each([
    ["no marker", undefined],
    ["a marker that is not ours", bytesOf({ storeId: filledBytes(9, 16) })],
    ["garbage", filledBytes(1, 3)],
  ])("over %s writes nothing", async (_name, bytes) => {
    const { keeper, store } = start(bytes);
    await keeper.raiseSuspicion();
    expect(store.markerBytes).toBe(bytes);
  });

  it("that loses a race undoes nothing, and is written at the next look", async () => {
    const { keeper, store } = start(bytesOf());
    const later = { ...MARKER, commandSequence: 8 };
    const real = store.compareAndSetMarker;
    answerOnce(store, async (expected, next) => {
      store.markerBytes = bytesOf(later);
      return real(expected, next);
    });
    await keeper.raiseSuspicion();
    expect(markerOf(store)).toEqual(later);
    await keeper.raiseSuspicion();
    expect(markerOf(store)).toEqual({ ...later, suspectSinceUnixSeconds: NOW_SECONDS });
  });
});
