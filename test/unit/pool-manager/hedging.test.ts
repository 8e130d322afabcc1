/** Requests whose enclave falls silent: when they are asked of another one too, and whose word counts. */

import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { type Attempt, createEnclaveClient, type EnclaveClient, HEDGE_MS } from "#pool-manager/enclave-client.ts";
import { type ErrorCode, SignerError } from "#protocol/errors.ts";
import { PORT_DATA } from "#protocol/limits.ts";
import { encodeSignOutcome, type SignOutcome } from "#protocol/messages/sign.ts";
import { serveRpc } from "#protocol/rpc.ts";
import { type Listener, listenGuest } from "#protocol/transport/hybrid.ts";
import { makeSocketFolder, until } from "../../helpers/socket-folder.ts";

const signedBy = (who: number): SignOutcome => ({ kind: "signed", signature: new Uint8Array(96).fill(who) });
const FIRST = signedBy(1);
const OTHER = signedBy(2);
const DENIED: SignOutcome = { kind: "denied", rule: "double_vote", detail: "target 7 with another root" };

let folder: ReturnType<typeof makeSocketFolder>;
let listener: Listener;
let client: EnclaveClient;
let now: number;
/** Requests that wait in the enclave, in order. */
let waiting: PromiseWithResolvers<SignOutcome>[];
/** What the pool was asked to hedge, and how to answer each. */
let hedges: { attempt: Attempt; answer: PromiseWithResolvers<SignOutcome> }[];
let looks: number;
let somebodyAnswers: boolean;
let nobodyRecords: boolean;
let warnings: object[];

beforeEach(async () => {
  folder = makeSocketFolder();
  now = 1_000;
  waiting = [];
  hedges = [];
  looks = 0;
  somebodyAnswers = true;
  nobodyRecords = false;
  warnings = [];
  const handler = async (): Promise<Uint8Array> => {
    const answer = Promise.withResolvers<SignOutcome>();
    waiting.push(answer);
    return encodeSignOutcome(await answer.promise);
  };
  const path = folder.path("v");
  listener = await listenGuest(path, new Map([[PORT_DATA, (socket) => void serveRpc(socket, { handler })]]));
  const ignore = (): void => undefined;
  client = createEnclaveClient(
    { cid: 16, path },
    {
      now: () => now,
      random: () => 0,
      logger: {
        debug: ignore,
        info: ignore,
        warn: (event, fields) => warnings.push({ event, ...fields }),
        error: ignore,
      },
      onUp: ignore,
      hedge: (attempt) => {
        looks += 1;
        if (!somebodyAnswers || (nobodyRecords && attempt.slashable)) return undefined;
        const answer = Promise.withResolvers<SignOutcome>();
        hedges.push({ attempt, answer });
        return answer.promise;
      },
    },
  );
  await until(() => client.connected);
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
});

afterEach(async () => {
  vi.useRealTimers();
  client.close();
  await listener.close();
  folder.remove();
});

/** Sends a request, and waits until the enclave has it. */
const ask = async (options: Partial<Attempt> = {}) => {
  const before = waiting.length;
  const timeoutMs = options.timeoutMs ?? 10_000;
  const result = { said: undefined as string | undefined };
  const say = (text: string): void => {
    result.said = text;
  };
  const body = { pubkey: new Uint8Array(48), body: new Uint8Array(2), slashable: true };
  client.sign({ ...body, timeoutMs, deadline: now + timeoutMs, mayHedge: true, ...options }).then(
    (outcome) => say(outcome.kind === "signed" ? `signed by ${outcome.signature[0]}` : outcome.rule),
    (error: SignerError) => say(error.code),
  );
  await until(() => waiting.length > before, "the request at the enclave");
  return result;
};

const pass = (ms: number): void => {
  for (let passed = 0; passed < ms; passed += 1) {
    now += 1;
    vi.advanceTimersByTime(1);
  }
};
const settle = () => new Promise<void>((resolve) => setImmediate(resolve));
/** The enclave's answer to its oldest request is in the socket, and the client has not read it yet. */
const answerUnread = async (): Promise<void> => {
  waiting[0]?.resolve(FIRST);
  for (let turn = 0; turn < 10; turn += 1) await undefined; // until it is among what leaves in this turn
  const before = client.inFlight;
  await settle();
  expect(client.inFlight).toBe(before);
};
const failWith = (answer: PromiseWithResolvers<SignOutcome> | undefined, code: ErrorCode): void =>
  answer?.reject(new SignerError(code, "as the test wants"));

describe("a request whose enclave is silent", () => {
  it.each([
    [10_000, HEDGE_MS],
    [2_000, HEDGE_MS],
    [1_000, 500],
    [300, 150],
    [90, 50],
  ])("and that has %i ms is hedged after %i ms, once", async (timeoutMs, afterMs) => {
    const request = await ask({ timeoutMs });
    pass(afterMs - 1);
    expect(hedges).toHaveLength(0);
    pass(1);
    expect(hedges.map(({ attempt }) => attempt.mayHedge)).toEqual([false]);
    expect(warnings).toEqual([{ event: "enclave silent, asking others too", cid: 16, silentMs: afterMs, requests: 1 }]);
    hedges[0]?.answer.resolve(OTHER);
    await settle();
    expect(request.said).toBe("signed by 2");
    pass(timeoutMs - afterMs - 1);
    expect(looks).toBe(1);
  });

  it("still loads its enclave until that has answered, and the late answer changes nothing", async () => {
    const request = await ask();
    pass(HEDGE_MS);
    hedges[0]?.answer.resolve(OTHER);
    await settle();
    expect([client.inFlight, client.silentMs]).toEqual([1, HEDGE_MS]);
    waiting[0]?.resolve(FIRST);
    await until(() => client.inFlight === 0);
    expect([request.said, client.silentMs]).toEqual(["signed by 2", 0]);
  });

  it("gets the enclave's own answer when that comes first", async () => {
    const request = await ask();
    pass(HEDGE_MS);
    waiting[0]?.resolve(FIRST);
    await until(() => request.said !== undefined);
    failWith(hedges[0]?.answer, "store_suspect");
    await settle();
    expect(request.said).toBe("signed by 1");
  });

  it("is hedged together with all others by one timer, the oldest first", async () => {
    const timers = vi.getTimerCount();
    for (let index = 0; index < 20; index += 1) await ask({ body: new Uint8Array([index]) });
    expect(vi.getTimerCount()).toBe(timers + 20 + 1); // each has its deadline (`rpc.ts`)
    pass(HEDGE_MS);
    expect(hedges.map(({ attempt }) => attempt.body[0])).toEqual(Array.from({ length: 20 }, (_, index) => index));
  });

  it("is not hedged while the enclave answers anything", async () => {
    const request = await ask();
    for (let round = 0; round < 5; round += 1) {
      pass(HEDGE_MS - 10);
      await ask();
      waiting.at(-1)?.resolve(FIRST);
      await until(() => client.inFlight === 1);
    }
    expect(looks).toBe(0);
    pass(HEDGE_MS);
    expect(hedges).toHaveLength(1);
    expect(request.said).toBeUndefined();
  });

  it("is not hedged when it was before", async () => {
    await ask({ mayHedge: false });
    pass(3_000);
    expect(looks).toBe(0);
  });

  it("waits for somebody who can be asked, one look for all every 250 ms", async () => {
    somebodyAnswers = false;
    for (let index = 0; index < 5; index += 1) await ask();
    pass(HEDGE_MS);
    expect(looks).toBe(1);
    pass(500);
    expect(looks).toBe(3);
    somebodyAnswers = true;
    pass(250);
    expect(hedges).toHaveLength(5);
    expect(warnings).toHaveLength(1);
  });

  it("is hedged when it needs no record, though those before it find nobody who can record", async () => {
    nobodyRecords = true;
    for (let index = 0; index < 6; index += 1) await ask({ slashable: index % 3 < 2 });
    pass(HEDGE_MS);
    expect(hedges.map(({ attempt }) => attempt.slashable)).toEqual([false, false]);
    expect(looks).toBe(3);
    nobodyRecords = false;
    pass(250);
    expect(hedges).toHaveLength(6);
  });

  it("is given up with the connection as ever, and then the hedge still counts", async () => {
    const [hedged, alone] = [await ask(), await ask({ mayHedge: false })];
    pass(3_499);
    expect([client.connected, hedged.said, alone.said]).toEqual([true, undefined, undefined]);
    pass(1);
    await settle();
    expect([client.connected, hedged.said, alone.said]).toEqual([false, undefined, "connection_lost"]);
    hedges[0]?.answer.resolve(OTHER);
    await settle();
    expect(hedged.said).toBe("signed by 2");
  });

  it("is not hedged when it was this very process that stood still: what came meanwhile is read first", async () => {
    const request = await ask();
    pass(10);
    await answerUnread();
    now += 4_000;
    vi.advanceTimersByTime(HEDGE_MS);
    expect([looks, client.connected]).toEqual([0, true]);
    await until(() => request.said !== undefined);
    expect([request.said, looks, client.connected]).toEqual(["signed by 1", 0, true]);
  });

  it("is not lost because another one ran out of time while this very process stood still", async () => {
    const request = await ask({ mayHedge: false });
    const late = await ask({ timeoutMs: 500, mayHedge: false });
    await answerUnread();
    now += 2_500;
    vi.advanceTimersByTime(500);
    await until(() => request.said !== undefined && late.said !== undefined);
    expect([request.said, late.said, client.connected]).toEqual(["signed by 1", "deadline_exceeded", true]);
  });

  it("is looked at after this process stood still, too, if nothing came meanwhile", async () => {
    await ask();
    now += HEDGE_MS + 1_000;
    vi.advanceTimersByTime(HEDGE_MS);
    expect(looks).toBe(0);
    await until(() => looks === 1);
    expect(client.connected).toBe(true);
    now += 2_000;
    vi.advanceTimersByTime(2_000);
    await until(() => !client.connected);
  });

  it("is not looked at after the end, though a look was due", async () => {
    await ask();
    now += HEDGE_MS + 1_000;
    vi.advanceTimersByTime(HEDGE_MS);
    client.close();
    await settle();
    expect(looks).toBe(0);
  });

  it("is a new silence after a time without requests, though the last one was never answered", async () => {
    const lost = await ask({ timeoutMs: 500, mayHedge: false });
    pass(500);
    await settle();
    expect(lost.said).toBe("deadline_exceeded");
    pass(60_000);
    await ask();
    pass(HEDGE_MS - 1);
    expect([hedges.length, client.connected]).toEqual([0, true]);
    pass(1);
    expect([hedges.length, client.connected]).toEqual([1, true]);
  });
});

describe("two words on one request", () => {
  const FINAL = ["bad_request", "store_suspect"] as const;
  const NOT_FINAL = [
    "unknown_key",
    "overloaded",
    "unavailable",
    "deadline_exceeded",
    "unknown_outcome",
    "connection_lost",
    "internal",
  ] as const;
  const hedgedRequest = async () => {
    const request = await ask();
    pass(HEDGE_MS);
    return { request, first: waiting[0], other: hedges[0]?.answer };
  };

  it("a denial by the other one is final", async () => {
    const { request, first, other } = await hedgedRequest();
    other?.resolve(DENIED);
    await settle();
    expect(request.said).toBe("double_vote");
    first?.resolve(FIRST);
    await until(() => client.inFlight === 0);
    expect(request.said).toBe("double_vote");
  });

  it("a denial by the first one is final", async () => {
    const { request, first } = await hedgedRequest();
    first?.resolve(DENIED);
    await until(() => request.said === "double_vote");
  });

  it.each(FINAL)("%s is final, whoever says so", async (code) => {
    const { request, other } = await hedgedRequest();
    failWith(other, code);
    await settle();
    expect(request.said).toBe(code);
    const { request: second, first } = { request: await ask(), first: waiting[1] };
    failWith(first, code);
    await until(() => second.said === code);
  });

  it.each(FINAL)("%s of the first one is not kept back for the other one's signature", async (code) => {
    const { request, first, other } = await hedgedRequest();
    failWith(first, code);
    await until(() => request.said === code);
    other?.resolve(OTHER);
    await settle();
    expect(request.said).toBe(code);
  });

  it.each(NOT_FINAL)("%s of the other one counts for nothing", async (code) => {
    const { request, first, other } = await hedgedRequest();
    failWith(other, code);
    await settle();
    expect(request.said).toBeUndefined();
    first?.resolve(FIRST);
    await until(() => request.said === "signed by 1");
  });

  it.each(NOT_FINAL)("%s of the first one waits for the other one's signature", async (code) => {
    const { request, first, other } = await hedgedRequest();
    failWith(first, code);
    await until(() => client.inFlight === 0);
    await settle();
    expect(request.said).toBeUndefined();
    other?.resolve(OTHER);
    await settle();
    expect(request.said).toBe("signed by 2");
  });

  it.each(["first", "other"] as const)(
    "when both fail, the %s one earlier, it is the first one's failure",
    async (who) => {
      const { request, first, other } = await hedgedRequest();
      if (who === "first") failWith(first, "unknown_outcome");
      else failWith(other, "overloaded");
      await until(() => who === "other" || client.inFlight === 0);
      await settle();
      if (who === "first") failWith(other, "overloaded");
      else failWith(first, "unknown_outcome");
      await until(() => request.said === "unknown_outcome");
    },
  );
});
