/** The native signer against @chainsafe/blst: the same bytes for every key, root, group size and way of signing. */

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SecretKey } from "@chainsafe/blst";
import fc from "fast-check";
import { afterEach, describe, expect, test } from "vitest";
import { KNOWN_SECRETS } from "#enclave/native/known-answers.ts";
import {
  loadNativeSigner,
  NATIVE_GROUP_MAX,
  type NativeSigner,
  nativeSignerPath,
  SIGN_PATH,
} from "#enclave/native/signer.ts";
import { KEYS_MAX } from "#protocol/limits.ts";
import {
  hex,
  importKey,
  NO_SIGNATURE,
  openNative,
  referenceHex,
  SEED,
  seeded,
  seededKey,
  seededNumber,
  signEach,
  signGroup,
} from "./native.ts";

const native = await openNative();
const signer = native as NativeSigner;
const because = `seed ${SEED}`;
const keysOf = (count: number, name: string): SecretKey[] =>
  Array.from({ length: count }, (_, index) => seededKey(`${name} ${index}`));
const { tableUsed, tableBuilt, hashCached } = SIGN_PATH;

describe.skipIf(native === undefined)("the native signer", () => {
  afterEach(() => {
    signer.removeAllKeys();
    signer.forgetRoots();
  });

  test("signs as @chainsafe/blst does: 10,000 random keys, roots and group sizes", () => {
    let done = 0;
    const paths = new Set<number>();
    for (let round = 0; done < 10_000; round++) {
      const count = 1 + seededNumber(round % 3 === 0 ? 200 : 12, `size ${round}`);
      const keys = keysOf(count, `round ${round}`);
      const handles = keys.map((key) => importKey(signer, key));
      const root = seeded(`root ${round}`);
      const { path, signatures } = signGroup(signer, { root, handles });
      expect(signatures, because).toEqual(keys.map((key) => referenceHex(key, root)));
      paths.add(path);
      done += count;
      if (round % 4 === 0) signer.removeAllKeys();
    }
    expect([...paths].sort()).toEqual([0, tableUsed | tableBuilt]);
  });

  test("every group size from 1 to 300, with and without a cached table", () => {
    const keys = keysOf(300, "sizes");
    const handles = keys.map((key) => importKey(signer, key));
    const root = seeded("sizes");
    const expected = keys.map((key) => referenceHex(key, root));
    for (let size = 1; size <= 300; size++) {
      signer.forgetRoots();
      const first = signGroup(signer, { root, handles: handles.slice(0, size) });
      expect(first.signatures, because).toEqual(expected.slice(0, size));
      expect(first.path).toBe(size < 8 ? 0 : tableUsed | tableBuilt);
      const again = signGroup(signer, { root, handles: handles.slice(300 - size), expected: 8 });
      expect(again.signatures, because).toEqual(expected.slice(300 - size));
      expect(again.path & (hashCached | tableUsed)).toBe(hashCached | tableUsed);
    }
  });

  test("the largest group", () => {
    const keys = keysOf(40, "largest");
    const handles = keys.map((key) => importKey(signer, key));
    const all = Array.from({ length: NATIVE_GROUP_MAX }, (_, index) => handles[index % 40] as number);
    const root = seeded("largest");
    const expected = keys.map((key) => referenceHex(key, root));
    const { signatures } = signGroup(signer, { root, handles: all });
    expect(signatures).toEqual(all.map((_, index) => expected[index % 40]));
  });

  test("a table is built when signatures that came and that are expected pay for it, and kept", () => {
    const [handle] = keysOf(1, "threshold").map((key) => importKey(signer, key)) as [number];
    const pathOf = (name: string, expected: number) =>
      signGroup(signer, { root: seeded(name), handles: [handle], expected }).path;
    const alone = Array.from({ length: 9 }, () => pathOf("alone", 0));
    expect(alone).toEqual([0, ...Array(6).fill(hashCached), 7, 3]);
    expect(pathOf("announced", 6)).toBe(0);
    expect(pathOf("announced", 6)).toBe(7);
    expect(pathOf("many", 2 ** 32 - 1)).toBe(tableUsed | tableBuilt);
  });

  test("scalars at the edges, alone and together", () => {
    const keys = KNOWN_SECRETS.map((secret) => SecretKey.fromHex(secret));
    const handles = keys.map((key) => importKey(signer, key));
    const root = seeded("edges");
    const expected = keys.map((key) => referenceHex(key, root));
    for (const announced of [0, 1000]) {
      for (const [index, handle] of handles.entries()) {
        signer.forgetRoots();
        const { signatures } = signGroup(signer, { root, handles: [handle], expected: announced });
        expect(signatures, KNOWN_SECRETS[index]).toEqual([expected[index]]);
      }
    }
    expect(signGroup(signer, { root, handles }).signatures).toEqual(expected);
  });

  test("handles without a key give zero bytes and leave their neighbours alone (property)", () => {
    const keys = keysOf(24, "mixed");
    const roots = ["a", "b", "c"].map(seeded);
    const expected = roots.map((root) => keys.map((key) => referenceHex(key, root)));
    const live = keys.map((key) => importKey(signer, key));
    const stale = keysOf(24, "stale").map((key) => importKey(signer, key));
    for (const handle of stale) signer.removeKey(handle);
    const member = fc.oneof(
      { weight: 3, arbitrary: fc.record({ key: fc.nat(23) }) },
      fc.record({ handle: fc.oneof(fc.constantFrom(0, ...stale, 2 ** 32 - 1), fc.nat(2 ** 31)) }),
    );
    fc.assert(
      fc.property(
        fc.array(member, { minLength: 1, maxLength: 80 }),
        fc.nat(2),
        fc.constantFrom(0, 100),
        fc.boolean(),
        (members, rootIndex, announced, forget) => {
          if (forget) signer.forgetRoots();
          const handles = members.map((one) => ("key" in one ? (live[one.key] as number) : one.handle));
          const { signatures } = signGroup(signer, {
            root: roots[rootIndex] as Uint8Array,
            handles,
            expected: announced,
          });
          const right = handles.map((handle) => expected[rootIndex]?.[live.indexOf(handle)] ?? NO_SIGNATURE);
          expect(signatures).toEqual(right);
        },
      ),
      { numRuns: 300, seed: Number.parseInt(SEED.slice(0, 7), 16) },
    );
  });

  test("a handle is never given out twice, and a stale one never finds the slot's next key", () => {
    const seen = new Set<number>();
    let previous = 0;
    for (let round = 0; round < 10_000; round++) {
      const secret = new Uint8Array(32).fill(1 + (round % 7));
      const handle = signer.importKey(secret);
      expect(seen.has(handle)).toBe(false);
      seen.add(handle);
      expect(handle).toBeGreaterThan(0);
      if (previous !== 0) expect(signer.removeKey(previous)).toBe(false);
      if (round % 100 === 0) {
        const { signatures } = signGroup(signer, { root: seeded("stale"), handles: [previous, handle] });
        expect(signatures[0]).toBe(NO_SIGNATURE);
        expect(signatures[1]).not.toBe(NO_SIGNATURE);
      }
      expect(signer.removeKey(handle)).toBe(true);
      previous = handle;
    }
    expect(signer.stats().keys).toBe(0);
  });

  test("removing all keys leaves none", () => {
    const handles = keysOf(50, "all").map((key) => importKey(signer, key));
    expect(signer.stats().keys).toBe(50);
    signer.removeAllKeys();
    expect(signer.stats().keys).toBe(0);
    const { signatures } = signGroup(signer, { root: seeded("all"), handles });
    expect(new Set(signatures)).toEqual(new Set([NO_SIGNATURE]));
  });

  const order = "73eda753299d7d483339d80809a1d80553bda402fffe5bfeffffffff00000001";
  test.each([
    ["0", "00".repeat(32), "bad_key"],
    ["r", order, "bad_key"],
    ["r + 1", `${order.slice(0, -1)}2`, "bad_key"],
    ["2^255", `80${"00".repeat(31)}`, "bad_key"],
    ["2^256 - 1", "ff".repeat(32), "bad_key"],
    ["31 bytes", "01".repeat(31), "bad_argument"],
    ["33 bytes", "01".repeat(33), "bad_argument"],
    ["no bytes", "", "bad_argument"],
  ])("refuses %s as a key and zero-fills it all the same", (_, secretHex, code) => {
    const secret = new Uint8Array(Buffer.from(secretHex, "hex"));
    expect(() => signer.importKey(secret)).toThrow(expect.objectContaining({ code }));
    expect(secret.every((byte) => byte === 0)).toBe(true);
    expect(signer.stats().keys).toBe(0);
  });

  test("zero-fills a secret that it takes in, and nothing beside it", () => {
    const memory = new Uint8Array(96).fill(7);
    signer.importKey(memory.subarray(32, 64));
    expect(hex(memory)).toBe("07".repeat(32) + "00".repeat(32) + "07".repeat(32));
    const buffer = Buffer.alloc(32, 7);
    signer.importKey(buffer);
    expect(buffer.every((byte) => byte === 0)).toBe(true);
  });

  const root = new Uint8Array(32);
  const handles = new Uint32Array(2);
  const signatures = new Uint8Array(192);
  const shared = (bytes: number) => new Uint8Array(new SharedArrayBuffer(bytes));
  const detached = (): Uint8Array => {
    const array = new Uint8Array(32);
    structuredClone(array.buffer, { transfer: [array.buffer] });
    return array;
  };
  const badArguments: readonly (readonly [string, readonly unknown[]])[] = [
    ["no arguments", []],
    ["three arguments", [root, handles, signatures]],
    ["a short root", [new Uint8Array(31), handles, signatures, 0]],
    ["a long root", [new Uint8Array(33), handles, signatures, 0]],
    ["a root of words", [new Uint16Array(16), handles, signatures, 0]],
    ["a root as text", ["00".repeat(32), handles, signatures, 0]],
    ["a root as an ArrayBuffer", [root.buffer, handles, signatures, 0]],
    ["a shared root", [shared(32), handles, signatures, 0]],
    ["a detached root", [detached(), handles, signatures, 0]],
    ["no handles", [root, new Uint32Array(0), new Uint8Array(0), 0]],
    ["signed handles", [root, new Int32Array(2), signatures, 0]],
    ["too many handles", [root, new Uint32Array(1025), new Uint8Array(1025 * 96), 0]],
    ["shared handles", [root, new Uint32Array(new SharedArrayBuffer(8)), signatures, 0]],
    ["room for one signature too few", [root, handles, new Uint8Array(96), 0]],
    ["room for a byte too many", [root, handles, new Uint8Array(193), 0]],
    ["shared room", [root, handles, shared(192), 0]],
    ["null", [null, null, null, null]],
    ["a negative expectation", [root, handles, signatures, -1]],
    ["half a signature expected", [root, handles, signatures, 0.5]],
    ["2^32 expected", [root, handles, signatures, 2 ** 32]],
    ["NaN expected", [root, handles, signatures, Number.NaN]],
    ["an expectation as text", [root, handles, signatures, "1"]],
  ];
  test.each(badArguments)("refuses %s", (_, given) => {
    const sign = signer.signGroup as (...args: readonly unknown[]) => number;
    expect(() => sign(...given)).toThrow(expect.objectContaining({ code: "bad_argument" }));
  });

  test.each([[-1], [2 ** 32], [1.5], ["1"], [undefined], [Number.NaN]])(
    "refuses %s as a handle to remove",
    (handle) => {
      expect(() => signer.removeKey(handle as number)).toThrow(expect.objectContaining({ code: "bad_argument" }));
    },
  );

  test.each([1, 2, 15, 16, 17, 33, 100])("signs %i roots once each, in one call", (count) => {
    const keys = keysOf(count, "each");
    const handles = keys.map((key) => importKey(signer, key));
    const roots = keys.map((_, index) => seeded(`each ${count} ${index}`));
    const expected = keys.map((key, index) => referenceHex(key, roots[index] as Uint8Array));
    expect(signEach(signer, { roots, handles }), because).toEqual(expected);
    expect(signEach(signer, { roots, handles }), because).toEqual(expected); // hashes cached
  });

  test("signs roots once each where handles name nothing, where roots repeat, and where one has a table", () => {
    signer.forgetRoots();
    const keys = keysOf(40, "each mixed");
    const handles = keys.map((key) => importKey(signer, key));
    const tabled = seeded("tabled");
    signGroup(signer, { root: tabled, handles });
    const roots = keys.map((_, index) => (index % 3 === 0 ? tabled : seeded(`mixed ${index % 7}`)));
    for (const index of [0, 5, 39]) signer.removeKey(handles[index] as number);
    const expected = keys.map((key, index) =>
      [0, 5, 39].includes(index) ? NO_SIGNATURE : referenceHex(key, roots[index] as Uint8Array),
    );
    expect(signEach(signer, { roots, handles }), because).toEqual(expected);
  });

  const each: readonly [string, readonly unknown[]][] = [
    ["a root too few", [root, handles, signatures]],
    ["roots of 63 bytes", [new Uint8Array(63), handles, signatures]],
    ["no handles", [root, new Uint32Array(0), signatures]],
    ["1,025 handles", [new Uint8Array(32 * 1025), new Uint32Array(1025), new Uint8Array(96 * 1025)]],
    ["room for one signature too few", [new Uint8Array(64), handles, new Uint8Array(96)]],
    ["shared roots", [shared(64), handles, signatures]],
    ["an argument too few", [new Uint8Array(64), handles]],
    ["null", [null, null, null]],
  ];
  test.each(each)("refuses to sign each with %s", (_, given) => {
    const sign = signer.signEach as (...args: readonly unknown[]) => void;
    expect(() => sign(...given)).toThrow(expect.objectContaining({ code: "bad_argument" }));
  });

  test.each([
    ["roots", 0, 200],
    ["handles", 128, 0],
  ])("refuses to sign each into the memory of its %s: it would read what it wrote", (_, rootsAt, handlesAt) => {
    const memory = new ArrayBuffer(400);
    const [roots, into] = [new Uint8Array(memory, rootsAt, 32), new Uint8Array(memory, 0, 96)];
    const given = [rootsAt === 0 ? roots : new Uint8Array(32), new Uint32Array(memory, handlesAt, 1), into] as const;
    expect(() => signer.signEach(...given)).toThrow(expect.objectContaining({ code: "bad_argument" }));
  });

  test("signs right when its arguments share memory", () => {
    const [key] = keysOf(1, "overlap") as [SecretKey];
    const memory = new ArrayBuffer(96);
    const overlapping = new Uint8Array(memory, 0, 32);
    overlapping.set(seeded("overlap"));
    const handle = new Uint32Array(memory, 64, 1);
    handle[0] = importKey(signer, key);
    signer.signGroup(overlapping, handle, new Uint8Array(memory), 0);
    expect(hex(new Uint8Array(memory))).toBe(referenceHex(key, seeded("overlap")));
  });

  test("tells the thread's CPU time, and has room for as many keys as a pool serves", () => {
    const before = signer.threadCpuNanos();
    const until = performance.now() + 20;
    while (performance.now() < until);
    const used = signer.threadCpuNanos() - before;
    expect(used).toBeGreaterThan(100_000);
    expect(used).toBeLessThan(2_000_000_000);
    expect(signer.stats().keysMax).toBeGreaterThanOrEqual(KEYS_MAX);
  });
});

describe("loading", () => {
  test("says why when there is no addon, or none that can be loaded", () => {
    expect(loadNativeSigner("/nonexistent/addon.node")).toEqual({
      kind: "missing",
      reason: expect.stringContaining("is not there"),
    });
    const folder = mkdtempSync(join(tmpdir(), "testudo-load-test-"));
    const noAddon = join(folder, "signer.node");
    writeFileSync(noAddon, "no addon");
    try {
      expect(loadNativeSigner(noAddon)).toEqual({
        kind: "missing",
        reason: expect.stringContaining("cannot be loaded"),
      });
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});

test.skipIf(native === undefined)("a second time in the same thread finds the same keys", () => {
  const again = { exports: {} as NativeSigner };
  process.dlopen(again, nativeSignerPath());
  const handle = signer.importKey(new Uint8Array(32).fill(1));
  expect(again.exports.stats().keys).toBe(1);
  expect(again.exports.removeKey(handle)).toBe(true);
  expect(signer.stats().keys).toBe(0);
});
