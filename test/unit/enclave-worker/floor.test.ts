import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createFloor } from "#enclave/slashing/floor.ts";

const MEASURE = fileURLToPath(new URL("../../helpers/floor-memory.ts", import.meta.url));
const pubkey = (byte: number) => new Uint8Array(48).fill(byte);
const record = (byte: number) => new Uint8Array(136).fill(byte);

describe("the floor", () => {
  it("behaves as a map of records and marks under any operations", () => {
    const operation = fc.record({
      kind: fc.constantFrom("set", "delete"),
      key: fc.nat(12),
      value: fc.nat(255),
      acknowledged: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 200 }), (operations) => {
        const floor = createFloor();
        const model = new Map<number, { value: number; acknowledged: boolean }>();
        for (const { kind, key, value, acknowledged } of operations) {
          if (kind === "set") floor.set(pubkey(key), record(value), { acknowledged });
          else floor.delete(pubkey(key));
          if (kind === "set") model.set(key, { value, acknowledged });
          else model.delete(key);
          expect(floor.size).toBe(model.size);
        }
        for (let key = 0; key <= 12; key += 1) {
          const kept = model.get(key);
          expect(floor.has(pubkey(key))).toBe(kept !== undefined);
          expect(floor.record(pubkey(key))).toEqual(kept && record(kept.value));
          expect(floor.isAcknowledged(pubkey(key))).toBe(kept?.acknowledged ?? false);
        }
        const all = [...floor.entries()].map((entry) => [entry.pubkey[0], entry.record[0]]);
        expect(new Map(all as [number, number][])).toEqual(new Map([...model].map(([key, { value }]) => [key, value])));
      }),
    );
  });

  it("gives copies: a caller cannot change what is kept", () => {
    const floor = createFloor();
    const mine = record(1);
    floor.set(pubkey(1), mine, { acknowledged: true });
    mine.fill(9);
    floor.record(pubkey(1))?.fill(9);
    expect(floor.record(pubkey(1))).toEqual(record(1));
  });

  it("keeps 100,000 validators in less than 32 MiB", () => {
    // A process of its own: only there the collector can be asked to leave nothing but the floor.
    const { stdout } = spawnSync(process.execPath, ["--expose-gc", MEASURE], { encoding: "utf8", timeout: 25_000 });
    const { bytes, size } = JSON.parse(stdout) as { bytes: number; size: number };
    expect(size).toBe(100_000);
    expect(bytes / 1024 / 1024).toBeLessThan(32);
    expect(bytes / 1024 / 1024).toBeGreaterThan(13); // 100,000 × 136 bytes are in there
  });
});
