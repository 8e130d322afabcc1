import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { ControlClient } from "#pool-manager/control-client.ts";
import { createKeyRing, type KeyRingModules, type KeyRingOptions } from "#pool-manager/keys/key-ring.ts";
import type { SourceFailure, SourceKey } from "#pool-manager/keys/key-source.ts";
import { type KeyStore, openKeyStore } from "#pool-manager/keys/key-store.ts";
import { type ErrorCode, SignerError } from "#protocol/errors.ts";
import { createLogger } from "#protocol/log.ts";
import { CONTROL_OPERATIONS, type SealedKey } from "#protocol/messages/control.ts";
import { hasSettled } from "../../helpers/guarded.ts";
import { makeSocketFolder, until } from "../../helpers/socket-folder.ts";

const { openSecret, generateKey } = CONTROL_OPERATIONS;
const sealed = (byte: number): SealedKey => ({
  pubkey: new Uint8Array(48).fill(byte),
  sealed: new Uint8Array(60).fill(byte),
  registered: false,
});
/** A source whose key is the byte that it is named by. */
const source = (byte: number, digest = byte): SourceKey => ({
  name: `key ${byte}`,
  digest: new Uint8Array(32).fill(digest),
  request: () => ({ operation: openSecret, payload: Uint8Array.of(byte) }),
});

type Answer = (byte: number, operation: number) => Promise<SealedKey> | SealedKey;
interface Opener extends ControlClient {
  /** First payload bytes of what it was asked to open. */
  readonly asked: number[];
  readonly operations: number[];
  closed: boolean;
}

const fail =
  (code: ErrorCode): Answer =>
  () => {
    throw new SignerError(code, "as the test wants");
  };

/** An enclave that opens keys; everything else of the control port is not asked of it. */
const makeOpener = (answer: Answer = (byte) => sealed(byte)): Opener => {
  let opening = 0;
  const asked: number[] = [];
  const operations: number[] = [];
  const unused = (): never => {
    throw new Error("not for the key ring");
  };
  return {
    asked,
    operations,
    closed: false,
    get opening() {
      return opening;
    },
    openKey: async (operation, payload) => {
      opening += 1;
      asked.push(payload[0] ?? -1);
      operations.push(operation);
      try {
        return await answer(payload[0] ?? -1, operation);
      } finally {
        opening -= 1;
      }
    },
    configure: unused,
    configureSealed: unused,
    loadBundle: unused,
    loadKeys: unused,
    removeKeys: unused,
    activate: unused,
    open: unused,
    operate: unused,
    floors: unused,
    keepFloors: unused,
    refresh: unused,
    macKeys: unused,
    status: unused,
    drain: unused,
    close: unused,
  };
};

let folder: ReturnType<typeof makeSocketFolder>;
let keyStore: KeyStore;
let logs: { event: string; source?: string; reason?: string }[];
let progress: string[];
beforeEach(() => {
  folder = makeSocketFolder();
  keyStore = openKeyStore(folder.path("keys.sqlite"));
  logs = [];
  progress = [];
});
afterEach(() => {
  keyStore.close();
  folder.remove();
});

/** A ring over a plain list of sources; `failures` are files that could not be read. */
const makeRing = ({ listSource, failures = [], ...modules }: RingModules, options: Partial<KeyRingOptions> = {}) =>
  createKeyRing(
    { developmentKeys: 3, concurrency: 2, ...options },
    {
      keyStore,
      listSource: listSource && (async () => ({ keys: listSource(), failures })),
      openers: () => [makeOpener()],
      logger: createLogger({ process: "test", level: "info", write: (line) => logs.push(JSON.parse(line)) }),
      onProgress: ({ done, total }) => progress.push(`${done}/${total}`),
      ...modules,
    },
  );
type RingModules = Partial<Omit<KeyRingModules, "listSource">> & {
  listSource?: () => readonly SourceKey[];
  failures?: readonly SourceFailure[];
};
const bytesOf = (keys: readonly SealedKey[] | undefined) => keys?.map((key) => key.pubkey[0]);
const codeOf = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => "resolved",
    (error: SignerError) => error.code,
  );

describe("a key ring", () => {
  it("opens all keys of its source, in order, and counts what it did", async () => {
    const opener = makeOpener();
    const ring = makeRing({ listSource: () => [5, 3, 9, 1].map((byte) => source(byte)), openers: () => [opener] });
    expect(ring.current).toBeUndefined();
    const list = await ring.refresh();
    expect(bytesOf(list.keys)).toEqual([5, 3, 9, 1]);
    expect(list).toMatchObject({ version: 1, errors: 0 });
    expect(ring.current).toBe(list);
    expect(progress).toEqual(["1/4", "2/4", "3/4", "4/4"]);
    expect(opener.operations).toEqual([openSecret, openSecret, openSecret, openSecret]);
  });

  it("does not open what it opened before, also after a restart", async () => {
    const opener = makeOpener();
    const modules = { listSource: () => [source(1), source(2)], openers: () => [opener] };
    await makeRing(modules).refresh();
    expect(opener.asked.toSorted()).toEqual([1, 2]);
    const ring = makeRing({ ...modules, listSource: () => [source(1), source(3), source(2)] });
    expect(bytesOf((await ring.refresh()).keys)).toEqual([1, 3, 2]);
    expect(opener.asked.slice(2)).toEqual([3]);
  });

  it("asks for no password of a key that it knows", async () => {
    keyStore.save(sealed(1), { kind: "imported", digest: new Uint8Array(32).fill(1) });
    const request = (): never => {
      throw new SignerError("bad_request", "no password");
    };
    const ring = makeRing({ listSource: () => [{ ...source(1), request }], openers: () => [] });
    expect(bytesOf((await ring.refresh()).keys)).toEqual([1]);
  });

  it("names the keys that do not open and goes on with the rest", async () => {
    const opener = makeOpener((byte) => (byte === 2 ? fail("bad_request")(byte, 0) : sealed(byte)));
    const missing = { ...source(4), request: fail("bad_request") as unknown as SourceKey["request"] };
    const ring = makeRing({
      listSource: () => [source(1), source(2), source(3), missing, source(5)],
      openers: () => [opener],
    });
    const list = await ring.refresh();
    expect(bytesOf(list.keys)).toEqual([1, 3, 5]);
    expect(list.errors).toBe(2);
    expect(logs.map(({ event, source: name }) => [event, name])).toEqual([
      ["key not loaded", "key 2"],
      ["key not loaded", "key 4"],
    ]);
    expect(opener.asked.filter((byte) => byte === 2)).toHaveLength(1);
  });

  it("tries a key that did not open again at the next pass", async () => {
    let broken = true;
    const opener = makeOpener((byte) => (broken && byte === 2 ? fail("bad_request")(byte, 0) : sealed(byte)));
    const ring = makeRing({ listSource: () => [source(1), source(2)], openers: () => [opener] });
    expect((await ring.refresh()).errors).toBe(1);
    broken = false;
    expect(await ring.refresh()).toMatchObject({ version: 2, errors: 0 });
    expect(bytesOf(ring.current?.keys)).toEqual([1, 2]);
  });

  it("keeps each public key once, however many files hold it", async () => {
    const opener = makeOpener(() => sealed(7));
    const ring = makeRing({ listSource: () => [source(1), source(2)], openers: () => [opener] });
    const list = await ring.refresh();
    expect(bytesOf(list.keys)).toEqual([7]);
    expect(list.errors).toBe(0);
  });

  it("has a new version when keys came or went, and the old one when nothing changed", async () => {
    let bytes = [1, 2];
    const ring = makeRing({ listSource: () => bytes.map((byte) => source(byte)) });
    const versions = [];
    for (bytes of [[1, 2], [1, 2], [1], [1, 3], [3, 1], [3, 1]]) versions.push((await ring.refresh()).version);
    expect(versions).toEqual([1, 1, 2, 3, 4, 4]);
  });

  it.each<[string, () => SourceKey[], Answer]>([
    ["none of its keys opens", () => [source(1), source(2)], fail("bad_request")],
    ["its source cannot be read", fail("bad_request") as unknown as () => SourceKey[], fail("bad_request")],
  ])("keeps its last list when %s", async (_name, listSource, answer) => {
    let broken = false;
    const ring = makeRing({
      listSource: () => (broken ? listSource() : [source(9)]),
      openers: () => [makeOpener((byte, operation) => (broken ? answer(byte, operation) : sealed(byte)))],
    });
    const list = await ring.refresh();
    broken = true;
    expect(await codeOf(ring.refresh())).toBe("bad_request");
    expect(ring.current).toBe(list);
    broken = false;
    expect((await ring.refresh()).version).toBe(1);
  });

  it("never runs two passes at once: whoever asks meanwhile gets the one that runs", async () => {
    const gate = Promise.withResolvers<void>();
    const opener = makeOpener(async (byte) => {
      await gate.promise;
      return sealed(byte);
    });
    let listings = 0;
    const listSource = () => {
      listings += 1;
      return [source(1)];
    };
    const ring = makeRing({ listSource, openers: () => [opener] });
    const passes = [ring.refresh(), ring.refresh()];
    gate.resolve();
    const [first, second] = await Promise.all(passes);
    expect(first).toBe(second);
    expect(listings).toBe(1);
    await ring.refresh();
    expect(listings).toBe(2);
  });
});

describe("opening", () => {
  it("runs at most as many at a time as allowed, on the enclave with the least to do", async () => {
    const gates: PromiseWithResolvers<void>[] = [];
    const slow: Answer = async (byte) => {
      const gate = Promise.withResolvers<void>();
      gates.push(gate);
      await gate.promise;
      return sealed(byte);
    };
    const openers = [makeOpener(slow), makeOpener(slow), makeOpener(slow)];
    const ring = makeRing(
      { listSource: () => [1, 2, 3, 4, 5, 6].map((byte) => source(byte)), openers: () => openers },
      { concurrency: 3 },
    );
    const pass = ring.refresh();
    await hasSettled(pass);
    expect(openers.map((opener) => opener.opening)).toEqual([1, 1, 1]);
    while (!(await hasSettled(pass))) for (const gate of gates.splice(0)) gate.resolve();
    expect(openers.map((opener) => opener.asked.length)).toEqual([2, 2, 2]);
  });

  it("goes to another enclave when one dies over it", async () => {
    const healthy = makeOpener();
    // The dead one stays in the list, as it does until its member notices.
    const dying: Opener = makeOpener((byte, operation) => {
      dying.closed = true;
      return fail("connection_lost")(byte, operation);
    });
    const ring = makeRing({ listSource: () => [source(1)], openers: () => [dying, healthy] });
    expect(bytesOf((await ring.refresh()).keys)).toEqual([1]);
    expect(dying.asked).toEqual([1]);
    expect(healthy.asked).toEqual([1]);
  });

  it("waits for the replacement of the only enclave, instead of asking the dead one again and again", async () => {
    const dying: Opener = makeOpener((byte, operation) => {
      dying.closed = true;
      return fail("connection_lost")(byte, operation);
    });
    const healthy = makeOpener();
    let openers = [dying];
    const ring = makeRing({ listSource: () => [source(1)], openers: () => openers });
    const pass = ring.refresh();
    await sleep(120);
    expect(dying.asked).toEqual([1]);
    openers = [dying, healthy];
    expect(bytesOf((await pass).keys)).toEqual([1]);
    expect(logs).toEqual([]);
  });

  it.each<[ErrorCode, number]>([
    ["connection_lost", 3],
    ["deadline_exceeded", 3],
    ["unavailable", 3],
    ["overloaded", 3],
    ["bad_request", 1],
    ["internal", 1],
  ])("gives a key up after %s came %i times", async (code, attempts) => {
    const openers = Array.from({ length: 5 }, () =>
      makeOpener((byte, operation) => (byte === 1 ? fail(code)(byte, operation) : sealed(byte))),
    );
    const ring = makeRing({ listSource: () => [source(1), source(2)], openers: () => openers }, { concurrency: 1 });
    const list = await ring.refresh();
    expect(bytesOf(list.keys)).toEqual([2]);
    expect(openers.flatMap((opener) => opener.asked).filter((byte) => byte === 1)).toHaveLength(attempts);
    // Never the same one twice.
    for (const { asked } of openers) expect(asked.filter((byte) => byte === 1).length).toBeLessThanOrEqual(1);
  });

  it.each<ErrorCode>(["deadline_exceeded", "unavailable", "overloaded"])(
    "goes to another enclave when one answers %s, and loses no key",
    async (code) => {
      const openers = [makeOpener(fail(code)), makeOpener()];
      const ring = makeRing({ listSource: () => [1, 2, 3].map((byte) => source(byte)), openers: () => openers });
      expect(await ring.refresh()).toMatchObject({ errors: 0 });
      expect(bytesOf(ring.current?.keys)).toEqual([1, 2, 3]);
      expect(logs).toEqual([]);
    },
  );

  it("wipes what it sent, whatever came of it", async () => {
    const payloads: Uint8Array[] = [];
    const remembering = (byte: number): SourceKey => ({
      ...source(byte),
      request: () => {
        payloads.push(Uint8Array.of(byte, byte));
        return { operation: openSecret, payload: payloads.at(-1) as Uint8Array };
      },
    });
    const opener = makeOpener((byte) => (byte === 2 ? fail("bad_request")(byte, 0) : sealed(byte)));
    const ring = makeRing({ listSource: () => [remembering(1), remembering(2)], openers: () => [opener] });
    await ring.refresh();
    expect(opener.asked.toSorted()).toEqual([1, 2]);
    expect(payloads).toEqual([new Uint8Array(2), new Uint8Array(2)]);
  });

  it("has one patience for all keys of a pass, not one for each", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "performance"] });
    try {
      const bytes = Array.from({ length: 40 }, (_, index) => index + 1);
      const ring = makeRing({ listSource: () => bytes.map((byte) => source(byte)), openers: () => [] });
      const pass = codeOf(ring.refresh());
      await vi.advanceTimersByTimeAsync(119_000);
      expect(logs).toEqual([]);
      await vi.advanceTimersByTimeAsync(2_000);
      expect(await pass).toBe("bad_request");
      expect(logs).toHaveLength(40);
      expect(logs[0]?.reason).toMatch(/no enclave is there/);
    } finally {
      vi.useRealTimers();
    }
  });

  it("waits until there is an enclave", async () => {
    let openers: Opener[] = [];
    const ring = makeRing({ listSource: () => [source(1)], openers: () => openers });
    const pass = ring.refresh();
    await sleep(80);
    openers = [makeOpener()];
    expect(bytesOf((await pass).keys)).toEqual([1]);
  });
});

describe("development keys", () => {
  it("are made once and kept", async () => {
    let made = 0;
    const opener = makeOpener((_, operation) => {
      expect(operation).toBe(generateKey);
      made += 1;
      return sealed(made);
    });
    expect(bytesOf((await makeRing({ openers: () => [opener] }).refresh()).keys)).toEqual([1, 2, 3]);
    const later = makeRing({ openers: () => [] }, { developmentKeys: 5 });
    expect(bytesOf((await later.refresh()).keys)).toEqual([1, 2, 3]);
    expect(made).toBe(3);
  });
});

it("development keys are completed after a start that broke off", async () => {
  keyStore.save(sealed(200), { kind: "generated" });
  let made = 0;
  const opener = makeOpener(() => {
    made += 1;
    return sealed(made);
  });
  expect(bytesOf((await makeRing({ openers: () => [opener] }).refresh()).keys)).toEqual([200, 1, 2]);
});

it("files that cannot be read count as errors, by name, and the rest opens", async () => {
  const failures = [{ name: "notes.json", reason: "too long" }];
  const ring = makeRing({ listSource: () => [source(1)], failures });
  expect(await ring.refresh()).toMatchObject({ errors: 1 });
  expect(bytesOf(ring.current?.keys)).toEqual([1]);
  expect(logs).toMatchObject([{ event: "key not loaded", source: "notes.json", reason: "too long" }]);
});

describe("registration", () => {
  it("is remembered in the list and at rest, without a new version", async () => {
    const ring = makeRing({ listSource: () => [source(1), source(2)] });
    const { keys } = await ring.refresh();
    ring.markRegistered(keys.slice(0, 1));
    expect(ring.current?.keys.map(({ registered }) => registered)).toEqual([true, false]);
    expect(ring.current?.version).toBe(1);
    expect((await ring.refresh()).version).toBe(1);
    const later = makeRing({ listSource: () => [source(1), source(2)] });
    expect((await later.refresh()).keys.map(({ registered }) => registered)).toEqual([true, false]);
  });

  it("is not undone by a pass that began before", async () => {
    const gate = Promise.withResolvers<void>();
    const slow = makeOpener(async (byte) => {
      await gate.promise;
      return sealed(byte);
    });
    let sources = [source(1)];
    let opener = makeOpener();
    const ring = makeRing({ listSource: () => sources, openers: () => [opener] });
    const { keys } = await ring.refresh();
    sources = [source(1), source(2)];
    opener = slow;
    const pass = ring.refresh();
    await until(() => slow.asked.length === 1);
    ring.markRegistered(keys);
    gate.resolve();
    expect((await pass).keys.map(({ registered }) => registered)).toEqual([true, false]);
  });
});
