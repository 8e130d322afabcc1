/** What an enclave says of its store: whether another one may do better. */

import { describe, expect, it } from "vitest";
import { createProtection } from "#enclave/slashing/protection.ts";
import type { Durability } from "#protocol/slashing/store.ts";
import { ask, attestation, CODEC_OPTIONS, filledBytes, validator } from "../../../helpers/guarded.ts";
import { createMemoryStore, type MemoryStore } from "../../../helpers/memory-store.ts";

const KEY = validator(1);
const protect = async (store: MemoryStore, options: { initialise: boolean } = { initialise: true }) => {
  const protection = createProtection(
    {
      slotsPerEpoch: 32,
      storeId: CODEC_OPTIONS.storeId,
      genesisValidatorsRoot: CODEC_OPTIONS.genesisValidatorsRoot,
      macKeys: { macKeys: new Map([[1, filledBytes(0x11, 32)]]), writingKeyId: 1 },
      ...options,
    },
    {
      store,
      now: () => performance.now(),
      wallClock: () => 1_700_000_000_000,
      count: () => undefined,
      onSuspect: () => undefined,
    },
  );
  await protection.activate([{ pubkey: KEY, registered: false }]);
  return protection;
};

describe("an enclave", () => {
  it("that has said nothing yet, or is well, reaches its store", async () => {
    expect((await protect(createMemoryStore())).reachesStore).toBe(true);
  });

  it.each<[string, () => Promise<Durability>]>([
    ["does not answer", () => Promise.reject(new Error("no connection"))],
    ["is too weak", async () => ({ ok: false, reason: "appendfsync is everysec" })],
  ])("whose store %s does not reach it, until it does", async (_what, durability) => {
    const store = createMemoryStore();
    const protection = await protect(store);
    const sound = store.durability;
    store.durability = durability;
    protection.refreshHealth();
    await expect.poll(() => protection.reachesStore).toBe(false);
    store.durability = sound;
    protection.refreshHealth();
    await expect.poll(() => protection.reachesStore).toBe(true);
  });

  it("that suspects its store goes on to be asked: its marker is lost", async () => {
    const protection = await protect(createMemoryStore(), { initialise: false });
    expect([protection.problem, protection.reachesStore]).toEqual([expect.stringMatching(/data was lost/), true]);
  });

  it("that suspects its store goes on to be asked: a record is gone, and the store is away, too", async () => {
    const store = createMemoryStore();
    const protection = await protect(store);
    store.put(KEY, undefined);
    await expect(ask(protection.guard(), { pubkey: KEY, candidate: attestation(1, 2, 3) })).rejects.toMatchObject({
      code: "store_suspect",
    });
    store.durability = () => Promise.reject(new Error("no connection"));
    protection.refreshHealth();
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect([protection.problem, protection.reachesStore]).toEqual([expect.stringMatching(/is gone/), true]);
  });
});
