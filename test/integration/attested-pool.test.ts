/** A pool of real enclave processes whose keys only attestation opens: provisioning, reload by delta, and what it says when it cannot. */

import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { createPool } from "#pool";
import { managerSocketPath, type PoolManagerConfig } from "#pool-manager/config.ts";
import { createLocalLauncher } from "#pool-manager/launchers/local.ts";
import { type PoolManager, startPoolManager } from "#pool-manager/manager.ts";
import type { Pool, ReloadStatus } from "#pool-manager/pool-port.ts";
import { toHex } from "#protocol/bytes.ts";
import { SignerError } from "#protocol/errors.ts";
import { PORT_DATA } from "#protocol/limits.ts";
import type { UnsealCredentials } from "#protocol/messages/sealed.ts";
import { decodeSignOutcome, encodeSignCommand, OPERATION_SIGN } from "#protocol/messages/sign.ts";
import { createRpcClient } from "#protocol/rpc.ts";
import { NAMED_NETWORKS } from "#protocol/signing/named-networks.ts";
import type { NetworkJson } from "#protocol/signing/network.ts";
import { dial } from "#protocol/transport/address.ts";
import type { OnConnection } from "#protocol/transport/hybrid.ts";
import {
  type AttestedFleet,
  EXPIRED,
  makeKey,
  makeOperator,
  ROOT_FOLDER,
  startAttestedFleet,
  type TestKey,
} from "../helpers/attested.ts";
import { attestation, isSignatureOf, randao } from "../helpers/duties.ts";
import { CREDENTIALS } from "../helpers/kms.ts";
import { makeSocketFolder } from "../helpers/socket-folder.ts";

/** Time for two enclaves to boot and unseal, on a machine that does other things, too. */
const READY_MS = 30_000;

let fleet: AttestedFleet;
let folder: ReturnType<typeof makeSocketFolder>;
let manager: PoolManager | undefined;
let pool: Pool | undefined;
let lines: { event: string; fields: Record<string, unknown> }[];

beforeAll(async () => {
  fleet = await startAttestedFleet();
});
afterAll(() => fleet.close());
beforeEach(() => {
  folder = makeSocketFolder();
  lines = [];
});
afterEach(async () => {
  fleet.kms.faults.set("deny", 0);
  await stop();
  folder.remove();
});

const stop = async (): Promise<void> => {
  await pool?.close();
  await manager?.stop();
  pool = undefined;
  manager = undefined;
};

const log = (event: string, fields: object = {}): void => void lines.push({ event, fields: { ...fields } });
const logger = { debug: log, info: log, warn: log, error: log };

interface StartOptions {
  readonly enclaves?: number;
  readonly config?: Partial<PoolManagerConfig>;
  readonly credentials?: () => UnsealCredentials;
  readonly nsm?: (cid: number) => OnConnection;
}

const start = async (options: StartOptions = {}): Promise<{ manager: PoolManager; pool: Pool }> => {
  const { enclaves = 2, config, credentials = () => CREDENTIALS, nsm = () => fleet.nsm() } = options;
  const runPath = folder.path("run");
  const settings: PoolManagerConfig = {
    dataPath: folder.path("data"),
    runPath,
    enclaves,
    threads: 1,
    signer: "portable",
    // Of the command line; the sealed configuration replaces it.
    network: { name: "hoodi", ...NAMED_NETWORKS.hoodi } as NetworkJson,
    store: { kind: "sqlite" },
    kms: { endpoint: fleet.kms.url, ca: fleet.kms.caPem },
    logLevel: "error",
    ...config,
  };
  manager = await startPoolManager(settings, {
    launcher: createLocalLauncher({ workerPath: `${ROOT_FOLDER}/enclave-worker/main.ts`, logLevel: "error" }),
    logger,
    storePassword: new Uint8Array(),
    random: Math.random,
    onProgress: () => undefined,
    attested: { table: fleet.table, credentials: async () => ({ ...credentials() }), softwareNsm: nsm },
  });
  pool = createPool(
    { managerSocketPath: managerSocketPath(runPath) },
    { now: () => performance.now(), random: Math.random },
  );
  return { manager, pool };
};

const eventually = async (condition: () => boolean, what: string): Promise<void> => {
  const patience = performance.now() + READY_MS;
  while (!condition()) {
    if (performance.now() > patience) throw new Error(`gave up waiting for ${what}: ${JSON.stringify(lines)}`);
    await sleep(20);
  }
};

const listed = (): readonly string[] => [...(pool?.view().publicKeys ?? [])].sort();
const namesOf = (keys: readonly TestKey[]): string[] => keys.map(({ pubkey }) => toHex(pubkey)).sort();

const expectListed = async (keys: readonly TestKey[]): Promise<void> => {
  const names = namesOf(keys);
  await eventually(() => listed().join() === names.join(), `the list ${names}`);
};

const expectSigns = async ({ pubkey }: TestKey, epoch: number): Promise<void> => {
  for (const [duty, slashable] of [
    [randao(epoch), false],
    [attestation({ source: epoch - 1, target: epoch }), true],
  ] as const) {
    const body = Buffer.from(JSON.stringify(duty.body));
    const outcome = await (pool as Pool).sign({ pubkey, body, slashable, timeoutMs: 8_000 });
    const signature = outcome.kind === "signed" ? toHex(outcome.signature) : outcome.detail;
    expect(isSignatureOf(signature, { pubkey: toHex(pubkey), root: duty.root })).toBe(true);
  }
};

/** Asks every enclave by itself, past the balancer. */
const expectEachSigns = async ({ pubkey }: TestKey, epoch: number): Promise<void> => {
  const { members } = (pool as Pool).view();
  const duty = randao(epoch);
  for (const { path, cid } of members) {
    const rpc = createRpcClient(await dial({ kind: "hybrid", path, cid, port: PORT_DATA }, { timeoutMs: 5_000 }));
    const body = Buffer.from(JSON.stringify(duty.body));
    const command = encodeSignCommand({ pubkey, timeoutMs: 5_000, body });
    const outcome = decodeSignOutcome(await rpc.request(OPERATION_SIGN, command, { timeoutMs: 5_000 }));
    rpc.close();
    const signature = outcome.kind === "signed" ? toHex(outcome.signature) : outcome.detail;
    expect(isSignatureOf(signature, { pubkey: toHex(pubkey), root: duty.root })).toBe(true);
  }
  expect(members.length).toBe(2);
};

const reload = async (): Promise<ReloadStatus> => {
  const target = pool as Pool;
  await target.reload();
  for (;;) {
    const status = await target.reloadStatus();
    if (status.status !== "running") return status;
    await sleep(20);
  }
};

describe("an attested pool", () => {
  it("comes up, signs on every enclave, and applies a reload's delta with no restart", async () => {
    const [first, second, third, fourth] = [makeKey(), makeKey(), makeKey(), makeKey()];
    fleet.table.stored = await fleet.configuration();
    const both = await fleet.bundle([first, second, third]);
    fleet.table.live = [both];
    const callsBefore = fleet.kms.calls("Decrypt");
    const running = await start();
    await running.manager.complete;
    await expectListed([first, second, third]);
    expect(running.manager.settings.network.name).toBe("mainnet");
    expect(fleet.kms.calls("Decrypt") - callsBefore).toBe(4); // two enclaves: the configuration, one bundle
    for (const key of [first, second, third]) await expectSigns(key, 7);

    const incarnations = running.pool.view().members.map(({ incarnation }) => incarnation);
    fleet.table.live = [{ ...both, keys: both.keys.slice(1) }, await fleet.bundle([fourth])];
    expect((await reload()).status).toBe("completed");
    await expectListed([second, third, fourth]);
    for (const key of [second, third, fourth]) await expectSigns(key, 8);
    for (const key of [second, fourth]) await expectEachSigns(key, 9);
    const gone = running.pool.sign({
      pubkey: first.pubkey,
      body: Buffer.from(JSON.stringify(randao(9).body)),
      slashable: false,
      timeoutMs: 5_000,
    });
    await expect(gone).rejects.toMatchObject({ code: "unknown_key" });
    expect(running.pool.view().members.map(({ incarnation }) => incarnation)).toEqual(incarnations);
  }, 60_000);

  it("sees a change of the table by itself", async () => {
    const [first, second] = [makeKey(), makeKey()];
    fleet.table.stored = await fleet.configuration();
    fleet.table.live = [await fleet.bundle([first])];
    const running = await start({ enclaves: 1, config: { keysPollSeconds: 1 } });
    await running.manager.ready;
    await expectListed([first]);
    fleet.table.live = [...fleet.table.live, await fleet.bundle([second])];
    await expectListed([first, second]);
    await expectSigns(second, 3);
  }, 60_000);

  it("keeps its records and remembers its keys over a restart", async () => {
    const key = makeKey();
    fleet.table.stored = await fleet.configuration();
    fleet.table.live = [await fleet.bundle([key])];
    await (await start({ enclaves: 1 })).manager.ready;
    await expectListed([key]);
    await expectSigns(key, 5);
    await stop();
    await (await start({ enclaves: 1 })).manager.ready;
    await expectListed([key]);
    await expectSigns(key, 6);
    const body = Buffer.from(JSON.stringify(attestation({ source: 4, target: 6 }).body));
    const outcome = await (pool as Pool).sign({ pubkey: key.pubkey, body, slashable: true, timeoutMs: 5_000 });
    expect(outcome.kind).toBe("denied");
  }, 60_000);

  it("loads what can be loaded, names the rest, and loads it once it can be", async () => {
    const [good, bad] = [makeKey(), makeKey()];
    fleet.table.stored = await fleet.configuration();
    const broken = await fleet.bundle([bad], { group: "other-fleet" });
    fleet.table.live = [await fleet.bundle([good]), broken];
    const running = await start();
    await running.manager.complete;
    await expectListed([good]);
    await expectSigns(good, 4);
    const named = lines.filter(
      ({ event, fields }) => event === "key not loaded" && fields.pubkeyHex === toHex(bad.pubkey),
    );
    expect(named[0]?.fields.reason).toMatch(/group/);
    await eventually(() => running.pool.view().keyErrors === 1, "one key error");
    expect(await reload()).toMatchObject({ status: "completed_with_errors" });

    fleet.table.live = [fleet.table.live[0] as never, await fleet.bundle([bad])];
    expect((await reload()).status).toBe("completed");
    await expectListed([good, bad]);
    await expectSigns(bad, 4);
  }, 60_000);

  it("tries again at the next reading what KMS denied", async () => {
    const [first, second] = [makeKey(), makeKey()];
    fleet.table.stored = await fleet.configuration();
    fleet.table.live = [await fleet.bundle([first])];
    const running = await start({ enclaves: 1 });
    await running.manager.ready;
    fleet.table.live = [...fleet.table.live, await fleet.bundle([second])];
    fleet.kms.faults.set("deny", 1);
    expect((await reload()).status).toBe("completed_with_errors");
    await expectListed([first]);
    await expectSigns(first, 4);
    expect((await reload()).status).toBe("completed");
    await expectListed([first, second]);
  }, 60_000);

  it("is not ready with another PCR0 or expired credentials, and says why", async () => {
    fleet.table.stored = await fleet.configuration();
    fleet.table.live = [await fleet.bundle([makeKey()])];
    for (const [options, text] of [
      [{ nsm: () => fleet.nsm({ pcr0: new Uint8Array(48).fill(7) }) }, /AccessDeniedException.*PCR conditions/],
      [{ credentials: () => EXPIRED }, /ExpiredTokenException/],
    ] as const) {
      const running = await start({ enclaves: 1, ...options });
      await eventually(() => text.test(running.pool.view().members[0]?.problem ?? ""), String(text));
      expect(running.pool.view().publicKeys).toBeUndefined();
      expect(running.pool.view().members.some(({ state }) => state === "ready")).toBe(false);
      await stop();
    }
  }, 60_000);

  it("is not ready when no key opens", async () => {
    fleet.table.stored = await fleet.configuration();
    fleet.table.live = [await fleet.bundle([makeKey()], { authority: makeOperator().publicKey })];
    const running = await start({ enclaves: 1 });
    const text = /none of 1 keys could be opened: bundle: authority/;
    await eventually(() => text.test(running.pool.view().members[0]?.problem ?? ""), String(text));
    expect(running.pool.view().publicKeys).toBeUndefined();
  }, 60_000);
});

describe("an attested pool does not start", () => {
  const failureOf = async (options: StartOptions = {}): Promise<string> => {
    const error = await start(options).then(
      () => expect.fail("expected a failure"),
      (thrown: unknown) => thrown,
    );
    expect(error).toBeInstanceOf(SignerError);
    return (error as SignerError).detail;
  };

  it("without a configuration, or under that of another authority", async () => {
    fleet.table.stored = undefined;
    expect(await failureOf()).toMatch(/no configuration is in the table.*config seal/);
    fleet.table.stored = await fleet.configuration();
    const operatorKeyHex = toHex(makeOperator().publicKey);
    expect(await failureOf({ config: { operatorKeyHex } })).toContain(
      `--operator-key: expected the configuration of ${operatorKeyHex}`,
    );
  });

  it("on the data folder of another fleet", async () => {
    fleet.table.live = [await fleet.bundle([makeKey()])];
    fleet.table.stored = await fleet.configuration();
    await start({ enclaves: 1 });
    await stop();
    fleet.table.stored = await fleet.configuration({ storeId: new Uint8Array(16).fill(3) });
    expect(await failureOf()).toMatch(/store id/);
  }, 30_000);

  it("without any key in the table", async () => {
    fleet.table.stored = await fleet.configuration();
    fleet.table.live = [];
    const running = await start({ enclaves: 1 });
    await expect(running.manager.ready).rejects.toThrow(/keys import/);
  }, 30_000);
});
