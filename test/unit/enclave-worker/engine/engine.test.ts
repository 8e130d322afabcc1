/** The signing engine with its real threads, beside plain `@chainsafe/blst`. */

import { setImmediate as nextTurn } from "node:timers/promises";
import { SecretKey } from "@chainsafe/blst";
import { afterEach, describe, expect, test } from "vitest";
import { openSigner, type SignerBackend } from "#enclave/engine/backend.ts";
import { createEngine, type Engine } from "#enclave/engine/engine.ts";
import { toHex } from "#protocol/bytes.ts";
import { createLogger } from "#protocol/log.ts";
import { SIGNER_KINDS, type SignerKind } from "#protocol/messages/signer.ts";
import type { DutyClass } from "#protocol/signing/types.ts";
import { openNative } from "../native/native.ts";

const hasNative = (await openNative()) !== undefined;
const logger = createLogger({ process: "test", level: "error", write: () => undefined });
const open = (kind: SignerKind): SignerBackend => openSigner(kind, { logger });

const engines: Engine[] = [];
const start = (threads: number, backend: SignerBackend, now = () => 0): Engine => {
  const engine = createEngine({ threads, backend }, { now });
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

/** A signer with keys, and what plain blst signs with them. */
const makeKeys = (count: number, backend: SignerBackend) => {
  const secrets = Array.from({ length: count }, (_, index) =>
    SecretKey.fromKeygen(new Uint8Array(32).fill(index % 250, 0, 31).fill(Math.floor(index / 250), 31)),
  );
  const { arena } = backend;
  const slots = secrets.map((secret) => arena.store(secret.toBytes()));
  const plain = (index: number, message: Uint8Array) =>
    toHex((secrets[index] as SecretKey).sign(message).toBytes(true));
  return { backend, arena, slots, plain };
};

describe.each(SIGNER_KINDS)("the engine with the %s signer", (kind) => {
  const it = kind === "native" && !hasNative ? test.skip : test;

  it.each([1, 2, 3])(
    "with %i threads gives blst's signatures to whoever asked, in batches of any size",
    async (threads) => {
      const { backend, slots, plain } = makeKeys(7, open(kind));
      const engine = start(threads, backend);
      for (const load of [1, 2, 13, 14, 15, 60]) {
        const jobs = Array.from({ length: load }, (_, job) => ({ key: job % 7, message: root(job >> 1) }));
        const signatures = await Promise.all(
          jobs.map(({ key, message }) =>
            engine.sign({ dutyClass: "attestation", slot: slots[key] as number, root: message }),
          ),
        );
        expect(signatures.map(toHex)).toEqual(jobs.map(({ key, message }) => plain(key, message)));
        expect(new Set(signatures.map((signature) => signature.length))).toEqual(new Set([96]));
      }
    },
  );

  it("finishes what was asked first first, under load", async () => {
    const { backend, slots } = makeKeys(1, open(kind));
    const engine = start(1, backend);
    const finished: number[] = [];
    const ask = (number: number) =>
      engine
        .sign({ dutyClass: "attestation", slot: slots[0] as number, root: root(number) })
        .then(() => finished.push(number));
    await Promise.all(Array.from({ length: 80 }, (_, number) => ask(number)));
    expect(finished).toEqual(Array.from({ length: 80 }, (_, number) => number));
  });

  it("sees keys that were stored, and slots that came into being, after its threads started", async () => {
    const backend = open(kind);
    const engine = start(1, backend);
    const first = makeKeys(1, backend);
    expect(toHex(await engine.sign({ dutyClass: "attestation", slot: first.slots[0] as number, root: root(1) }))).toBe(
      first.plain(0, root(1)),
    );
    const many = makeKeys(2_000, backend); // the arena grows
    const last = many.slots[1_999] as number;
    expect(toHex(await engine.sign({ dutyClass: "attestation", slot: last, root: root(2) }))).toBe(
      many.plain(1_999, root(2)),
    );
  });

  it("does not mind what the caller does with its signature", async () => {
    const { backend, slots, plain } = makeKeys(2, open(kind));
    const engine = start(1, backend);
    const [first, second] = await Promise.all(
      slots.map((slot) => engine.sign({ dutyClass: "attestation", slot, root: root(1) })),
    );
    first?.fill(0);
    expect(toHex(second as Uint8Array)).toBe(plain(1, root(1)));
    expect(toHex(await engine.sign({ dutyClass: "attestation", slot: slots[0] as number, root: root(1) }))).toBe(
      plain(0, root(1)),
    );
  });

  it("bounds its queue, and takes more once there is room", async () => {
    const { backend, slots } = makeKeys(1, open(kind));
    const engine = start(1, backend);
    const slot = slots[0] as number;
    const waiting = Array.from({ length: 8_192 }, (_, number) =>
      codeOf(engine.sign({ dutyClass: "attestation", slot, root: root(number) })),
    );
    expect(await codeOf(engine.sign({ dutyClass: "attestation", slot, root: root(0) }))).toBe("overloaded");
    expect(await waiting[0]).toBe("signed");
    const more = codeOf(engine.sign({ dutyClass: "attestation", slot, root: root(0) }));
    await engine.close();
    expect(await more).toBe("unavailable");
    expect(new Set(await Promise.all(waiting))).toEqual(new Set(["signed", "unavailable"]));
  });

  it("takes a block although its queue is full, in the place of something less urgent", async () => {
    const { backend, slots, plain } = makeKeys(1, open(kind));
    const engine = start(1, backend);
    const slot = slots[0] as number;
    const ask = (dutyClass: DutyClass, number: number) => engine.sign({ dutyClass, slot, root: root(number) });
    const exit = codeOf(ask("exit", 1));
    const waiting = Array.from({ length: 8_191 }, () => codeOf(ask("attestation", 2)));
    const block = ask("block", 3);
    expect(await exit).toBe("overloaded");
    const second = ask("block", 4);
    expect(await codeOf(ask("attestation", 5))).toBe("overloaded");
    expect(toHex(await block)).toBe(plain(0, root(3)));
    expect(toHex(await second)).toBe(plain(0, root(4)));
    await engine.close();
    const outcomes = await Promise.all(waiting);
    expect(outcomes.filter((outcome) => outcome === "overloaded").length).toBe(1);
  });

  it("fails everything that is not signed yet when it is closed, and takes nothing after", async () => {
    const { backend, slots } = makeKeys(1, open(kind));
    const engine = start(2, backend);
    const outcomes = Array.from({ length: 100 }, (_, number) =>
      codeOf(engine.sign({ dutyClass: "attestation", slot: slots[0] as number, root: root(number) })),
    );
    await engine.close();
    const settled = await Promise.all(outcomes);
    expect(settled.filter((outcome) => outcome !== "signed" && outcome !== "unavailable")).toEqual([]);
    expect(settled.at(-1)).toBe("unavailable");
    expect(await codeOf(engine.sign({ dutyClass: "attestation", slot: slots[0] as number, root: root(1) }))).toBe(
      "unavailable",
    );
    await engine.close();
  });

  it.each([0, 31, 33, 64])("refuses a root of %i bytes, which would shift its neighbours'", async (length) => {
    const { backend, slots, plain } = makeKeys(1, open(kind));
    const engine = start(1, backend);
    const slot = slots[0] as number;
    const outcomes = [
      engine.sign({ dutyClass: "attestation", slot, root: root(1) }),
      engine.sign({ dutyClass: "attestation", slot, root: new Uint8Array(length) }),
      engine.sign({ dutyClass: "attestation", slot, root: root(2) }),
    ];
    expect(await codeOf(outcomes[1] as Promise<unknown>)).toBe("internal");
    expect(toHex((await outcomes[0]) as Uint8Array)).toBe(plain(0, root(1)));
    expect(toHex((await outcomes[2]) as Uint8Array)).toBe(plain(0, root(2)));
  });

  it("drops what nobody waits for any more, when its turn comes, and signs the rest", async () => {
    const { backend, slots, plain } = makeKeys(1, open(kind));
    let nowMs = 0;
    const engine = start(1, backend, () => nowMs);
    const slot = slots[0] as number;
    const first = engine.sign({ dutyClass: "attestation", slot, root: root(0), deadlineMs: 100 });
    await nextTurn(); // begun at once, in the next turn
    const waiting = [100, 101, undefined, 99].map((deadlineMs, index) =>
      engine.sign({
        dutyClass: "attestation",
        slot,
        root: root(index + 1),
        ...(deadlineMs !== undefined && { deadlineMs }),
      }),
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
    const { backend, slots, plain } = makeKeys(3, open(kind));
    const engine = start(1, backend);
    backend.arena.erase(slots[1] as number);
    const outcomes = [0, 1, 2, 1, 0].map((key) =>
      engine.sign({ dutyClass: "attestation", slot: slots[key] as number, root: root(key) }),
    );
    expect(await Promise.all(outcomes.map(codeOf))).toEqual(["signed", "internal", "signed", "internal", "signed"]);
    expect(toHex((await outcomes[2]) as Uint8Array)).toBe(plain(2, root(2)));
    expect(toHex((await outcomes[4]) as Uint8Array)).toBe(plain(0, root(0)));
  });

  it("never signs with an erased slot, and goes on working", async () => {
    const { backend, slots, plain } = makeKeys(2, open(kind));
    const engine = start(1, backend);
    backend.arena.erase(slots[0] as number);
    expect(await codeOf(engine.sign({ dutyClass: "attestation", slot: slots[0] as number, root: root(1) }))).toBe(
      "internal",
    );
    expect(toHex(await engine.sign({ dutyClass: "attestation", slot: slots[1] as number, root: root(1) }))).toBe(
      plain(1, root(1)),
    );
  });
});
