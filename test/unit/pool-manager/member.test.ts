/** The life of a pool member over a real mock vsock, with enclaves that live in the test. */

import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { ControlClient } from "#pool-manager/control-client.ts";
import { createMember, type Member, type MemberModules } from "#pool-manager/member.ts";
import type { MemberView } from "#pool-manager/pool-port.ts";
import { createLogger } from "#protocol/log.ts";
import { type Behaviour, createFakeLauncher, type FakeEnclave, statusWith } from "../../helpers/fake-enclaves.ts";
import { makeSocketFolder, until } from "../../helpers/socket-folder.ts";

let folder: ReturnType<typeof makeSocketFolder>;
let member: Member | undefined;
let views: MemberView[];
let enclaves: FakeEnclave[];
let logs: { event: string; reason?: string }[];

beforeEach(() => {
  folder = makeSocketFolder();
  views = [];
  logs = [];
});
afterEach(async () => {
  await member?.stop();
  member = undefined;
  folder.remove();
});

const start = (
  behave: (index: number) => Partial<Behaviour> = () => ({}),
  modules: Partial<MemberModules> = {},
): Member => {
  const fake = createFakeLauncher(behave);
  enclaves = fake.enclaves;
  const logger = createLogger({ process: "test", level: "debug", write: (line) => logs.push(JSON.parse(line)) });
  const made: Member = createMember(
    { cid: 16, path: folder.path("e16"), preset: "minimal" },
    {
      launcher: fake.launcher,
      logger,
      provision: async () => undefined,
      // The first change comes while the member is being made.
      onChange: () => queueMicrotask(() => views.push(made.view)),
      random: () => 0,
      ...modules,
    },
  );
  member = made;
  return made;
};
const isReady =
  (incarnation = 1) =>
  () =>
    member?.view.state === "ready" && member.view.incarnation === incarnation;
/** States in order, without repetitions. */
const states = (): string[] =>
  views.map(({ state }) => state).filter((state, index, all) => index === 0 || state !== all[index - 1]);
const gaps = (): number[] =>
  enclaves.slice(1).map(({ launchedMs }, index) => launchedMs - (enclaves[index] as FakeEnclave).launchedMs);

describe("a member", () => {
  it("launches, provisions and is ready, with the enclave's own figures", async () => {
    const provisioned = Promise.withResolvers<void>();
    let control: ControlClient | undefined;
    start(undefined, {
      provision: (client) => {
        control = client;
        return provisioned.promise;
      },
    });
    await until(() => member?.view.state === "provisioning");
    expect(member?.control).toBe(control);
    expect(enclaves.map(({ request }) => request)).toEqual([{ cid: 16, path: folder.path("e16"), preset: "minimal" }]);
    provisioned.resolve();
    await until(isReady());
    expect(member?.view).toEqual({
      cid: 16,
      path: folder.path("e16"),
      state: "ready",
      incarnation: 1,
      status: statusWith(0),
    });
    expect(states()).toEqual(["launching", "provisioning", "ready"]);
  });

  it("is replaced at once when its enclave dies after it was ready", async () => {
    start();
    await until(isReady());
    const diedMs = performance.now();
    await enclaves[0]?.die();
    await until(isReady(2));
    expect((enclaves[1] as FakeEnclave).launchedMs - diedMs).toBeLessThan(100);
    expect(states()).toEqual(["launching", "provisioning", "ready", "failed", "launching", "provisioning", "ready"]);
    expect(member?.view.status).toEqual(statusWith(1));
    const launching = views.find(({ incarnation, state }) => incarnation === 2 && state === "launching");
    expect(launching?.status).toBeUndefined();
    expect(logs.map(({ event, reason }) => [event, reason])).toContainEqual([
      "enclave lost, replacing it",
      "the enclave ended: as the test wants",
    ]);
  });

  it("has no control connection between two enclaves", async () => {
    start((index) => ({ listens: index === 0 }));
    await until(isReady());
    await enclaves[0]?.die();
    await until(() => enclaves.length === 2);
    expect(member?.control).toBeUndefined();
  });

  it("is replaced by order", async () => {
    start();
    await until(isReady());
    member?.replace("the test wants another");
    await until(isReady(2));
    expect(enclaves.map(({ killed }) => killed)).toEqual([true, false]);
  });

  it("is replaced, and its enclave ended, when the control connection breaks though the enclave lives", async () => {
    start();
    await until(isReady());
    for (const socket of enclaves[0]?.connections ?? []) socket.destroy();
    await until(isReady(2));
    expect(enclaves[0]?.killed).toBe(true);
  });

  it("is replaced when its enclave hangs: three looks without an answer", async () => {
    start();
    await until(isReady());
    await until(() => (enclaves[0]?.operations.length ?? 0) >= 2, "a look at the enclave");
    (enclaves[0] as FakeEnclave).behaviour.answers = false;
    const hangingMs = performance.now();
    await sleep(7_000); // two looks are not enough
    expect(enclaves).toHaveLength(1);
    await until(() => enclaves.length === 2);
    expect(performance.now() - hangingMs).toBeLessThan(11_000);
    expect(enclaves[0]?.killed).toBe(true);
    await until(isReady(2));
  });

  it("stays when its enclave was silent for a while only", async () => {
    start();
    await until(isReady());
    const enclave = enclaves[0] as FakeEnclave;
    enclave.behaviour.answers = false;
    await sleep(3_200); // one look at the least, two at most
    enclave.behaviour.answers = true;
    await sleep(2_500);
    expect(enclaves).toHaveLength(1);
    expect(member?.view.state).toBe("ready");
  });
});

describe("a member whose enclave never gets ready", () => {
  it.each<[string, Partial<Behaviour>, Partial<MemberModules>]>([
    ["it dies at once", { listens: false, diesAtOnce: true }, {}],
    [
      "it cannot be provisioned",
      {},
      {
        provision: async () => {
          throw new Error("no keys");
        },
      },
    ],
  ])("tries again with doubled pauses: %s", async (_name, behaviour, modules) => {
    start(() => behaviour, modules);
    await until(() => enclaves.length === 5, "five launches");
    // 250, 500, 1000, 2000 ms with the shortest jitter: half of each.
    for (const [index, least] of [125, 250, 500, 1_000].entries()) {
      expect(gaps()[index]).toBeGreaterThanOrEqual(least - 5);
      expect(gaps()[index]).toBeLessThan(least + 250);
    }
    expect(enclaves.slice(0, 4).every(({ killed }) => killed)).toBe(true);
    expect(states()).not.toContain("ready");
  });

  it("pauses longer with other jitter", async () => {
    start(() => ({ listens: false, diesAtOnce: true }), { random: () => 0.999 });
    await until(() => enclaves.length === 3, "three launches");
    expect(gaps()[0]).toBeGreaterThan(240);
    expect(gaps()[1]).toBeGreaterThan(490);
  });

  it("begins with short pauses again after it was ready once", async () => {
    start((index) => (index < 3 ? { listens: false, diesAtOnce: true } : {}));
    await until(isReady(4));
    const diedMs = performance.now();
    await enclaves[3]?.die();
    await until(isReady(5));
    expect((enclaves[4] as FakeEnclave).launchedMs - diedMs).toBeLessThan(100);
  });

  it("gives up the enclave's place with it: the next one has one control connection", async () => {
    // The first enclave ends while the member still tries to reach it.
    start((index) => ({ listens: index > 0 }));
    await sleep(20);
    await enclaves[0]?.die();
    await until(isReady(2));
    await sleep(300);
    expect(enclaves[1]?.connections.size).toBe(1);
  });

  it("ends with the enclave also in the middle of provisioning", async () => {
    start(undefined, { provision: () => new Promise(() => undefined) });
    await until(() => member?.view.state === "provisioning");
    await enclaves[0]?.die();
    await until(() => enclaves.length === 2);
    expect(states()).toContain("failed");
  });
});

describe("stopping", () => {
  it("drains a ready enclave before it ends it, and launches no other", async () => {
    const drained = Promise.withResolvers<void>();
    start(() => ({ drained: drained.promise }));
    await until(isReady());
    const stopping = (member as Member).stop();
    await until(() => enclaves[0]?.operations.includes("drain") === true);
    expect(member?.view.state).toBe("draining");
    await sleep(50);
    expect(enclaves[0]?.killed).toBe(false);
    drained.resolve();
    await stopping;
    expect(enclaves[0]?.killed).toBe(true);
    expect(member?.view.state).toBe("gone");
    expect(states().slice(-2)).toEqual(["draining", "gone"]);
    await sleep(300);
    expect(enclaves).toHaveLength(1);
    expect(enclaves[0]?.connections.size).toBe(0);
  });

  it.each<[string, Partial<Behaviour>, Partial<MemberModules>]>([
    ["while the enclave boots", { listens: false }, {}],
    ["during a pause", { listens: false, diesAtOnce: true }, {}],
    ["while it is provisioned", {}, { provision: () => new Promise(() => undefined) }],
  ])("does not wait %s", async (_name, behaviour, modules) => {
    start(() => behaviour, modules);
    await sleep(60);
    const startedMs = performance.now();
    await member?.stop();
    expect(performance.now() - startedMs).toBeLessThan(500);
    expect(member?.view.state).toBe("gone");
    expect(enclaves.every(({ killed }) => killed)).toBe(true);
    const launches = enclaves.length;
    await sleep(300);
    expect(enclaves).toHaveLength(launches);
    expect(enclaves.flatMap(({ operations }) => operations)).not.toContain("drain");
  });

  it("ends although the enclave dies while it drains", async () => {
    start(() => ({ drained: new Promise(() => undefined) }));
    await until(isReady());
    const stopping = (member as Member).stop();
    await until(() => enclaves[0]?.operations.includes("drain") === true);
    await enclaves[0]?.die();
    await stopping;
    expect(member?.view.state).toBe("gone");
    expect(enclaves.every(({ killed }) => killed)).toBe(true);
    const launches = enclaves.length;
    await sleep(300);
    expect(enclaves).toHaveLength(launches);
  });
});
