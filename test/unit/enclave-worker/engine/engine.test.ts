/** The signing engine with its real threads, beside plain `@chainsafe/blst`. */

import { SecretKey } from "@chainsafe/blst";
import { afterEach, describe, expect, it } from "vitest";
import { createEngine, type Engine } from "#enclave/engine/engine.ts";
import { type Arena, createArena } from "#enclave/keys/arena.ts";
import { toHex } from "#protocol/bytes.ts";

const engines: Engine[] = [];
const start = (threads: number, arena: Arena, now = () => 0): Engine => {
  const engine = createEngine({ threads, arena: arena.memory }, { now });
  engines.push(engine);
  return engine;
};
afterEach(async () => {
  await Promise.all(engines.splice(0).map((engine) => engine.close()));
});

const root = (number: number): Uint8Array => {
  const bytes = new Uint8Array(32);
  new DataView(bytes.buffer).setUint32(28, number);
  return bytes;
};
const codeOf = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => "signed",
    (error: { code: string }) => error.code,
  );

/** An arena with keys, and what plain blst signs with them. */
const makeKeys = (count: number, arena = createArena()) => {
  const secrets = Array.from({ length: count }, (_, index) =>
    SecretKey.fromKeygen(new Uint8Array(32).fill(index % 250, 0, 31).fill(Math.floor(index / 250), 31)),
  );
  const slots = secrets.map((secret) => arena.store(secret.toBytes()));
  const plain = (index: number, message: Uint8Array) =>
    toHex((secrets[index] as SecretKey).sign(message).toBytes(true));
  return { arena, slots, plain };
};

describe("the engine", () => {
  it.each([1, 2, 3])(
    "with %i threads gives blst's signatures to whoever asked, in batches of any size",
    async (threads) => {
      const { arena, slots, plain } = makeKeys(7);
      const engine = start(threads, arena);
      for (const load of [1, 2, 13, 14, 15, 60]) {
        const jobs = Array.from({ length: load }, (_, job) => ({ key: job % 7, message: root(job >> 1) }));
        const signatures = await Promise.all(
          jobs.map(({ key, message }) => engine.sign({ slot: slots[key] as number, root: message })),
        );
        expect(signatures.map(toHex)).toEqual(jobs.map(({ key, message }) => plain(key, message)));
        expect(new Set(signatures.map((signature) => signature.length))).toEqual(new Set([96]));
      }
    },
  );

  it("finishes what was asked first first, under load", async () => {
    const { arena, slots } = makeKeys(1);
    const engine = start(1, arena);
    const finished: number[] = [];
    const ask = (number: number) =>
      engine.sign({ slot: slots[0] as number, root: root(number) }).then(() => finished.push(number));
    await Promise.all(Array.from({ length: 80 }, (_, number) => ask(number)));
    expect(finished).toEqual(Array.from({ length: 80 }, (_, number) => number));
  });

  it("sees keys that were stored, and slots that came into being, after its threads started", async () => {
    const arena = createArena({ slotsMax: 3_000 });
    const engine = start(1, arena);
    const first = makeKeys(1, arena);
    expect(toHex(await engine.sign({ slot: first.slots[0] as number, root: root(1) }))).toBe(first.plain(0, root(1)));
    const many = makeKeys(2_000, arena); // the arena grows
    const last = many.slots[1_999] as number;
    expect(last).toBe(2_000);
    expect(toHex(await engine.sign({ slot: last, root: root(2) }))).toBe(many.plain(1_999, root(2)));
  });

  it("does not mind what the caller does with its signature", async () => {
    const { arena, slots, plain } = makeKeys(2);
    const engine = start(1, arena);
    const [first, second] = await Promise.all(slots.map((slot) => engine.sign({ slot, root: root(1) })));
    first?.fill(0);
    expect(toHex(second as Uint8Array)).toBe(plain(1, root(1)));
    expect(toHex(await engine.sign({ slot: slots[0] as number, root: root(1) }))).toBe(plain(0, root(1)));
  });

  it("bounds its queue, and takes more once there is room", async () => {
    const { arena, slots } = makeKeys(1);
    const engine = start(1, arena);
    const slot = slots[0] as number;
    // One is being signed, 8192 wait.
    const waiting = Array.from({ length: 8_193 }, (_, number) => codeOf(engine.sign({ slot, root: root(number) })));
    expect(await codeOf(engine.sign({ slot, root: root(0) }))).toBe("overloaded");
    expect(await waiting[0]).toBe("signed");
    const more = codeOf(engine.sign({ slot, root: root(0) }));
    await engine.close();
    expect(await more).toBe("unavailable");
    expect(new Set(await Promise.all(waiting))).toEqual(new Set(["signed", "unavailable"]));
  });

  it("fails everything that is not signed yet when it is closed, and takes nothing after", async () => {
    const { arena, slots } = makeKeys(1);
    const engine = start(2, arena);
    const outcomes = Array.from({ length: 100 }, (_, number) =>
      codeOf(engine.sign({ slot: slots[0] as number, root: root(number) })),
    );
    await engine.close();
    const settled = await Promise.all(outcomes);
    expect(settled.filter((outcome) => outcome !== "signed" && outcome !== "unavailable")).toEqual([]);
    expect(settled.at(-1)).toBe("unavailable");
    expect(await codeOf(engine.sign({ slot: slots[0] as number, root: root(1) }))).toBe("unavailable");
    await engine.close();
  });

  it.each([0, 31, 33, 64])("refuses a root of %i bytes, which would shift its neighbours'", async (length) => {
    const { arena, slots, plain } = makeKeys(1);
    const engine = start(1, arena);
    const slot = slots[0] as number;
    const outcomes = [
      engine.sign({ slot, root: root(1) }),
      engine.sign({ slot, root: new Uint8Array(length) }),
      engine.sign({ slot, root: root(2) }),
    ];
    expect(await codeOf(outcomes[1] as Promise<unknown>)).toBe("internal");
    expect(toHex((await outcomes[0]) as Uint8Array)).toBe(plain(0, root(1)));
    expect(toHex((await outcomes[2]) as Uint8Array)).toBe(plain(0, root(2)));
  });

  it("drops what nobody waits for any more, when its turn comes, and signs the rest", async () => {
    const { arena, slots, plain } = makeKeys(1);
    let nowMs = 0;
    const engine = start(1, arena, () => nowMs);
    const slot = slots[0] as number;
    const first = engine.sign({ slot, root: root(0), deadlineMs: 100 }); // begun at once
    const waiting = [100, 101, undefined, 99].map((deadlineMs, index) =>
      engine.sign({ slot, root: root(index + 1), ...(deadlineMs !== undefined && { deadlineMs }) }),
    );
    nowMs = 100;
    expect(await Promise.all(waiting.map(codeOf))).toEqual([
      "deadline_exceeded",
      "signed",
      "signed",
      "deadline_exceeded",
    ]);
    expect(toHex(await first)).toBe(plain(0, root(0)));
    expect(toHex((await waiting[1]) as Uint8Array)).toBe(plain(0, root(2)));
    expect(toHex((await waiting[2]) as Uint8Array)).toBe(plain(0, root(3)));
  });

  it("fails nobody but whoever asked for an erased slot, also in one batch with others", async () => {
    const { arena, slots, plain } = makeKeys(3);
    const engine = start(1, arena);
    arena.erase(slots[1] as number);
    const outcomes = [0, 1, 2, 1, 0].map((key) => engine.sign({ slot: slots[key] as number, root: root(key) }));
    expect(await Promise.all(outcomes.map(codeOf))).toEqual(["signed", "internal", "signed", "internal", "signed"]);
    expect(toHex((await outcomes[2]) as Uint8Array)).toBe(plain(2, root(2)));
    expect(toHex((await outcomes[4]) as Uint8Array)).toBe(plain(0, root(0)));
  });

  it("never signs with an erased slot, and goes on working", async () => {
    const { arena, slots, plain } = makeKeys(2);
    const engine = start(1, arena);
    arena.erase(slots[0] as number);
    expect(await codeOf(engine.sign({ slot: slots[0] as number, root: root(1) }))).toBe("internal");
    expect(toHex(await engine.sign({ slot: slots[1] as number, root: root(1) }))).toBe(plain(1, root(1)));
  });
});
