import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createSharedArena } from "#enclave/keys/arena.ts";
import { createKeySet, type HeldKey } from "#enclave/keys/key-set.ts";

const pubkey = (byte: number) => new Uint8Array(48).fill(byte);
const secret = (byte: number) => new Uint8Array(32).fill(byte);

const make = () => {
  const arena = createSharedArena();
  const keys = createKeySet(arena);
  const secretIn = (held: HeldKey | undefined) => held && new Uint8Array(arena.memory, held.slot * 32, 32).slice();
  return { arena, keys, secretIn };
};

describe("a key set", () => {
  it("finds the secret of each key, and nothing for others", () => {
    const { keys, secretIn } = make();
    for (const byte of [1, 2]) expect(keys.add(pubkey(byte), secret(byte))).toBe(true);
    expect(secretIn(keys.hold(pubkey(1)))).toEqual(secret(1));
    expect(secretIn(keys.hold(pubkey(2)))).toEqual(secret(2));
    expect(keys.hold(pubkey(3))).toBeUndefined();
    expect(keys.size).toBe(2);
    expect(keys.has(pubkey(1))).toBe(true);
    expect(keys.has(pubkey(3))).toBe(false);
    expect(keys.pubkeys()).toEqual([pubkey(1), pubkey(2)]);
  });

  it("keeps the first secret of a key that is added twice, and takes no second slot", () => {
    const arena = createSharedArena({ slotsMax: 2 });
    const keys = createKeySet(arena);
    keys.add(pubkey(1), secret(1));
    expect(keys.add(pubkey(1), secret(9))).toBe(false);
    expect(keys.add(pubkey(2), secret(2))).toBe(true);
    expect(new Uint8Array(arena.memory, 0, 32)).toEqual(secret(1));
  });

  it("does not change when the caller's public key bytes do", () => {
    const { keys } = make();
    const mine = pubkey(1);
    keys.add(mine, secret(1));
    mine.fill(7);
    expect(keys.pubkeys()).toEqual([pubkey(1)]);
  });

  it("forgets a removed key at once and wipes its secret when nobody uses it", () => {
    const { keys, arena } = make();
    keys.add(pubkey(1), secret(1));
    expect(keys.remove(pubkey(1))).toBe(true);
    expect(keys.remove(pubkey(1))).toBe(false);
    expect(keys.hold(pubkey(1))).toBeUndefined();
    expect(new Uint8Array(arena.memory).every((byte) => byte === 0)).toBe(true);
  });

  it("never gives the slot of a held key to another, also when it was removed and added again", () => {
    const { keys, secretIn } = make();
    keys.add(pubkey(1), secret(1));
    const first = keys.hold(pubkey(1)) as HeldKey;
    const second = keys.hold(pubkey(1)) as HeldKey;
    keys.remove(pubkey(1));
    keys.add(pubkey(2), secret(2));
    keys.add(pubkey(1), secret(3)); // the same name, loaded anew
    const anew = keys.hold(pubkey(1)) as HeldKey;
    expect(secretIn(first)).toEqual(secret(1));
    first.release();
    expect(secretIn(second)).toEqual(secret(1));
    keys.add(pubkey(4), secret(4));
    expect(secretIn(second)).toEqual(secret(1));
    second.release();
    expect(secretIn(second)).toEqual(secret(0));
    expect(secretIn(anew)).toEqual(secret(3));
    keys.add(pubkey(5), secret(5));
    expect(keys.hold(pubkey(5))?.slot).toBe(second.slot); // free at last
  });

  it("shows whoever holds a key its own secret, in any sequence of adding, holding, releasing and removing", () => {
    const step = fc.record({
      what: fc.constantFrom("add", "hold", "release", "remove"),
      key: fc.integer({ min: 1, max: 4 }),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const { keys, secretIn } = make();
        const holding: { held: HeldKey; secretByte: number }[] = [];
        const loaded = new Map<number, number>();
        let fresh = 10;
        for (const { what, key } of steps) {
          if (what === "add") {
            fresh += 1;
            const wasAdded = keys.add(pubkey(key), secret(fresh));
            expect(wasAdded).toBe(!loaded.has(key));
            if (wasAdded) loaded.set(key, fresh);
          } else if (what === "hold") {
            const held = keys.hold(pubkey(key));
            expect(held !== undefined).toBe(loaded.has(key));
            if (held !== undefined) holding.push({ held, secretByte: loaded.get(key) as number });
          } else if (what === "release") holding.shift()?.held.release();
          else expect(keys.remove(pubkey(key))).toBe(loaded.delete(key));
          for (const { held, secretByte } of holding) expect(secretIn(held)?.[0]).toBe(secretByte);
          expect(keys.size).toBe(loaded.size);
        }
      }),
      { numRuns: 500 },
    );
  });

  it("leaves no secret behind when all keys were removed and released, and reuses all slots", () => {
    fc.assert(
      fc.property(fc.array(fc.boolean(), { minLength: 1, maxLength: 20 }), (heldFirst) => {
        const arena = createSharedArena({ slotsMax: heldFirst.length });
        const keys = createKeySet(arena);
        for (const round of [0, 1]) {
          const held = heldFirst.map((isHeld, index) => {
            keys.add(pubkey(index + 1), secret(index + 1));
            return isHeld ? keys.hold(pubkey(index + 1)) : undefined;
          });
          for (const index of heldFirst.keys()) keys.remove(pubkey(index + 1));
          for (const each of held) each?.release();
          expect([round, new Uint8Array(arena.memory).every((byte) => byte === 0)]).toEqual([round, true]);
        }
      }),
    );
  });
});
