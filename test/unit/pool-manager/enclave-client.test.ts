import { afterEach, beforeEach, expect, it } from "vitest";
import { orderCandidates, STALL_MS } from "#pool-manager/balancer.ts";
import { createEnclaveClient, type EnclaveClient } from "#pool-manager/enclave-client.ts";
import { PORT_DATA } from "#protocol/limits.ts";
import { encodeSignOutcome } from "#protocol/messages/sign.ts";
import { serveRpc } from "#protocol/rpc.ts";
import { type Listener, listenGuest } from "#protocol/transport/hybrid.ts";
import { makeSocketFolder, until } from "../../helpers/socket-folder.ts";

const SIGNED = encodeSignOutcome({ kind: "signed", signature: new Uint8Array(96) });

let folder: ReturnType<typeof makeSocketFolder>;
let listener: Listener;
let client: EnclaveClient;
let now: number;
/** Answers the requests that wait in the enclave, in order. */
let waiting: (() => void)[];

beforeEach(async () => {
  folder = makeSocketFolder();
  now = 1_000;
  waiting = [];
  const handler = async (): Promise<Uint8Array> => {
    await new Promise<void>((resolve) => waiting.push(resolve));
    return SIGNED;
  };
  const path = folder.path("v");
  listener = await listenGuest(path, new Map([[PORT_DATA, (socket) => void serveRpc(socket, { handler })]]));
  client = createEnclaveClient(
    { cid: 16, path },
    { now: () => now, random: () => 0, onUp: () => undefined, hedge: () => undefined },
  );
  await until(() => client.connected);
});

afterEach(async () => {
  client.close();
  await listener.close();
  folder.remove();
});

const ask = async (): Promise<void> => {
  const before = waiting.length;
  client
    .sign({
      pubkey: new Uint8Array(48),
      body: new Uint8Array(2),
      timeoutMs: 10_000,
      deadline: now + 10_000,
      slashable: true,
      mayHedge: true,
    })
    .catch(() => undefined /* closed at the end */);
  await until(() => waiting.length > before);
};

const answerOldest = async (): Promise<void> => {
  const before = client.inFlight;
  waiting.shift()?.();
  await until(() => client.inFlight === before - 1);
};

it("is not silent while it answers, however old the oldest request in its queue is", async () => {
  await ask();
  await ask();
  for (let round = 0; round < 20; round += 1) {
    now += STALL_MS - 1;
    await ask();
    const youngest = waiting.pop() as () => void;
    waiting.unshift(youngest); // the enclave answers others first
    await answerOldest();
    expect(client.silentMs).toBe(0);
  }
  now += STALL_MS;
  expect(client.silentMs).toBe(STALL_MS);
});

it("is silent from the first request that nothing was answered after, and not without one", async () => {
  now += 10_000;
  expect(client.silentMs).toBe(0);
  await ask();
  now += 100;
  await ask();
  now += 200;
  expect(client.silentMs).toBe(300);
  await answerOldest();
  now += 50;
  expect(client.silentMs).toBe(50);
  await answerOldest();
  now += 10_000;
  expect([client.inFlight, client.silentMs]).toEqual([0, 0]);
});

it("keeps slashable work at home at saturation", async () => {
  const pubkey = new Uint8Array(48);
  const order = () =>
    orderCandidates({ pubkey, slashable: true }, [
      client,
      { cid: 17, inFlight: 0, silentMs: 0, reachesStore: true },
    ])[0];
  const home = order()?.cid;
  for (let index = 0; index < 100; index += 1) await ask();
  for (let index = 0; index < 50; index += 1) {
    now += 100; // the oldest waits for seconds
    await answerOldest();
    expect(order()?.cid).toBe(home);
  }
});
