/** MAC key rotation by a pool-manager and its enclaves: add, switch, retire, whatever happens in between. */

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, describe, expect, it } from "vitest";
import { SignerError } from "#protocol/errors.ts";
import { EMPTY_STATE } from "#protocol/slashing/rules.ts";
import { attestation, block, blockState, validator } from "../../helpers/guarded.ts";
import { UNKNOWN } from "../../helpers/memory-store.ts";
import { markerOf, type Operated } from "../../helpers/operated.ts";
import { type OperatedPool, startOperatedPool } from "../../helpers/operated-pool.ts";

const KEY = validator(1);
const OTHER = validator(2);
const NEW = validator(3);
const KEYS = [KEY, OTHER];
const SIGNED = ["signed", "signed"];
const SUSPECT = ["store_suspect", "store_suspect"];
const ROTATED = { written: 2, unchanged: 0, blank: 0, failed: 0, failures: [] };

const pools: OperatedPool[] = [];
afterEach(() => {
  for (const pool of pools.splice(0)) pool.close();
});
const startPool = async (options?: Parameters<typeof startOperatedPool>[1]): Promise<OperatedPool> => {
  const pool = await startOperatedPool(KEYS, options);
  pools.push(pool);
  return pool;
};
const atAll = async (pool: OperatedPool, ...duty: Parameters<Operated["signs"]>): Promise<string[]> => {
  const results: string[] = [];
  for (const enclave of pool.enclaves) results.push(await enclave.signs(...duty));
  return results;
};
const lookAll = async (pool: OperatedPool): Promise<void> => {
  for (const enclave of [...pool.enclaves, ...pool.enclaves]) await enclave.look();
};
/** Everything is under this key, the old file is gone, and enclaves sign: these ones, and those of a restart. */
const expectRotated = async (pool: OperatedPool, id: number, slot: number): Promise<void> => {
  expect(pool.keyFiles()).toEqual([id === 1 ? "mac.key" : `mac-${id}.key`]);
  expect(pool.folder.installation.macKeyId).toBe(id);
  for (let turn = 0; turn < 2; turn += 1) {
    expect([pool.keyIdOf(), pool.keyIdOf(KEY), pool.keyIdOf(OTHER)]).toEqual([id, id, id]);
    for (const key of KEYS) expect(await atAll(pool, key, block(slot + turn, 1))).toEqual(SIGNED);
    expect(await atAll(pool, KEY, block(slot + turn, 2))).toEqual(Array(2).fill("double_block_proposal"));
    await lookAll(pool);
    for (const enclave of pool.enclaves) expect(enclave.problem).toBeUndefined();
    if (turn === 0) await pool.restart();
  }
};
/** Breaks off what the manager does when it comes to this call: it is killed there. */
const killAt = (pool: OperatedPool, operation: string, enclave: number): void => {
  pool.before = (asked, index) => {
    if (asked === operation && index === enclave) throw new SignerError("unavailable", "killed");
  };
};

describe("a rotation", () => {
  it("adds the key everywhere, switches, writes every record anew, and retires the old key", async () => {
    const pool = await startPool();
    expect(await atAll(pool, KEY, block(5, 1))).toEqual(SIGNED);
    const seen: string[] = [];
    pool.before = (operation, enclave) => {
      seen.push(`${operation} ${enclave}`);
      if (operation === "operate") {
        expect(pool.keyFiles()).toEqual(["mac-2.key", "mac.key"]);
        expect([pool.keyIdOf(), pool.keyIdOf(KEY)]).toEqual([1, 1]);
      }
      if (operation === "refresh") expect([pool.keyIdOf(), pool.keyIdOf(KEY), pool.keyIdOf(OTHER)]).toEqual([2, 2, 2]);
    };
    expect(await pool.rotate()).toEqual(ROTATED);
    expect(seen.filter((call) => !call.startsWith("status"))).toEqual(
      ["macKeys 0", "macKeys 1", "operate 0", "refresh 1", "macKeys 0", "macKeys 1"], // add, switch, retire
    );
    await expectRotated(pool, 2, 6);
  });

  it("twice in a row goes on counting, and no third key is left", async () => {
    const pool = await startPool();
    await pool.rotate();
    expect(await atAll(pool, KEY, block(5, 1))).toEqual(SIGNED);
    expect(await pool.rotate()).toEqual(ROTATED);
    await expectRotated(pool, 3, 6);
    await pool.rotate();
    await expectRotated(pool, 4, 8);
  });

  it("changes nothing but the key: watermarks, roots, controls and repeats stay", async () => {
    const pool = await startPool();
    await atAll(pool, KEY, block(5, 1));
    await atAll(pool, KEY, attestation(1, 2, 1));
    await (pool.enclaves[0] as Operated).run({ command: "disable", pubkeys: [OTHER] });
    const decode = (key: Uint8Array) => pool.codecOf(2).decode(key, pool.store.get(key) as Uint8Array);
    pool.folder.addMacKey();
    const before = KEYS.map(decode);
    await pool.rotate();
    expect(KEYS.map(decode)).toEqual(before.map((each) => ({ ...each, macKeyId: 2 })));
    expect(await atAll(pool, KEY, block(5, 1))).toEqual(SIGNED);
    expect(await atAll(pool, KEY, attestation(1, 2, 1))).toEqual(SIGNED);
    expect(await atAll(pool, OTHER, block(9, 1))).toEqual(Array(2).fill("validator_disabled"));
  });
});

describe("enclaves on both sides of the switch", () => {
  /** One enclave has switched and rewritten everything; the other has heard nothing yet. */
  const halfway = async () => {
    const pool = await startPool();
    await atAll(pool, KEY, block(5, 1));
    killAt(pool, "refresh", 1);
    expect((await pool.rotationFailure()).detail).toMatch(/not every enclave has taken them over.*run it again/);
    pool.before = () => undefined;
    const [switched, behind] = pool.enclaves as [Operated, Operated];
    return { pool, switched, behind };
  };

  it("accept each other's records, in any order, and refuse nobody", async () => {
    const { pool, switched, behind } = await halfway();
    for (const [slot, enclave] of [behind, switched, behind, behind, switched].entries()) {
      expect(await enclave.signs(KEY, block(10 + slot, 1))).toBe("signed");
      expect(await enclave.signs(OTHER, attestation(1, 10 + slot, 1))).toBe("signed");
    }
    for (const enclave of pool.enclaves) expect(enclave.suspicions).toEqual([]);
    expect(await switched.signs(KEY, block(14, 2))).toBe("double_block_proposal");
    expect(await behind.signs(KEY, block(14, 1))).toBe("signed");
  });

  it("write no record back under the old key, although the one has not seen the marker", async () => {
    const { pool, behind } = await halfway();
    for (const key of KEYS) {
      expect(await behind.signs(key, block(10, 1))).toBe("signed");
      expect(pool.keyIdOf(key)).toBe(2);
    }
    pool.folder.retireMacKeys(2);
    await pool.restart();
    for (const enclave of pool.enclaves) expect(enclave.problem).toBeUndefined();
    expect(await atAll(pool, KEY, block(11, 1))).toEqual(SIGNED);
  });

  it("make the records of new validators under the new key", async () => {
    const { pool, behind } = await halfway();
    await behind.activate([NEW], { registered: false });
    expect(pool.keyIdOf(NEW)).toBe(2);
  });

  it("have all seen the switch before the records are listed: one that was on its way is written anew, too", async () => {
    const pool = await startPool({ seenByAllMs: 60 });
    const rotation = pool.rotate();
    await sleep(20);
    expect([pool.keyIdOf(), pool.keyIdOf(KEY)]).toEqual([2, 1]);
    pool.store.put(NEW, pool.codecOf(1).encode(NEW, blockState(5, 1))); // by an enclave that has not looked yet
    expect(await rotation).toMatchObject({ written: 3, failed: 0 });
    expect(pool.keyIdOf(NEW)).toBe(2);
  });

  it("write the marker under the new key, also to raise a suspicion", async () => {
    const { pool, behind } = await halfway();
    pool.store.put(OTHER, undefined);
    expect(await behind.signs(OTHER, block(10, 1))).toBe("store_suspect");
    await behind.look();
    expect(pool.keyIdOf()).toBe(2);
    expect(markerOf(pool.store, pool.folder.secrets.macKeys).suspectSinceUnixSeconds).toBeGreaterThan(0);
  });

  it.each(["before", "after"])("sign all the time, %s any write of the rotation", async (moment) => {
    const pool = await startPool();
    const results: string[] = [];
    let slot = 10;
    let signing = false;
    const duties = async (): Promise<void> => {
      signing = true;
      slot += 1;
      for (const key of KEYS) {
        for (const enclave of pool.enclaves) results.push(await enclave.signs(key, block(slot, 1)));
      }
      signing = false;
    };
    pool.store.script = () => (signing || slot > 13 ? {} : { [moment]: duties() });
    expect((await pool.rotate()).failed).toBe(0);
    pool.store.script = () => ({});
    expect(slot).toBeGreaterThan(10);
    expect(results).toEqual(Array((slot - 10) * 4).fill("signed"));
    await expectRotated(pool, 2, 40);
  });

  it("keep the old key as long as something was last seen under it", async () => {
    const { pool, behind } = await halfway();
    const newest = pool.folder.secrets.macKeys.macKeys.get(2) as Uint8Array;
    const retire = (): void => behind.acceptMacKeys(new Map([[2, newest]]));
    pool.store.readGate = () => Promise.reject(new Error("gone"));
    await behind.look(); // it writes under the new key from now on, and could not read its records again
    expect(retire).toThrow(/the record of 0x0101.* was not seen under one of them/);
    pool.store.readGate = () => Promise.resolve();
    await behind.refresh();
    retire();
    expect(await behind.signs(KEY, block(10, 1))).toBe("signed");
  });
});

describe("the old key", () => {
  it("stays while a record could not be written anew, and goes with the next rotation that does it", async () => {
    const pool = await startPool();
    pool.store.scripts.push({ effect: "never", answer: UNKNOWN });
    expect(await pool.rotate()).toMatchObject({ written: 1, failed: 1, failures: [{ reason: /did not answer/ }] });
    expect(pool.keyFiles()).toEqual(["mac-2.key", "mac.key"]);
    expect(await atAll(pool, KEY, block(5, 1))).toEqual(SIGNED);
    await pool.restart();
    expect(await atAll(pool, OTHER, block(5, 1))).toEqual(SIGNED);
    expect(await pool.rotate()).toMatchObject({ failed: 0 });
    await expectRotated(pool, 2, 6);
  });

  it.each([["refresh"], ["status"]])("stays while an enclave does not answer to %s", async (operation) => {
    const pool = await startPool();
    let asked = 0;
    pool.before = (wanted, index) => {
      if (wanted !== operation || index !== 1) return;
      asked += 1;
      if (operation === "refresh" || asked > 1) throw new SignerError("unavailable", "stopped");
    };
    expect(await pool.rotationFailure()).toMatchObject({ code: "unavailable" });
    expect(pool.keyFiles()).toEqual(["mac-2.key", "mac.key"]);
    pool.before = () => undefined;
    expect(await pool.rotate()).toMatchObject({ failed: 0, unchanged: 2 });
    await expectRotated(pool, 2, 6);
  });

  it("stays while an enclave does not trust what it reads under the new one", async () => {
    const pool = await startPool();
    const [, second] = pool.enclaves as [Operated, Operated];
    expect(await second.signs(KEY, block(5, 1))).toBe("signed");
    // Taken back behind the backs of all: the executing enclave has not seen that block, the other one has.
    pool.store.put(KEY, pool.codecOf(1).encode(KEY, EMPTY_STATE));
    expect(await pool.rotationFailure()).toMatchObject({ code: "unavailable" });
    expect(second.problem).toMatch(/older than one seen before/);
    expect(pool.keyFiles()).toEqual(["mac-2.key", "mac.key"]);
    await lookAll(pool);
    expect(await pool.operate("recover", 100)).toMatchObject({ written: 2, failed: 0 });
    await lookAll(pool);
    expect(await pool.rotate()).toMatchObject({ failed: 0 });
    await expectRotated(pool, 2, 101 * 32);
  });

  it("is refused from then on: a record under it is left as it is, and the store is suspect for all", async () => {
    for (const restarted of [false, true]) {
      const pool = await startPool();
      const old = pool.codecOf(1).encode(KEY, blockState(50, 1));
      await pool.rotate();
      if (restarted) await pool.restart();
      pool.store.put(KEY, old);
      expect(await (pool.enclaves[0] as Operated).signs(KEY, block(60, 1))).toBe("store_suspect");
      await lookAll(pool);
      for (const key of KEYS) expect(await atAll(pool, key, block(61, 1))).toEqual(SUSPECT);
      expect(pool.enclaves[0]?.problem).toMatch(/cannot be verified: record MAC key id 1 is not accepted.*recover/);
      expect(pool.store.get(KEY)).toEqual(new Uint8Array(old));
      expect(await pool.operate("recover", 100)).toMatchObject({ written: 2 });
      await expectRotated(pool, 2, 101 * 32);
    }
  });

  it("of an enclave that came up before the records were written anew goes, too", async () => {
    const pool = await startPool();
    const old = pool.codecOf(1).encode(KEY, blockState(50, 1));
    let late: Operated | undefined;
    pool.before = async (operation) => {
      if (operation === "operate") late = await pool.add(KEYS); // it reads them under the old key
    };
    await pool.rotate();
    pool.store.put(KEY, old);
    expect(await late?.signs(KEY, block(60, 1))).toBe("store_suspect");
    expect(late?.problem).toMatch(/MAC key id 1 is not accepted/);
  });

  it("of an enclave that came up meanwhile goes, too, unless it has seen a record under it", async () => {
    const pool = await startPool();
    let late: Operated | undefined;
    const old = pool.codecOf(1).encode(NEW, blockState(50, 1));
    pool.before = async (operation) => {
      if (operation !== "refresh" || late !== undefined) return;
      pool.store.put(NEW, old); // made by somebody who knew the old key alone, when everything had been written anew
      late = await pool.add([NEW]);
    };
    await pool.rotate();
    expect(await late?.signs(NEW, block(60, 1))).toBe("signed"); // no false alarm
    expect(pool.keyIdOf(NEW)).toBe(2);
    expect(late?.problem).toBeUndefined();
  });
});

describe("a rotation that broke off", () => {
  it.each([
    ["before the second enclave got the key", "macKeys", 1],
    ["before the switch", "operate", 0],
    ["after every record was written", "refresh", 1],
  ])("%s goes on with the same key after a restart", async (_name, operation, enclave) => {
    const pool = await startPool();
    await atAll(pool, KEY, block(5, 1));
    killAt(pool, operation, enclave);
    await pool.rotationFailure();
    pool.before = () => undefined;
    expect(pool.keyFiles()).toEqual(["mac-2.key", "mac.key"]);
    await pool.restart();
    expect(await atAll(pool, KEY, block(6, 1))).toEqual(SIGNED);
    expect(await pool.rotate()).toMatchObject({ failed: 0 });
    await expectRotated(pool, 2, 10);
  });

  it("between two records leaves both readable, and goes on with the same key", async () => {
    const pool = await startPool();
    await atAll(pool, KEY, block(5, 1));
    pool.store.scripts.push({}, { effect: "never", after: new Promise(() => undefined) });
    void pool.rotate();
    while (pool.keyIdOf(KEY) === pool.keyIdOf(OTHER)) await new Promise((resolve) => setImmediate(resolve));
    expect(pool.keyIdOf()).toBe(2);
    await pool.restart();
    for (const key of KEYS) expect(await atAll(pool, key, block(6, 1))).toEqual(SIGNED);
    expect(await pool.rotate()).toMatchObject({ failed: 0 });
    await expectRotated(pool, 2, 10);
  });

  it("between the retirement and the removal of the file leaves a file, which the next rotation removes", async () => {
    const pool = await startPool();
    const file = join(pool.folder.path, "secrets", "mac.key");
    const first = readFileSync(file);
    await pool.rotate();
    writeFileSync(file, first, { mode: 0o600 });
    await pool.restart();
    expect(await atAll(pool, KEY, block(6, 1))).toEqual(SIGNED);
    expect(await pool.rotate()).toMatchObject({ failed: 0 });
    await expectRotated(pool, 3, 10);
  });

  it("at the marker, unknown to itself, can be run again", async () => {
    for (const wrote of [true, false]) {
      const pool = await startPool();
      const write = pool.store.compareAndSetMarker;
      pool.store.compareAndSetMarker = async (expected, next) => {
        pool.store.compareAndSetMarker = write;
        if (wrote) await write(expected, next);
        return UNKNOWN;
      };
      expect(await pool.rotationFailure()).toMatchObject({ code: "unknown_outcome" });
      expect(await atAll(pool, KEY, block(5, 1))).toEqual(SIGNED);
      expect(await pool.rotate()).toMatchObject({ failed: 0 });
      await expectRotated(pool, 2, 6);
    }
  });
});

describe("a rotation is refused", () => {
  it("on a suspect store: recover first, so that what enclaves have seen can still be read", async () => {
    const pool = await startPool();
    await atAll(pool, KEY, block(9_000, 1));
    pool.store.put(KEY, undefined);
    expect(await (pool.enclaves[1] as Operated).signs(KEY, block(9_001, 1))).toBe("store_suspect");
    await lookAll(pool);
    const sequence = markerOf(pool.store, pool.folder.secrets.macKeys).commandSequence;
    const refused = await pool.rotationFailure();
    expect(refused).toMatchObject({ code: "store_suspect", detail: expect.stringMatching(/slashing recover/) });
    expect([pool.keyIdOf(), pool.keyIdOf(OTHER)]).toEqual([1, 1]);
    expect(markerOf(pool.store, pool.folder.secrets.macKeys).commandSequence).toBe(sequence);
    expect(await pool.operate("recover", 100)).toMatchObject({ written: 2, failed: 0 });
    await lookAll(pool);
    expect(await pool.rotate()).toMatchObject({ failed: 0 });
    await expectRotated(pool, 2, 9_010);
  });

  it.each([1, 3])("under key %i, which is not the next", async (id) => {
    const pool = await startPool();
    if (id === 1) await pool.rotate();
    const [enclave] = pool.enclaves as [Operated];
    const bytes = new Map(pool.store.values);
    const sequence = markerOf(pool.store, pool.folder.secrets.macKeys).commandSequence + 1;
    const wanted = { command: "rotate-mac", epoch: id, sequence: Math.max(sequence, 1_700_000_000) } as const;
    expect((await enclave.failure(wanted)).detail).toMatch(/MAC key \d: not known to this enclave/);
    expect(pool.store.values).toEqual(bytes);
    expect(await atAll(pool, KEY, block(5, 1))).toEqual(SIGNED);
  });

  it("back under an accepted earlier key", async () => {
    const pool = await startPool();
    killAt(pool, "refresh", 1);
    await pool.rotationFailure();
    const sequence = markerOf(pool.store, pool.folder.secrets.macKeys).commandSequence + 1;
    const { detail } = await (pool.enclaves[0] as Operated).failure({ command: "rotate-mac", epoch: 1, sequence });
    expect(detail).toMatch(/MAC key 1: expected 2 or a later one/);
    expect(pool.keyIdOf()).toBe(2);
  });
});
