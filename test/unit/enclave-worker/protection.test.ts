/** Which slashing store an enclave accepts, and how an unknown chain is settled. */

import { describe, expect, it } from "vitest";
import { createProtection, type Protection, type ProtectionOptions } from "#enclave/slashing/protection.ts";
import type { SignerError } from "#protocol/errors.ts";
import { decodeMarker, encodeMarker, type Marker } from "#protocol/slashing/marker.ts";
import { EMPTY_STATE } from "#protocol/slashing/rules.ts";
import type { Durability } from "#protocol/slashing/store.ts";
import { ask, block, CODEC_OPTIONS, codec, filledBytes, resultOf, validator } from "../../helpers/guarded.ts";
import { createMemoryStore, type MemoryStore, UNKNOWN } from "../../helpers/memory-store.ts";

const KEY = validator(1);
const KEYS = [{ pubkey: KEY, registered: false }];
const ROOT = CODEC_OPTIONS.genesisValidatorsRoot;
const OTHER_ROOT = filledBytes(0x77, 32);
const MAC_KEYS = { macKeys: CODEC_OPTIONS.macKeys, writingKeyId: 1 };
const MARKER: Marker = {
  storeId: CODEC_OPTIONS.storeId,
  genesisValidatorsRoot: ROOT,
  configVersionMin: 0,
  createdUnixSeconds: 1_700_000_000,
  commandSequence: 0,
  suspectSinceUnixSeconds: 0,
  recoverySequence: 0,
};
const marker = (change: Partial<Marker> = {}, keys = MAC_KEYS) => encodeMarker({ ...MARKER, ...change }, keys);

const make = (store: MemoryStore, change: Partial<ProtectionOptions> = {}) => {
  const suspicions: string[] = [];
  const protection = createProtection(
    {
      slotsPerEpoch: 32,
      storeId: CODEC_OPTIONS.storeId,
      genesisValidatorsRoot: ROOT,
      macKeys: { macKeys: new Map([[1, filledBytes(0x11, 32)]]), writingKeyId: 1 },
      initialise: true,
      ...change,
    },
    {
      store,
      now: () => performance.now(),
      wallClock: () => 1_700_000_000_999,
      count: () => undefined,
      onSuspect: (reason) => suspicions.push(reason),
    },
  );
  return { protection, suspicions };
};
const storeWith = (markerBytes: Uint8Array | undefined): MemoryStore =>
  Object.assign(createMemoryStore(), { markerBytes });
/** What becomes of a block of this chain, asked for as the pipeline does. */
const signs = async (
  { protection }: { protection: Protection },
  root: Uint8Array = ROOT,
  { slot = 5, pubkey = KEY } = {},
): Promise<string> => {
  try {
    if (!(await protection.isOwnChain(root))) return "another chain";
    return await resultOf(ask(protection.guard(), { pubkey, candidate: block(slot, slot) }));
  } catch (error) {
    return (error as SignerError).code;
  }
};
const codeOf = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => "resolved",
    (error: { code: string }) => error.code,
  );

describe("the marker", () => {
  it("is created for the known chain on the first start, before any record", async () => {
    const store = createMemoryStore();
    const made = make(store);
    expect(made.protection.initialised).toBe(false);
    await made.protection.activate(KEYS);
    expect(decodeMarker(store.markerBytes as Uint8Array, MAC_KEYS)).toMatchObject({ kind: "marker", marker: MARKER });
    expect(made.protection.initialised).toBe(true);
    expect(made.protection.problem).toBeUndefined();
    expect(made.protection.genesisValidatorsRoot).toEqual(ROOT);
    expect(codec.decode(KEY, store.get(KEY) as Uint8Array)).toMatchObject({ state: EMPTY_STATE });
    expect(await signs(made)).toBe("signed");
    expect(await signs(made, OTHER_ROOT)).toBe("another chain");
  });

  it("is read and left alone on every later start", async () => {
    const store = storeWith(marker());
    const made = make(store, { initialise: false });
    await made.protection.activate(KEYS);
    expect(store.markerBytes).toEqual(marker());
    expect(await signs(made)).toBe("signed");
  });

  it("tells the chain to an enclave that does not know it", async () => {
    const made = make(storeWith(marker()), { initialise: false, genesisValidatorsRoot: undefined });
    await made.protection.activate(KEYS);
    expect(made.protection.genesisValidatorsRoot).toEqual(ROOT);
    expect(await signs(made, OTHER_ROOT)).toBe("another chain");
    expect(await signs(made)).toBe("signed");
  });

  const otherKeys = { macKeys: new Map([[1, filledBytes(0x12, 32)]]), writingKeyId: 1 };
  const otherKeyId = { macKeys: new Map([[2, filledBytes(0x11, 32)]]), writingKeyId: 2 };
  const flipped = marker();
  flipped[30] = (flipped[30] ?? 0) ^ 1;
  const ROWS: [name: string, bytes: Uint8Array, reason: RegExp][] = [
    ["names another store", marker({ storeId: filledBytes(9, 16) }), /the store is 0x0909.*expected 0x3333/],
    [
      "is for another chain",
      marker({ genesisValidatorsRoot: OTHER_ROOT }),
      /protects the chain 0x7777.*expected 0x2222/,
    ],
    ["is under another MAC key", marker({}, otherKeys), /MAC does not match/],
    ["is under a MAC key of another id", marker({}, otherKeyId), /MAC key id 2 is not accepted/],
    ["was altered", flipped, /MAC does not match/],
    ["is cut short", marker().subarray(0, 94), /length/],
    [
      "asks for a later configuration",
      marker({ configVersionMin: 2 }),
      /configuration version 1 is below the minimum 2/,
    ],
  ];
  it.each(ROWS)("is refused when it %s, and nothing is written", async (_name, bytes, reason) => {
    for (const initialise of [true, false]) {
      const store = storeWith(bytes);
      const made = make(store, { initialise });
      await made.protection.activate(KEYS);
      await made.protection.activate(KEYS);
      expect(made.protection.problem).toMatch(reason);
      expect(made.suspicions).toEqual([made.protection.problem]);
      expect(made.protection.initialised).toBe(false);
      expect(await signs(made)).toBe("store_suspect");
      expect(await signs(made, OTHER_ROOT)).toBe("another chain");
      expect(store.markerBytes).toBe(bytes);
      expect(store.reads).toEqual([]);
      expect(store.calls).toEqual([]);
    }
  });

  it("of the lowest configuration version that this build has is accepted", async () => {
    const made = make(storeWith(marker({ configVersionMin: 1 })));
    await made.protection.activate(KEYS);
    expect(await signs(made)).toBe("signed");
  });

  it("that is missing is data loss, once the data folder has used the store", async () => {
    for (const [genesisValidatorsRoot, refusal] of [
      [ROOT, "store_suspect"],
      [undefined, "unavailable"], // nobody knows whether it is our chain
    ] as const) {
      const store = createMemoryStore();
      const made = make(store, { initialise: false, genesisValidatorsRoot });
      await made.protection.activate(KEYS);
      expect(made.protection.problem).toMatch(/its data was lost/);
      expect(made.suspicions).toHaveLength(1);
      expect(await signs(made)).toBe(refusal);
      expect(store.markerBytes).toBeUndefined();
      expect(store.calls).toEqual([]);
    }
  });

  it("that the store may or may not have written is tried again", async () => {
    const store = createMemoryStore();
    const write = store.compareAndSetMarker;
    store.compareAndSetMarker = async (expected, next) => {
      await write(expected, next);
      store.compareAndSetMarker = write;
      return UNKNOWN;
    };
    const made = make(store);
    expect(await codeOf(made.protection.activate(KEYS))).toBe("unavailable");
    expect(made.protection.initialised).toBe(false);
    expect(made.protection.problem).toBeUndefined();
    await made.protection.activate(KEYS);
    expect(await signs(made)).toBe("signed");
  });

  it("of a racing enclave is taken over, and refused when it is wrong", async () => {
    for (const [theirs, result] of [
      [marker(), "signed"],
      [marker({ genesisValidatorsRoot: OTHER_ROOT }), "store_suspect"],
    ] as const) {
      const store = createMemoryStore();
      store.marker = async () => undefined; // read before the other enclave wrote
      store.markerBytes = theirs;
      const made = make(store);
      await made.protection.activate(KEYS);
      expect(await signs(made)).toBe(result);
      expect(store.markerBytes).toBe(theirs);
    }
  });
});

describe("records", () => {
  it("of registered keys that are gone make the store suspect, and the enclave says so", async () => {
    const store = storeWith(marker());
    const made = make(store, { initialise: false });
    await made.protection.activate([{ pubkey: KEY, registered: true }]);
    expect(made.protection.problem).toMatch(/is gone from the store/);
    expect(made.suspicions).toHaveLength(1);
    expect(await signs(made)).toBe("store_suspect");
    expect(await signs(made, OTHER_ROOT)).toBe("another chain");
    expect(store.calls).toEqual([]);
  });

  it("of keys that were added are read by the next activation; forgotten keys are not signed for", async () => {
    const made = make(createMemoryStore());
    await made.protection.activate([]);
    expect(await signs(made)).toBe("unknown_key");
    await made.protection.activate(KEYS);
    expect(await signs(made)).toBe("signed");
    made.protection.forget(KEY);
    expect(await signs(made)).toBe("unknown_key");
  });
});

describe("durability", () => {
  it("that is not there in time makes the enclave unavailable, and nothing is read", async () => {
    const store = createMemoryStore();
    store.durable = { ok: false, reason: "appendfsync is everysec" };
    let nowMs = 0;
    const protection = createProtection(
      {
        slotsPerEpoch: 32,
        storeId: CODEC_OPTIONS.storeId,
        genesisValidatorsRoot: ROOT,
        macKeys: { macKeys: new Map([[1, filledBytes(0x11, 32)]]), writingKeyId: 1 },
        initialise: true,
      },
      {
        store,
        now: () => {
          nowMs += 1_000;
          return nowMs;
        },
        wallClock: () => 0,
        count: () => undefined,
        onSuspect: () => undefined,
      },
    );
    await expect(protection.activate(KEYS)).rejects.toMatchObject({
      code: "unavailable",
      detail: "slashing store: appendfsync is everysec",
    });
    expect(nowMs).toBeLessThanOrEqual(7_000);
    expect(store.markerBytes).toBeUndefined();
    expect(store.reads).toEqual([]);
    expect(await signs({ protection })).toBe("store_suspect"); // fails closed
    store.durable = { ok: true };
    await protection.activate(KEYS);
    expect(await signs({ protection })).toBe("signed");
  });

  it("that comes with the store's first connection is waited for", async () => {
    const store = createMemoryStore();
    let asked = 0;
    store.durability = async () => {
      asked += 1;
      return asked < 3 ? { ok: false, reason: "not connected yet" } : { ok: true };
    };
    await make(store).protection.activate(KEYS);
    expect(asked).toBe(3);
  });
});

describe("the store's health", () => {
  it("is looked at in the background, one look at a time, and told until it is well again", async () => {
    const store = createMemoryStore();
    const made = make(store);
    await made.protection.activate(KEYS);
    const looks: PromiseWithResolvers<Durability>[] = [];
    store.durability = () => {
      const look = Promise.withResolvers<Durability>();
      looks.push(look);
      return look.promise;
    };
    made.protection.refreshHealth();
    made.protection.refreshHealth();
    expect(looks).toHaveLength(1);
    expect(made.protection.problem).toBeUndefined();
    looks[0]?.resolve({ ok: false, reason: "no connection" });
    await new Promise((resolve) => setImmediate(resolve));
    expect(made.protection.problem).toBe("slashing store: no connection");
    expect(made.suspicions).toEqual([]);
    expect(await signs(made)).toBe("signed"); // the store's own answer decides
    made.protection.refreshHealth();
    looks[1]?.resolve({ ok: true });
    await new Promise((resolve) => setImmediate(resolve));
    expect(made.protection.problem).toBeUndefined();
  });
});

describe("an unknown chain", () => {
  const unknown = { genesisValidatorsRoot: undefined };

  it("is pinned by the first request, and not before", async () => {
    const store = createMemoryStore();
    const made = make(store, unknown);
    await made.protection.activate(KEYS);
    expect(made.protection.initialised).toBe(false);
    expect(store.markerBytes).toBeUndefined();
    expect(store.calls).toEqual([]);
    expect(await signs(made, OTHER_ROOT)).toBe("signed");
    expect(made.protection.genesisValidatorsRoot).toEqual(OTHER_ROOT);
    expect(made.protection.initialised).toBe(true);
    expect(await signs(made, ROOT)).toBe("another chain");
  });

  it("is not pinned before the store was verified, and a known chain never", async () => {
    for (const [options, results] of [
      [unknown, ["unavailable", "unavailable"]],
      [{}, ["another chain", "store_suspect"]],
    ] as const) {
      const store = createMemoryStore();
      const made = make(store, options);
      expect([await signs(made, OTHER_ROOT), await signs(made)]).toEqual(results);
      expect(store.markerBytes).toBeUndefined();
    }
  });

  it.each([0, 1])("that two enclaves pin at the same time becomes the chain of the faster one (%i)", async (winner) => {
    const store = createMemoryStore();
    const roots = [ROOT, OTHER_ROOT];
    const enclaves = [make(store, unknown), make(store, unknown)] as const;
    for (const { protection } of enclaves) await protection.activate(KEYS);
    // Both have seen an empty store; their markers arrive in either order.
    const write = store.compareAndSetMarker;
    const written = Promise.withResolvers<void>();
    let calls = 0;
    store.compareAndSetMarker = async (expected, next) => {
      calls += 1;
      if (calls !== winner + 1) await written.promise;
      const result = await write(expected, next);
      written.resolve();
      return result;
    };
    const results = await Promise.all(enclaves.map((made, index) => signs(made, roots[index], { slot: 5 + index })));
    expect(results[winner]).toBe("signed");
    expect(results[1 - winner]).toBe("another chain");
    for (const made of enclaves) {
      expect(made.protection.genesisValidatorsRoot).toEqual(roots[winner]);
      expect(await signs(made, roots[1 - winner], { slot: 9 })).toBe("another chain");
      expect(made.suspicions).toEqual([]);
    }
    expect(await signs(enclaves[0], roots[winner], { slot: 10 })).toBe("signed");
    expect(await signs(enclaves[1], roots[winner], { slot: 11 })).toBe("signed");
  });

  it("that two requests of one enclave name differently is pinned once", async () => {
    const store = createMemoryStore();
    const write = store.compareAndSetMarker;
    let writes = 0;
    store.compareAndSetMarker = (expected, next) => {
      writes += 1;
      return write(expected, next);
    };
    const made = make(store, unknown);
    await made.protection.activate(KEYS);
    const results = await Promise.all([signs(made, ROOT), signs(made, OTHER_ROOT), signs(made, ROOT, { slot: 6 })]);
    expect(results).toEqual(["signed", "another chain", "signed"]);
    expect(writes).toBe(1);
  });

  it("is pinned without the keys that were forgotten before", async () => {
    const store = createMemoryStore();
    const made = make(store, unknown);
    await made.protection.activate([...KEYS, { pubkey: validator(2), registered: false }]);
    made.protection.forget(KEY);
    expect(await signs(made)).toBe("unknown_key");
    expect(await signs(made, ROOT, { pubkey: validator(2) })).toBe("signed");
    expect(store.get(KEY)).toBeUndefined();
  });

  it("can be pinned again after the store did not answer", async () => {
    const store = createMemoryStore();
    const write = store.compareAndSetMarker;
    store.compareAndSetMarker = async () => UNKNOWN;
    const made = make(store, unknown);
    await made.protection.activate(KEYS);
    expect(await signs(made)).toBe("unavailable");
    store.compareAndSetMarker = write;
    expect(await signs(made, OTHER_ROOT)).toBe("signed");
  });

  it("pinned while keys are added keeps one guard that knows them all", async () => {
    const store = createMemoryStore();
    const made = make(store, unknown);
    await made.protection.activate([]);
    // The request's marker is in the store, its guard is still reading when the activation comes.
    const write = store.compareAndSetMarker;
    const answered = Promise.withResolvers<void>();
    store.compareAndSetMarker = async (expected, next) => {
      const result = await write(expected, next);
      await answered.promise;
      return result;
    };
    const pinned = made.protection.isOwnChain(ROOT);
    const activated = made.protection.activate(KEYS); // waits its turn
    answered.resolve();
    expect(await pinned).toBe(true);
    const before = made.protection.guard();
    await activated;
    expect(made.protection.guard()).toBe(before);
    expect(await signs(made)).toBe("signed");
  });

  it("pinned while keys are added never loses them, whichever reads last", async () => {
    const store = createMemoryStore();
    const made = make(store, unknown);
    await made.protection.activate(KEYS);
    const more = [...KEYS, { pubkey: validator(2), registered: false }];
    const read = Promise.withResolvers<void>();
    store.readGate = () => read.promise;
    const pinned = made.protection.isOwnChain(ROOT); // reads the first key only
    await new Promise((resolve) => setImmediate(resolve));
    store.readGate = () => Promise.resolve();
    const activated = made.protection.activate(more); // waits its turn
    read.resolve();
    await Promise.all([pinned, activated]);
    expect(await signs(made, ROOT, { pubkey: validator(2) })).toBe("signed");
    expect(await signs(made)).toBe("signed");
  });
});
