/** The gateway's side of the pool over real unix sockets: a real publisher, fake enclaves that answer the data port. */

import { randomBytes } from "node:crypto";
import { once } from "node:events";
import type { Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createPool, HEDGES_MAX, RECONNECT_WAIT_MS_MAX } from "#pool";
import { orderCandidates } from "#pool-manager/balancer.ts";
import { MANAGER_OPERATIONS } from "#pool-manager/manager-messages.ts";
import type { MemberState, MemberView, Pool, ReloadStatus } from "#pool-manager/pool-port.ts";
import { createPublisher, type Publisher } from "#pool-manager/publisher.ts";
import { toHex } from "#protocol/bytes.ts";
import { SignerError } from "#protocol/errors.ts";
import { PORT_DATA } from "#protocol/limits.ts";
import { decodeSignCommand, encodeSignOutcome, type SignCommand, type SignOutcome } from "#protocol/messages/sign.ts";
import { serveRpc } from "#protocol/rpc.ts";
import { REFUSAL_RULES } from "#protocol/slashing/rules.ts";
import { connectUnix, type Listener, listenGuest } from "#protocol/transport/hybrid.ts";
import { encodeFrame } from "../helpers/encode-frame.ts";
import { statusWith } from "../helpers/fake-enclaves.ts";
import { makeSocketFolder, until } from "../helpers/socket-folder.ts";

type Answer = (command: SignCommand) => Promise<SignOutcome> | SignOutcome;

interface FakeEnclave {
  readonly cid: number;
  readonly path: string;
  /** Commands that reached it, in order. */
  readonly received: SignCommand[];
  answer: Answer;
  readonly connections: Set<Socket>;
  /** Ends it as a kill does: listener and connections at once. */
  kill(): Promise<void>;
  start(): Promise<void>;
}

const hang: Answer = () => new Promise<never>(() => undefined);
const fail =
  (code: SignerError["code"]): Answer =>
  () => {
    throw new SignerError(code, "as the test wants");
  };
/** The signature names the enclave that made it. */
const signatureOf = (cid: number): SignOutcome => ({ kind: "signed", signature: new Uint8Array(96).fill(cid) });

let folder: ReturnType<typeof makeSocketFolder>;
let publisher: Publisher;
let pool: Pool;
let enclaves: FakeEnclave[];
let reloads: number;
let reloadStatus: ReloadStatus;

const makeEnclave = async (cid: number, path = folder.path(`v${cid}`)): Promise<FakeEnclave> => {
  let listener: Listener | undefined;
  const connections = new Set<Socket>();
  const accept = (socket: Socket): void => {
    connections.add(socket);
    socket.once("close", () => connections.delete(socket));
    serveRpc(socket, {
      handler: async (_, payload) => {
        const command = decodeSignCommand(payload.slice());
        enclave.received.push(command);
        return encodeSignOutcome(await enclave.answer(command));
      },
    });
  };
  const enclave: FakeEnclave = {
    cid,
    path,
    received: [],
    answer: () => signatureOf(cid),
    connections,
    kill: async () => {
      await listener?.close();
      listener = undefined;
    },
    start: async () => {
      listener = await listenGuest(path, new Map([[PORT_DATA, accept]]));
    },
  };
  await enclave.start();
  enclaves.push(enclave);
  return enclave;
};

const startPublisher = (): Promise<Publisher> =>
  createPublisher(
    { socketPath: folder.path("manager") },
    {
      reload: () => {
        reloads += 1;
        return reloads === 1 ? "accepted" : "running";
      },
      reloadStatus: () => reloadStatus,
      operate: () => Promise.reject(new SignerError("unavailable", "no enclaves here")),
      slashingStatus: () => Promise.resolve({ storeIdHex: "0x", commandSequence: 0, nextMacKeyId: 2 }),
    },
  );

const view = (enclave: FakeEnclave, state: MemberState = "ready", incarnation = 1): MemberView => ({
  cid: enclave.cid,
  state,
  path: enclave.path,
  incarnation,
});

/** Publishes three ready enclaves and waits until the pool is connected to each. */
const startThree = async (): Promise<[FakeEnclave, FakeEnclave, FakeEnclave]> => {
  const three = [await makeEnclave(16), await makeEnclave(17), await makeEnclave(18)] as const;
  publisher.publishMembers(
    three.map((enclave) => view(enclave)),
    0,
  );
  await until(() => three.every((enclave) => enclave.connections.size === 1), "three connections");
  await sleep(5); // the pool has read its end of the handshake
  return [...three];
};

/** A key whose order of enclaves begins with the given CIDs. */
const keyWithHome = (...cids: number[]): Uint8Array => {
  for (;;) {
    const pubkey = randomBytes(48);
    const members = enclaves.map(({ cid }) => ({ cid, inFlight: 0, silentMs: 0, reachesStore: true }));
    const order = orderCandidates({ pubkey, slashable: true }, members).map((member) => member.cid);
    if (cids.every((cid, index) => order[index] === cid)) return pubkey;
  }
};

const sign = (pubkey: Uint8Array, options: { slashable?: boolean; timeoutMs?: number } = {}): Promise<SignOutcome> =>
  pool.sign({ pubkey, body: Buffer.from("{}"), slashable: true, timeoutMs: 5_000, ...options });

const signerOf = async (outcome: Promise<SignOutcome>): Promise<number | undefined> => {
  const settled = await outcome;
  return settled.kind === "signed" ? settled.signature[0] : undefined;
};

const codeOf = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => "resolved",
    (error: SignerError) => error.code,
  );

beforeEach(async () => {
  folder = makeSocketFolder();
  enclaves = [];
  reloads = 0;
  reloadStatus = { status: "idle" };
  publisher = await startPublisher();
  pool = createPool(
    { managerSocketPath: folder.path("manager") },
    { now: () => performance.now(), random: Math.random },
  );
});

afterEach(async () => {
  await pool.close();
  await publisher.close();
  await Promise.all(enclaves.map((enclave) => enclave.kill()));
  folder.remove();
});

describe("routing", () => {
  it("sends each key to its home and passes the body on byte for byte", async () => {
    await startThree();
    for (const cid of [16, 17, 18]) {
      const pubkey = keyWithHome(cid);
      const body = randomBytes(1_000);
      expect(await signerOf(pool.sign({ pubkey, body, slashable: true, timeoutMs: 4_000 }))).toBe(cid);
      const command = enclaves.find((enclave) => enclave.cid === cid)?.received[0] as SignCommand;
      expect(toHex(command.pubkey)).toBe(toHex(pubkey));
      expect(toHex(command.body)).toBe(toHex(body));
      expect(command.timeoutMs).toBeGreaterThan(3_900);
      expect(command.timeoutMs).toBeLessThanOrEqual(4_000);
    }
    expect(enclaves.map((enclave) => enclave.received.length)).toEqual([1, 1, 1]);
  });

  it("passes a refusal through as a value, without asking anyone else", async () => {
    const [first] = await startThree();
    const refusal: SignOutcome = { kind: "denied", rule: REFUSAL_RULES[0], detail: "slot 5 again" };
    first.answer = () => refusal;
    expect(await sign(keyWithHome(16))).toEqual(refusal);
    expect(enclaves.map((enclave) => enclave.received.length)).toEqual([1, 0, 0]);
  });

  it("spills non-slashable work from a long queue, and slashable work only from a stalled home", async () => {
    const [first] = await startThree();
    first.answer = hang;
    const pubkey = keyWithHome(16, 17);
    const stuck = Promise.allSettled(Array.from({ length: 30 }, () => sign(pubkey)));
    await until(() => first.received.length === 30);
    expect(await signerOf(sign(pubkey, { slashable: false }))).toBe(17);
    const early = sign(pubkey);
    await sleep(300); // above STALL_MS
    expect(await signerOf(sign(pubkey))).toBe(17);
    expect(first.received).toHaveLength(31);
    await first.kill();
    expect(await signerOf(early)).toBe(17);
    await stuck;
  });

  it("answers unavailable at once when no member is ready", async () => {
    const enclave = await makeEnclave(16);
    publisher.publishMembers([view(enclave, "provisioning")], 0);
    await until(() => pool.view().members.length === 1);
    const startedAt = performance.now();
    await expect(sign(randomBytes(48))).rejects.toMatchObject({ code: "unavailable", detail: "no ready enclave" });
    expect(performance.now() - startedAt).toBeLessThan(RECONNECT_WAIT_MS_MAX / 2);
  });

  it("sends nothing new to a draining member, but waits for what it has", async () => {
    const [first, second, third] = await startThree();
    let release = (): void => undefined;
    first.answer = () => new Promise((resolve) => (release = () => resolve(signatureOf(16))));
    const pubkey = keyWithHome(16, 17);
    const before = sign(pubkey);
    await until(() => first.received.length === 1);
    publisher.publishMembers([view(first, "draining"), view(second), view(third)], 0);
    await until(() => pool.view().members[0]?.state === "draining");
    expect(await signerOf(sign(pubkey))).toBe(17);
    release();
    expect(await signerOf(before)).toBe(16);
  });
});

describe("a member that dies", () => {
  it("has its requests answered by another, each asked again exactly once", async () => {
    const [first, second, third] = await startThree();
    first.answer = hang;
    const keys = Array.from({ length: 50 }, () => keyWithHome(16));
    const answers = keys.map((pubkey) => signerOf(sign(pubkey)));
    await until(() => first.received.length === 50);
    await first.kill();
    const signers = await Promise.all(answers);
    expect(signers.every((cid) => cid === 17 || cid === 18)).toBe(true);
    const again = [...second.received, ...third.received].map((command) => toHex(command.pubkey));
    expect(again.sort()).toEqual(keys.map((pubkey) => toHex(pubkey)).sort());
  });

  it("is routed around while the list still shows it", async () => {
    const [first] = await startThree();
    await first.kill();
    await sleep(5);
    const pubkey = keyWithHome(16, 18);
    expect(await signerOf(sign(pubkey))).toBe(18);
  });

  it("leaves the request to a third when the second died with it", async () => {
    const [first, second] = await startThree();
    first.answer = hang;
    const answer = signerOf(sign(keyWithHome(16, 17)));
    await until(() => first.received.length === 1);
    await Promise.all([first.kill(), second.kill()]);
    expect(await answer).toBe(18);
  });

  it("leaves unavailable when the second takes the request and dies too", async () => {
    const [first, second, third] = await startThree();
    first.answer = hang;
    second.answer = hang;
    const answer = codeOf(sign(keyWithHome(16, 17, 18)));
    await until(() => first.received.length === 1);
    await first.kill();
    await until(() => second.received.length === 1);
    await second.kill();
    expect(await answer).toBe("unavailable");
    expect(third.received).toHaveLength(0);
  });

  it("is asked again when it comes back within the wait", async () => {
    const enclave = await makeEnclave(16);
    publisher.publishMembers([view(enclave)], 0);
    await until(() => enclave.connections.size === 1);
    await enclave.kill();
    await sleep(5);
    const answer = signerOf(sign(randomBytes(48)));
    await sleep(100);
    await enclave.start();
    expect(await answer).toBe(16);
  });

  it("gives unavailable after the wait when none comes back", async () => {
    for (const enclave of await startThree()) await enclave.kill();
    const startedAt = performance.now();
    expect(await codeOf(sign(randomBytes(48)))).toBe("unavailable");
    const tookMs = performance.now() - startedAt;
    expect(tookMs).toBeGreaterThan(RECONNECT_WAIT_MS_MAX * 0.9);
    expect(tookMs).toBeLessThan(RECONNECT_WAIT_MS_MAX * 3);
  });

  it("waits no longer than the request's own time", async () => {
    for (const enclave of await startThree()) await enclave.kill();
    const startedAt = performance.now();
    expect(await codeOf(sign(randomBytes(48), { timeoutMs: 50 }))).toBe("unavailable");
    expect(performance.now() - startedAt).toBeLessThan(300);
  });

  it("is replaced by a higher incarnation on a new connection", async () => {
    const [first, second, third] = await startThree();
    const replacement = await makeEnclave(16, folder.path("w16"));
    first.answer = hang;
    const pubkey = keyWithHome(16);
    const pending = signerOf(sign(pubkey));
    await until(() => first.received.length === 1);
    publisher.publishMembers([view(replacement, "ready", 2), view(second), view(third)], 0);
    await until(() => replacement.connections.size === 1 && first.connections.size === 0, "the new connection");
    expect([16, 17, 18]).toContain(await pending);
    await sleep(5);
    expect(await signerOf(sign(pubkey))).toBe(16);
    expect(replacement.received.length).toBeGreaterThan(0);
  });

  it("is given up when it says nothing at all, and its requests go elsewhere", async () => {
    const [first, second, third] = await startThree();
    first.answer = hang;
    second.answer = fail("unavailable");
    third.answer = fail("unavailable");
    const pubkey = keyWithHome(16, 17);
    const patient = signerOf(sign(pubkey, { timeoutMs: 8_000 }));
    const impatient = codeOf(sign(pubkey, { timeoutMs: 2_100 }));
    await until(() => second.received.length === 2, "the hedges, in vain");
    second.answer = () => signatureOf(17);
    expect(await impatient).toBe("deadline_exceeded");
    expect(await patient).toBe(17);
  });
});

describe("a member that is silent", () => {
  it("has its requests asked of the next one too, each once, and a late answer changes nothing", async () => {
    const [first, second, third] = await startThree();
    const late: (() => void)[] = [];
    first.answer = () => new Promise((resolve) => late.push(() => resolve(signatureOf(16))));
    const keys = Array.from({ length: 50 }, (_, index) => keyWithHome(16, index % 2 === 0 ? 17 : 18));
    const startedAt = performance.now();
    expect(await Promise.all(keys.map((pubkey) => signerOf(sign(pubkey))))).toEqual(
      keys.map((_, index) => (index % 2 === 0 ? 17 : 18)),
    );
    const tookMs = performance.now() - startedAt;
    expect(tookMs).toBeGreaterThan(990);
    expect(tookMs).toBeLessThan(2_000);
    const again = [...second.received, ...third.received];
    expect(again.map(({ pubkey }) => toHex(pubkey)).sort()).toEqual(keys.map((pubkey) => toHex(pubkey)).sort());
    expect(again.every(({ timeoutMs }) => timeoutMs > 3_500 && timeoutMs <= 4_010)).toBe(true);
    for (const answer of late) answer();
    await sleep(300); // it is not silent any more
    expect(await signerOf(sign(keyWithHome(17)))).toBe(17);
    expect(first.connections.size).toBe(1);
  });

  it.each([true, false])(
    "is asked together with another in time, though the time is short (slashable: %s)",
    async (slashable) => {
      const [first] = await startThree();
      first.answer = hang;
      const startedAt = performance.now();
      expect(await signerOf(sign(keyWithHome(16, 18), { timeoutMs: 600, slashable }))).toBe(18);
      expect(performance.now() - startedAt).toBeLessThan(550);
    },
  );

  it("is answered for by a refusal, too", async () => {
    const [first, second] = await startThree();
    first.answer = hang;
    const refusal: SignOutcome = { kind: "denied", rule: REFUSAL_RULES[0], detail: "slot 5 again" };
    second.answer = () => refusal;
    expect(await sign(keyWithHome(16, 17), { timeoutMs: 300 })).toEqual(refusal);
  });

  it("leaves nobody asked twice when all are silent, as with a store that hangs", async () => {
    const three = await startThree();
    for (const enclave of three) enclave.answer = hang;
    const asked = Array.from({ length: 300 }, () => codeOf(sign(randomBytes(48), { timeoutMs: 1_900 })));
    expect(new Set(await Promise.all(asked))).toEqual(new Set(["deadline_exceeded"]));
    expect(three.reduce((sum, enclave) => sum + enclave.received.length, 0)).toBe(300);
  });

  it("has no more than a bounded number of requests asked twice at one time, and the others in their turn", async () => {
    const [first, second, third] = await startThree();
    first.answer = hang;
    const held: (() => void)[] = [];
    const hold: Answer = () => new Promise((resolve) => held.push(() => resolve(signatureOf(17))));
    second.answer = hold;
    third.answer = hold;
    const count = HEDGES_MAX + 200;
    const asked = Array.from({ length: count }, () => signerOf(sign(keyWithHome(16))));
    const again = () => second.received.length + third.received.length;
    await until(() => again() === HEDGES_MAX, "the first hedges");
    await sleep(100);
    expect(again()).toBe(HEDGES_MAX);
    second.answer = () => signatureOf(17);
    third.answer = second.answer;
    for (const answer of held) answer();
    expect(new Set(await Promise.all(asked))).toEqual(new Set([17]));
    expect(again()).toBe(count);
  });

  it("costs a request that two enclaves keep silent about one hedge in all", async () => {
    const [first, second, third] = await startThree();
    first.answer = hang;
    second.answer = hang;
    third.answer = fail("unavailable");
    const answer = codeOf(sign(keyWithHome(16, 18, 17), { timeoutMs: 2_500 })); // hedged with 18, in vain
    await until(() => third.received.length === 1, "the hedge");
    await first.kill(); // mended by 17 or 18
    expect(["deadline_exceeded", "unavailable"]).toContain(await answer);
    expect([first.received.length, second.received.length, third.received.length]).toEqual([1, 1, 2]);
  });
});

describe("a member that does not reach its store", () => {
  const problems = (...storeProblems: (string | undefined)[]): MemberView[] =>
    enclaves.map((enclave, index) => ({ ...view(enclave), status: statusOf(storeProblems[index]) }));
  const statusOf = (storeProblem: string | undefined) => ({
    ...statusWith(1),
    ...(storeProblem !== undefined && { storeProblem, reachesStore: storeProblem !== CUT_OFF }),
  });
  const publish = async (...storeProblems: (string | undefined)[]): Promise<void> => {
    publisher.publishMembers(problems(...storeProblems), 0);
    const published = () => pool.view().members.map(({ status }) => status?.storeProblem);
    await until(() => String(published()) === String(storeProblems), "the problems");
  };
  const CUT_OFF = "slashing store: not connected for 3 s";
  const SUSPECT = "the slashing store is suspect since 2026-01-01T00:00:00.000Z";

  it("gets nothing slashable while another one reaches it, and everything else", async () => {
    await startThree();
    const pubkey = keyWithHome(16, 17);
    await publish(CUT_OFF, undefined, undefined);
    expect(await signerOf(sign(pubkey))).toBe(17);
    expect(await signerOf(sign(pubkey, { slashable: false }))).toBe(16);
    await publish(undefined, undefined, undefined);
    expect(await signerOf(sign(pubkey))).toBe(16);
  });

  it("is asked as ever when nobody reaches it", async () => {
    await startThree();
    await publish(CUT_OFF, CUT_OFF, CUT_OFF);
    for (const cid of [16, 17, 18]) expect(await signerOf(sign(keyWithHome(cid)))).toBe(cid);
  });

  it("is not asked instead of a silent one, unless the duty needs no record", async () => {
    const [first] = await startThree();
    first.answer = hang;
    await publish(undefined, CUT_OFF, CUT_OFF);
    const pubkey = keyWithHome(16, 17);
    expect(await codeOf(sign(pubkey, { timeoutMs: 500 }))).toBe("deadline_exceeded");
    expect(await signerOf(sign(pubkey, { timeoutMs: 500, slashable: false }))).toBe(17);
  });

  it("is not mistaken for one that suspects it: that one has the floor, and must be heard", async () => {
    await startThree();
    await publish(SUSPECT, undefined, undefined);
    expect(await signerOf(sign(keyWithHome(16)))).toBe(16);
  });
});

describe("a member that fails", () => {
  it.each(["unavailable", "overloaded"] as const)("with %s leaves the request to one more", async (code) => {
    const [first, second, third] = await startThree();
    const pubkey = keyWithHome(16, 17, 18);
    first.answer = fail(code);
    expect(await signerOf(sign(pubkey))).toBe(17);
    second.answer = fail(code);
    expect(await codeOf(sign(pubkey))).toBe(code);
    expect(third.received).toHaveLength(0);
  });

  it.each([
    "bad_request",
    "unknown_key",
    "deadline_exceeded",
    "unknown_outcome",
    "protocol_violation",
    "store_suspect",
    "internal",
  ] as const)("with %s is believed", async (code) => {
    const [first, second, third] = await startThree();
    first.answer = fail(code);
    expect(await codeOf(sign(keyWithHome(16)))).toBe(code);
    expect([second.received.length, third.received.length]).toEqual([0, 0]);
  });

  it("by silence is not asked again when the deadline has passed before it shows", async () => {
    const [first, second, third] = await startThree();
    first.answer = hang;
    expect(await codeOf(sign(keyWithHome(16), { timeoutMs: 40 }))).toBe("deadline_exceeded");
    expect([second.received.length, third.received.length]).toEqual([0, 0]);
  });
});

describe("following the manager", () => {
  const manyKeys = Array.from({ length: 20_000 }, () => randomBytes(48));

  it("shows a list of 20,000 keys only when it is complete, in order", async () => {
    const sizes = new Set<number | undefined>();
    pool.onChange(() => sizes.add(pool.view().publicKeys?.length));
    publisher.publishKeys(manyKeys);
    await until(() => pool.view().publicKeys !== undefined);
    expect(pool.view().publicKeys).toEqual(manyKeys.map((pubkey) => toHex(pubkey)));
    sizes.delete(undefined);
    expect([...sizes]).toEqual([20_000]);
  });

  it("ends at the newest list however fast they come, and takes an empty one", async () => {
    for (let count = 1; count <= 20; count += 1) {
      publisher.publishKeys(manyKeys.slice(0, count * 1_000));
      await sleep(1);
    }
    await until(() => pool.view().publicKeys?.length === 20_000);
    publisher.publishKeys([]);
    await until(() => pool.view().publicKeys?.length === 0);
  });

  it("gives a late subscriber everything at once", async () => {
    publisher.publishKeys(manyKeys.slice(0, 5_000));
    publisher.publishMembers([view(await makeEnclave(16))], 7);
    await until(() => pool.view().publicKeys !== undefined);
    const late = createPool(
      { managerSocketPath: folder.path("manager") },
      { now: () => performance.now(), random: Math.random },
    );
    await until(() => late.view().publicKeys?.length === 5_000 && late.view().connected);
    expect(late.view()).toEqual(pool.view());
    expect(late.view().keyErrors).toBe(7);
    await late.close();
  });

  it("keeps members, keys and signing when the manager restarts, and follows the new one", async () => {
    const three = await startThree();
    publisher.publishKeys(manyKeys);
    await until(() => pool.view().publicKeys !== undefined && pool.view().connected);
    const sizes = new Set<number | undefined>();
    pool.onChange(() => sizes.add(pool.view().publicKeys?.length));
    await publisher.close();
    await until(() => !pool.view().connected);
    expect(pool.view().members).toHaveLength(3);
    expect(await signerOf(sign(keyWithHome(17)))).toBe(17);
    expect(await codeOf(pool.reload())).toBe("unavailable");

    publisher = await startPublisher();
    await until(() => pool.view().connected, "the new manager");
    expect(await signerOf(sign(keyWithHome(17)))).toBe(17);
    publisher.publishMembers([view(three[0])], 0);
    publisher.publishKeys(manyKeys.slice(0, 100));
    await until(() => pool.view().members.length === 1 && pool.view().publicKeys?.length === 100);
    expect([...sizes]).toEqual([20_000, 100]);
    expect(await signerOf(sign(randomBytes(48)))).toBe(16);
  });

  it("drops a subscriber that does not read, and nobody else", async () => {
    const slow = await connectUnix(folder.path("manager"), { timeoutMs: 1_000 });
    const { subscribe } = MANAGER_OPERATIONS;
    slow.write(encodeFrame({ kind: "request", operation: subscribe, requestId: 1, payload: new Uint8Array(0) }));
    slow.pause();
    await until(() => pool.view().connected);
    const counters = {
      signed: 0,
      denied: 0,
      failed: 0,
      repeated: 0,
      conflicts: 0,
      rejectedFrames: 0,
      storeRoundTrips: 0,
    };
    const status = {
      phase: "ready",
      keys: 0,
      inFlight: 0,
      storeInitialised: true,
      reachesStore: true,
      commandSequence: 0,
      storeProblem: "x".repeat(900_000),
      counters,
    } as const;
    for (let round = 1; round <= 30; round += 1) {
      publisher.publishMembers([{ cid: 16, state: "launching", path: "/nowhere", incarnation: round, status }], round);
      await until(() => pool.view().keyErrors === round, `round ${round}`);
    }
    const ended = once(slow, "close");
    slow.resume();
    await ended;
    expect(pool.view().connected).toBe(true);
  });

  it("coalesces a burst of member changes to the latest", async () => {
    await until(() => pool.view().connected);
    let changes = 0;
    pool.onChange(() => {
      changes += 1;
    });
    for (let round = 1; round <= 1_000; round += 1) publisher.publishMembers([], round);
    await until(() => pool.view().keyErrors === 1_000);
    expect(changes).toBe(1);
  });

  it("passes reload and its status through", async () => {
    await until(() => pool.view().connected);
    expect(await pool.reload()).toBe("accepted");
    expect(await pool.reload()).toBe("running");
    reloadStatus = { status: "completed_with_errors", lastOperationTime: "2026-01-01T00:00:00Z", lastError: "one" };
    expect(await pool.reloadStatus()).toEqual(reloadStatus);
  });

  it("refuses keys of a wrong length", () => {
    expect(() => publisher.publishKeys([new Uint8Array(47)])).toThrow(/one of 47 bytes/);
  });

  it("does not let a listener's defect break the connection", async () => {
    pool.onChange(() => {
      throw new Error("defect");
    });
    publisher.publishMembers([], 1);
    await until(() => pool.view().keyErrors === 1 && pool.view().connected);
    publisher.publishMembers([], 2);
    await until(() => pool.view().keyErrors === 2);
    expect(pool.view().connected).toBe(true);
  });
});

describe("closing", () => {
  it("answers what waits and what comes later with unavailable", async () => {
    const [first] = await startThree();
    first.answer = hang;
    const pending = codeOf(sign(keyWithHome(16)));
    await until(() => first.received.length === 1);
    await pool.close();
    expect(await pending).toBe("unavailable");
    expect(await codeOf(sign(randomBytes(48)))).toBe("unavailable");
    await until(() => enclaves.every((enclave) => enclave.connections.size === 0));
  });
});
