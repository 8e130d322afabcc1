/** The life of a pool member over a real mock vsock, with enclaves that live in the test. */

import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { ControlClient } from "#pool-manager/control-client.ts";
import { createMember, type Member, type MemberModules } from "#pool-manager/member.ts";
import type { MemberView } from "#pool-manager/pool-port.ts";
import { createLogger } from "#protocol/log.ts";
import { type Behaviour, createFakeLauncher, type FakeEnclave, statusWith } from "../../helpers/fake-enclaves.ts";
import { makeSocketFolder, until } from "../../helpers/socket-folder.ts";

const NEVER = new Promise<never>(() => undefined);
const DIES = { listens: false, diesAtOnce: true };

/** A member with everything that it did. */
interface Watched {
  readonly member: Member;
  readonly enclaves: FakeEnclave[];
  readonly views: MemberView[];
  readonly logs: { event: string; reason?: string }[];
}

let folder: ReturnType<typeof makeSocketFolder>;
let started: Watched[];

beforeEach(() => {
  folder = makeSocketFolder();
  started = [];
});
afterEach(async () => {
  vi.useRealTimers();
  await Promise.all(started.map(({ member }) => member.stop()));
  folder.remove();
});

const start = (
  behave: (index: number) => Partial<Behaviour> = () => ({}),
  modules: Partial<MemberModules> = {},
): Watched => {
  const { launcher, enclaves } = createFakeLauncher(behave);
  const views: MemberView[] = [];
  const logs: Watched["logs"] = [];
  const cid = 16 + started.length;
  const member = createMember(
    { cid, path: folder.path(`e${cid}`), preset: "minimal" },
    {
      launcher,
      logger: createLogger({ process: "test", level: "debug", write: (line) => logs.push(JSON.parse(line)) }),
      provision: async () => undefined,
      onChange: ({ view }) => views.push(view),
      random: () => 0,
      ...modules,
    },
  );
  const watched = { member, enclaves, views, logs };
  started.push(watched);
  return watched;
};
const ready = ({ member }: Watched, incarnation = 1): Promise<void> =>
  until(() => member.view.state === "ready" && member.view.incarnation === incarnation, `enclave ${incarnation}`);
/** States in order, without repetitions. */
const states = ({ views }: Watched): string[] =>
  views.map(({ state }) => state).filter((state, index, all) => index === 0 || state !== all[index - 1]);
/** ms between launches. */
const gaps = ({ enclaves }: Watched): number[] =>
  enclaves.slice(1).map(({ launchedMs }, index) => launchedMs - (enclaves[index] as FakeEnclave).launchedMs);

describe("a member", () => {
  it("launches, provisions and is ready, with the enclave's own figures", async () => {
    const provisioned = Promise.withResolvers<void>();
    let control: ControlClient | undefined;
    const watched = start(undefined, {
      provision: (client) => {
        control = client;
        return provisioned.promise;
      },
    });
    const { member, enclaves } = watched;
    await until(() => member.view.state === "provisioning" && member.view.status !== undefined);
    expect(member.control).toBe(control);
    expect(enclaves.map(({ request }) => request)).toEqual([{ cid: 16, path: folder.path("e16"), preset: "minimal" }]);
    provisioned.resolve();
    await ready(watched);
    expect(member.view).toEqual({
      cid: 16,
      path: folder.path("e16"),
      state: "ready",
      incarnation: 1,
      status: statusWith(0),
    });
    expect(states(watched)).toEqual(["launching", "provisioning", "ready"]);
  });

  it("is replaced at once when its enclave dies after it was ready, and says why until the next one is ready", async () => {
    const watched = start();
    await ready(watched);
    const diedMs = Date.now();
    await watched.enclaves[0]?.die();
    await ready(watched, 2);
    expect((watched.enclaves[1] as FakeEnclave).launchedMs - diedMs).toBeLessThan(100);
    expect(states(watched)).toEqual([
      "launching",
      "provisioning",
      "ready",
      "failed",
      "launching",
      "provisioning",
      "ready",
    ]);
    const between = watched.views
      .filter(({ state, incarnation }) => state === "failed" || incarnation === 2)
      .slice(0, 2);
    expect(between.map(({ problem }) => problem)).toEqual(Array(2).fill("the enclave ended: as the test wants"));
    expect(between[1]).toMatchObject({ state: "launching", incarnation: 2 });
    expect(between[1]?.status).toBeUndefined(); // the dead one's figures
    expect(watched.member.view.problem).toBeUndefined();
    expect(watched.logs).toContainEqual(
      expect.objectContaining({ event: "enclave lost, replacing it", reason: "the enclave ended: as the test wants" }),
    );
  });

  it("has no control connection between two enclaves", async () => {
    const watched = start((index) => ({ listens: index === 0 }));
    await ready(watched);
    await watched.enclaves[0]?.die();
    await until(() => watched.enclaves.length === 2);
    expect(watched.member.control).toBeUndefined();
  });

  it("is replaced, and its enclave ended, when the control connection breaks though the enclave lives", async () => {
    const watched = start();
    await ready(watched);
    for (const socket of watched.enclaves[0]?.connections ?? []) socket.destroy();
    await ready(watched, 2);
    expect(watched.enclaves[0]?.killed).toBe(true);
  });

  it("is replaced when its enclave hangs, ready or not: three looks without an answer", async () => {
    const hangsReady = start();
    const hangsEarly = start((index) => ({ answers: index > 0 }), {
      provision: (control) => (hangsEarly.enclaves.length === 1 ? NEVER : control.activate()),
    });
    await ready(hangsReady);
    (hangsReady.enclaves[0] as FakeEnclave).behaviour.answers = false;
    await sleep(6_500); // two looks are not enough
    for (const { enclaves } of started) expect(enclaves).toHaveLength(1);
    await Promise.all(started.map((watched) => ready(watched, 2)));
    for (const { enclaves } of started) expect(enclaves[0]?.killed).toBe(true);
    expect(states(hangsEarly)).toEqual(["launching", "provisioning", "failed", "launching", "provisioning", "ready"]);
  });

  it("stays when its enclave was silent for a while only", async () => {
    const watched = start();
    await ready(watched);
    const enclave = watched.enclaves[0] as FakeEnclave;
    enclave.behaviour.answers = false;
    await sleep(3_200); // one look at the least, two at most
    enclave.behaviour.answers = true;
    await sleep(2_500);
    expect(watched.enclaves).toHaveLength(1);
    expect(watched.member.view.state).toBe("ready");
  });
});

describe("a member that keeps failing", () => {
  it.each<[string, Partial<Behaviour>, Partial<MemberModules>]>([
    ["its enclave dies at once", DIES, {}],
    [
      "it cannot be provisioned",
      {},
      {
        provision: async () => {
          throw new Error("no keys");
        },
      },
    ],
    [
      "its launcher fails",
      {},
      {
        launcher: {
          launch: () => {
            failingLaunches.push(Date.now());
            throw new Error("spawn EAGAIN");
          },
        },
      },
    ],
  ])("tries again at once, and then with doubled pauses: %s", async (_name, behaviour, modules) => {
    failingLaunches.length = 0;
    const watched = start(() => behaviour, modules);
    const times = () => (modules.launcher ? failingLaunches : watched.enclaves.map(({ launchedMs }) => launchedMs));
    await until(() => times().length === 5, "five launches");
    const pauses = times()
      .slice(1)
      .map((time, index) => time - (times()[index] as number));
    // 0, 250, 500, 1000 ms with the shortest jitter: half of each.
    for (const [index, least] of [0, 125, 250, 500].entries()) {
      expect(pauses[index]).toBeGreaterThanOrEqual(least - 5);
      expect(pauses[index]).toBeLessThan(least + 120);
    }
    expect(watched.enclaves.slice(0, 4).every(({ killed }) => killed)).toBe(true);
    expect(states(watched)).not.toContain("ready");
  });
  const failingLaunches: number[] = [];

  it("pauses longer with other jitter", async () => {
    const watched = start(() => DIES, { random: () => 0.999 });
    await until(() => watched.enclaves.length === 4, "four launches");
    expect(gaps(watched)[1]).toBeGreaterThan(240);
    expect(gaps(watched)[2]).toBeGreaterThan(490);
  });

  it("pauses also when its enclaves get ready but die soon, until one has lived for a minute", async () => {
    vi.useFakeTimers({ toFake: ["performance"] });
    const watched = start();
    for (const [index, livedMs] of [0, 0, 59_999, 60_000, 0].entries()) {
      await ready(watched, index + 1);
      vi.advanceTimersByTime(livedMs);
      await watched.enclaves[index]?.die();
    }
    await ready(watched, 6);
    const pauses = gaps(watched).map((gap) => [0, 125, 250].findLast((least) => gap >= least - 5));
    expect(pauses).toEqual([0, 125, 250, 0, 125]);
  });

  it("gives the enclave's place up with it: the next one has one control connection", async () => {
    // The first enclave ends while the member still tries to reach it.
    const watched = start((index) => ({ listens: index > 0 }));
    await sleep(20);
    await watched.enclaves[0]?.die();
    await ready(watched, 2);
    await sleep(300);
    expect(watched.enclaves[1]?.connections.size).toBe(1);
  });

  it("ends with the enclave also in the middle of provisioning", async () => {
    const watched = start(undefined, { provision: () => NEVER });
    await until(() => watched.member.view.state === "provisioning");
    await watched.enclaves[0]?.die();
    await until(() => watched.enclaves.length === 2);
    expect(states(watched)).toContain("failed");
  });
});

describe("stopping", () => {
  it("drains a ready enclave before it ends it, and launches no other", async () => {
    const drained = Promise.withResolvers<void>();
    const watched = start(() => ({ drained: drained.promise }));
    const { member, enclaves } = watched;
    await ready(watched);
    const stopping = member.stop();
    await until(() => enclaves[0]?.operations.includes("drain") === true);
    expect(member.view.state).toBe("draining");
    await sleep(50);
    expect(enclaves[0]?.killed).toBe(false);
    drained.resolve();
    await stopping;
    expect(enclaves[0]?.killed).toBe(true);
    expect(states(watched).slice(-2)).toEqual(["draining", "gone"]);
    await sleep(300);
    expect(enclaves).toHaveLength(1);
    expect(enclaves[0]?.connections.size).toBe(0);
  });

  it.each<[string, Partial<Behaviour>, Partial<MemberModules>]>([
    ["while the enclave boots", { listens: false }, {}],
    ["during a pause", DIES, {}],
    ["while it is provisioned", {}, { provision: () => NEVER }],
  ])("does not wait %s", async (_name, behaviour, modules) => {
    const { member, enclaves } = start(() => behaviour, modules);
    await sleep(60);
    const startedMs = Date.now();
    await member.stop();
    expect(Date.now() - startedMs).toBeLessThan(500);
    expect(member.view.state).toBe("gone");
    expect(enclaves.every(({ killed }) => killed)).toBe(true);
    const launches = enclaves.length;
    await sleep(300);
    expect(enclaves).toHaveLength(launches);
    expect(enclaves.flatMap(({ operations }) => operations)).not.toContain("drain");
  });

  it("ends although the enclave dies while it drains", async () => {
    const watched = start(() => ({ drained: NEVER }));
    const { member, enclaves } = watched;
    await ready(watched);
    const stopping = member.stop();
    await until(() => enclaves[0]?.operations.includes("drain") === true);
    await enclaves[0]?.die();
    await stopping;
    expect(member.view.state).toBe("gone");
    expect(enclaves.every(({ killed }) => killed)).toBe(true);
    const launches = enclaves.length;
    await sleep(300);
    expect(enclaves).toHaveLength(launches);
  });
});
