import { describe, expect, it } from "vitest";
import { createSharedArena } from "#enclave/keys/arena.ts";

const secret = (byte: number) => new Uint8Array(32).fill(byte);
const slotBytes = (memory: SharedArrayBuffer, slot: number) => new Uint8Array(memory, slot * 32, 32).slice();

describe("an arena", () => {
  it("keeps each secret in a slot of its own", () => {
    const arena = createSharedArena();
    const slots = [1, 2, 3].map((byte) => arena.store(secret(byte)));
    expect(new Set(slots).size).toBe(3);
    expect(slots.map((slot) => slotBytes(arena.memory, slot))).toEqual([secret(1), secret(2), secret(3)]);
  });

  it("copies: the caller's bytes may be wiped", () => {
    const arena = createSharedArena();
    const mine = secret(1);
    const slot = arena.store(mine);
    mine.fill(0);
    expect(slotBytes(arena.memory, slot)).toEqual(secret(1));
  });

  it("zeroises an erased slot before it gives it out again", () => {
    const arena = createSharedArena({ slotsMax: 1 });
    const slot = arena.store(secret(1));
    expect(() => arena.store(secret(2))).toThrow(/limit of 1 keys/);
    arena.erase(slot);
    expect(slotBytes(arena.memory, slot)).toEqual(secret(0));
    expect(arena.store(secret(2))).toBe(slot);
  });

  it("grows in place up to its limit, and no further", () => {
    const arena = createSharedArena({ slotsMax: 1_500 });
    const { memory } = arena;
    for (let index = 0; index < 1_500; index += 1) arena.store(secret(index % 251));
    expect(arena.memory).toBe(memory);
    expect(memory.byteLength).toBe(1_500 * 32);
    for (let slot = 0; slot < 1_500; slot += 1) expect(slotBytes(memory, slot)[31]).toBe(slot % 251);
    expect(() => arena.store(secret(1))).toThrow(/overloaded.*limit of 1500 keys/);
  });

  it("can be wiped as a whole", () => {
    const arena = createSharedArena();
    for (const byte of [1, 2, 3]) arena.store(secret(byte));
    arena.eraseAll();
    expect(new Uint8Array(arena.memory).every((byte) => byte === 0)).toBe(true);
  });

  it.each([0, 31, 33])("refuses a secret of %i bytes and takes no slot for it", (length) => {
    const arena = createSharedArena({ slotsMax: 1 });
    expect(() => arena.store(new Uint8Array(length))).toThrow(/expected 32 bytes/);
    expect(arena.store(secret(1))).toBe(0);
  });
});
