/** One enclave in attested mode: its real controller behind real sockets, a real KMS protocol, a genuine verifier. */

import { randomBytes } from "node:crypto";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { type Controller, createController } from "#enclave/control.ts";
import { encryptForRecipient } from "#infra/local/kms/recipient-blob.ts";
import { makeDevelopmentAuthority } from "#infra/local/nsm/authority.ts";
import { createKmsEgress, type KmsEgress } from "#pool-manager/egress/kms-egress.ts";
import type { StoredBundle, StoredConfiguration } from "#pool-manager/keys/key-table.ts";
import { serveStore } from "#pool-manager/store/serve.ts";
import { openSqliteStore, type SqliteSlashingStore } from "#pool-manager/store/sqlite-store.ts";
import { toHex } from "#protocol/bytes.ts";
import { SignerError } from "#protocol/errors.ts";
import { PORT_EGRESS_KMS, PORT_EGRESS_STORE, PORT_NSM } from "#protocol/limits.ts";
import { CONTROL_OPERATIONS, decodeLoadReport, decodeStatus, encodePubkeys } from "#protocol/messages/control.ts";
import { encodeConfigureSealed, encodeLoadBundle, type UnsealCredentials } from "#protocol/messages/sealed.ts";
import { decodeBundleHeader, encodeBundleHeader } from "#protocol/sealed/header.ts";
import { sealSecrets } from "#protocol/sealed/sealed-secrets.ts";
import { connectHost, type Listener, listenHost, type OnConnection } from "#protocol/transport/hybrid.ts";
import { type AttestedFleet, EXPIRED, makeKey, makeOperator, startAttestedFleet } from "../helpers/attested.ts";
import { attestation, isSignatureOf, randao } from "../helpers/duties.ts";
import { CREDENTIALS } from "../helpers/kms.ts";
import { makeSocketFolder } from "../helpers/socket-folder.ts";

let fleet: AttestedFleet;
let folder: ReturnType<typeof makeSocketFolder>;
let store: SqliteSlashingStore;
let egress: KmsEgress;
let lines: string[];
let controllers: Controller[];
let listeners: Listener[];

beforeAll(async () => {
  fleet = await startAttestedFleet();
});
afterAll(() => fleet.close());

beforeEach(async () => {
  folder = makeSocketFolder();
  store = await openSqliteStore(folder.path("slashing.sqlite"));
  lines = [];
  controllers = [];
  listeners = [];
  egress = createKmsEgress({ host: "127.0.0.1", port: fleet.kms.port }, logger);
});
afterEach(async () => {
  for (const kind of ["throttle", "fail", "hang", "deny"] as const) fleet.kms.faults.set(kind, 0);
  fleet.kms.faults.setRewrite(undefined);
  await Promise.all(controllers.map((each) => each.close()));
  await Promise.all(listeners.map((each) => each.close()));
  await store.close();
  folder.remove();
});

const log =
  (level: string) =>
  (event: string, fields: object = {}): void =>
    void lines.push(JSON.stringify({ level, event, ...fields }));
const logger = { debug: log("debug"), info: log("info"), warn: log("warn"), error: log("error") };

/** An enclave that was not configured yet, with the ports of a parent. */
const launch = async (nsm: OnConnection = fleet.nsm()): Promise<Controller> => {
  const path = folder.path(`e${controllers.length}`);
  listeners.push(await listenHost(path, PORT_NSM, nsm));
  listeners.push(await listenHost(path, PORT_EGRESS_KMS, egress.onConnection));
  listeners.push(await listenHost(path, PORT_EGRESS_STORE, (socket) => serveStore(socket, store)));
  const controller = createController({
    connectParent: (port, options) => connectHost(path, port, options),
    logger,
    now: () => performance.now(),
    wallClock: () => Date.now(),
    random: Math.random,
  });
  controllers.push(controller);
  return controller;
};

const command = async (to: Controller, name: keyof typeof CONTROL_OPERATIONS, payload: Uint8Array = new Uint8Array()) =>
  to.control(CONTROL_OPERATIONS[name], payload);

const configure = async (
  to: Controller,
  configuration: StoredConfiguration,
  how: { credentials?: UnsealCredentials; choices?: object } = {},
): Promise<void> => {
  const choices = {
    cid: 16,
    threads: 1,
    signer: "portable" as const,
    initialiseStore: true,
    kmsEndpoint: fleet.kms.url,
    kmsCa: fleet.kms.caPem,
    ...how.choices,
  };
  const message = encodeConfigureSealed({ choices, credentials: how.credentials ?? CREDENTIALS, configuration });
  try {
    await command(to, "configureSealed", message);
  } finally {
    expect(message.every((byte) => byte === 0)).toBe(true); // credentials were in it
  }
};

const load = async (to: Controller, bundle: StoredBundle, credentials: UnsealCredentials = CREDENTIALS) => {
  const keys = bundle.keys.map((key) => ({ ...key, registered: false }));
  const message = encodeLoadBundle({ credentials, header: bundle.header, keys });
  const report = decodeLoadReport(await command(to, "loadBundle", message));
  expect(message.every((byte) => byte === 0)).toBe(true);
  return report;
};

const open = async (to: Controller): Promise<void> => {
  await command(to, "activate");
  await command(to, "open");
};

const statusOf = async (of: Controller) => decodeStatus(await command(of, "status"));

const sign = (by: Controller, pubkey: Uint8Array, duty: { readonly body: object }) =>
  by.sign({ pubkey, timeoutMs: 5_000, body: Buffer.from(JSON.stringify(duty.body)) });

const signsWith = async (by: Controller, pubkey: Uint8Array, epoch: number): Promise<boolean> => {
  const duty = randao(epoch);
  const outcome = await sign(by, pubkey, duty);
  if (outcome.kind !== "signed") return false;
  return isSignatureOf(toHex(outcome.signature), { pubkey: toHex(pubkey), root: duty.root });
};

const failureOf = async (work: Promise<unknown>): Promise<SignerError> => {
  const error = await work.then(
    () => expect.fail("expected a failure"),
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(SignerError);
  return error as SignerError;
};

/** The enclave got nothing: it is as it was at boot. */
const expectNothing = async (of: Controller): Promise<void> => {
  expect(await statusOf(of)).toMatchObject({ phase: "booting", keys: 0 });
  expect((await failureOf(command(of, "loadBundle"))).code).toBe("unavailable");
};

describe("an attested enclave", () => {
  it("opens its configuration and bundles, signs and protects, and lets keys come and go", async () => {
    const [first, second, third] = [makeKey(), makeKey(), makeKey()];
    const enclave = await launch();
    const callsBefore = fleet.kms.calls("Decrypt");
    await configure(enclave, await fleet.configuration());
    expect(await load(enclave, await fleet.bundle([first, second]))).toEqual({ loaded: 2, failures: [] });
    await open(enclave);
    expect(fleet.kms.calls("Decrypt") - callsBefore).toBe(2);
    expect(await statusOf(enclave)).toMatchObject({ phase: "ready", keys: 2 });
    expect(await signsWith(enclave, first.pubkey, 5)).toBe(true);
    expect(await signsWith(enclave, second.pubkey, 5)).toBe(true);

    const vote = attestation({ source: 5, target: 6 });
    expect((await sign(enclave, first.pubkey, vote)).kind).toBe("signed");
    const other = attestation({ source: 5, target: 6 }, { head: 0xab });
    expect(await sign(enclave, first.pubkey, other)).toMatchObject({ kind: "denied", rule: "double_vote" });

    await load(enclave, await fleet.bundle([third]));
    await open(enclave);
    await command(enclave, "removeKeys", encodePubkeys([first.pubkey]));
    expect(await signsWith(enclave, third.pubkey, 6)).toBe(true);
    expect((await failureOf(sign(enclave, first.pubkey, randao(6)))).code).toBe("unknown_key");
    expect(egress.traffic.connections).toBeGreaterThanOrEqual(2);
  });

  it("has no credential in its log", async () => {
    const enclave = await launch();
    await configure(enclave, await fleet.configuration());
    await load(enclave, await fleet.bundle([makeKey()]));
    await failureOf(load(enclave, await fleet.bundle([makeKey()]), { ...CREDENTIALS, secretAccessKey: "wrong" }));
    const text = lines.join("\n");
    expect(text).toContain("configured by attestation");
    for (const secret of [CREDENTIALS.secretAccessKey, CREDENTIALS.sessionToken as string, CREDENTIALS.accessKeyId]) {
      expect(text).not.toContain(secret);
    }
  });

  it("signs only the types that the configuration names", async () => {
    const key = makeKey();
    const enclave = await launch();
    await configure(enclave, await fleet.configuration({ signingTypes: ["ATTESTATION"] }));
    await load(enclave, await fleet.bundle([key]));
    await open(enclave);
    expect((await sign(enclave, key.pubkey, attestation({ source: 1, target: 2 }))).kind).toBe("signed");
    expect(await sign(enclave, key.pubkey, randao(2))).toMatchObject({ kind: "denied", rule: "type_not_allowed" });
  });

  it("takes neither MAC keys nor secrets from the parent", async () => {
    const enclave = await launch();
    await configure(enclave, await fleet.configuration());
    for (const name of ["macKeys", "openSecret", "openKeystore", "generateKey", "loadKeys", "configure"] as const) {
      const { code, detail } = await failureOf(command(enclave, name));
      expect([code, detail]).toEqual(["unavailable", expect.stringContaining(`${name} is not accepted`)]);
    }
    expect((await failureOf(configure(enclave, await fleet.configuration()))).code).toBe("unavailable");
  });
});

describe("a configuration that is refused", () => {
  it("for an enclave with another PCR0", async () => {
    const enclave = await launch(fleet.nsm({ pcr0: new Uint8Array(48).fill(7) }));
    const { code, detail } = await failureOf(configure(enclave, await fleet.configuration()));
    expect([code, detail]).toEqual(["bad_request", expect.stringMatching(/AccessDeniedException.*PCR conditions/)]);
    await expectNothing(enclave);
  });

  it("for a document of another root", async () => {
    const enclave = await launch(fleet.nsm({ authority: makeDevelopmentAuthority(Date.now()) }));
    const { detail } = await failureOf(configure(enclave, await fleet.configuration()));
    expect(detail).toMatch(/ValidationException.*attestation document/);
    await expectNothing(enclave);
  });

  it("without a security module", async () => {
    const enclave = await launch((socket) => socket.destroy());
    expect((await failureOf(configure(enclave, await fleet.configuration()))).code).toMatch(
      /connection_lost|unavailable/,
    );
    await expectNothing(enclave);
  });

  it("with a signature of another, or one byte changed", async () => {
    const enclave = await launch();
    const genuine = await fleet.configuration();
    const foreign = await fleet.configuration({}, { by: makeOperator() });
    const changed = new Uint8Array(genuine.document);
    changed[changed.length - 3] = 0x20;
    for (const bad of [
      { ...genuine, signature: foreign.signature },
      { ...genuine, document: changed },
    ]) {
      const { code } = await failureOf(configure(enclave, bad));
      expect(code).toBe("bad_request");
    }
    await expectNothing(enclave);
  });

  it("with MAC keys that the parent has chosen: the document names the digest", async () => {
    const enclave = await launch();
    const genuine = await fleet.configuration();
    const header = decodeBundleHeader(genuine.secretsHeader);
    const dataKey = new Uint8Array(randomBytes(32));
    const macKeys = { macKeys: new Map([[1, new Uint8Array(32).fill(1)]]), writingKeyId: 1 };
    const sealedSecrets = sealSecrets({ header, dataKey }, { macKeys, storePassword: new Uint8Array() });
    answerWith(dataKey);
    const before = fleet.kms.calls("Decrypt");
    const { code, detail } = await failureOf(configure(enclave, { ...genuine, sealedSecrets }));
    expect([code, detail]).toEqual(["bad_request", expect.stringContaining("secrets digest")]);
    expect(fleet.kms.calls("Decrypt")).toBe(before);
    await expectNothing(enclave);
  });

  it("with a forged answer of KMS: another data key opens nothing", async () => {
    const enclave = await launch();
    answerWith(new Uint8Array(randomBytes(32)));
    const { code, detail } = await failureOf(configure(enclave, await fleet.configuration()));
    expect([code, detail]).toEqual(["bad_request", expect.stringMatching(/sealed secrets: cannot be opened/)]);
    await expectNothing(enclave);
  });

  it("below the version that the store's marker asks for, by every enclave", async () => {
    const macKey = new Uint8Array(randomBytes(32));
    const old = await fleet.configuration({ version: 3, signingTypes: ["ATTESTATION", "VOLUNTARY_EXIT"] }, { macKey });
    const present = await fleet.configuration({ version: 4, signingTypes: ["ATTESTATION"] }, { macKey });
    const key = makeKey();
    const enclave = await launch();
    await configure(enclave, present);
    await load(enclave, await fleet.bundle([key]));
    await open(enclave);
    expect((await statusOf(enclave)).phase).toBe("ready");

    const replayed = await launch();
    await configure(replayed, old, { choices: { initialiseStore: false } });
    await load(replayed, await fleet.bundle([key]));
    const { code, detail } = await failureOf(command(replayed, "activate"));
    expect([code, detail]).toEqual(["bad_request", expect.stringContaining("expected 4 or later, got 3")]);
    expect((await statusOf(replayed)).phase).toBe("provisioning");
    expect((await failureOf(sign(replayed, key.pubkey, randao(1)))).code).toBe("unavailable");

    const again = await launch();
    await configure(again, present, { choices: { initialiseStore: false } });
    await load(again, await fleet.bundle([key]));
    await open(again);
    expect((await sign(again, key.pubkey, attestation({ source: 1, target: 2 }))).kind).toBe("signed");
  });

  it("and signs nothing under MAC keys that cannot verify the marker: it may be an old one", async () => {
    const key = makeKey();
    const enclave = await launch();
    await configure(enclave, await fleet.configuration({ version: 5, signingTypes: ["ATTESTATION"] }));
    await load(enclave, await fleet.bundle([key]));
    await open(enclave);

    const replayed = await launch();
    await configure(replayed, await fleet.configuration({ version: 2 }), { choices: { initialiseStore: false } });
    await load(replayed, await fleet.bundle([key]));
    await open(replayed);
    const { code, detail } = await failureOf(sign(replayed, key.pubkey, randao(1)));
    expect([code, detail]).toEqual([
      "store_suspect",
      expect.stringContaining("nothing tells whether it is the newest"),
    ]);
  });

  it("by a running enclave, once a later one is in force elsewhere", async () => {
    const macKey = new Uint8Array(randomBytes(32));
    const key = makeKey();
    const running = await launch();
    await configure(running, await fleet.configuration({ version: 1 }, { macKey }));
    await load(running, await fleet.bundle([key]));
    await open(running);
    expect(await signsWith(running, key.pubkey, 3)).toBe(true);

    const newer = await launch();
    const tighter = await fleet.configuration({ version: 2, signingTypes: ["ATTESTATION"] }, { macKey });
    await configure(newer, tighter, { choices: { initialiseStore: false } });
    await load(newer, await fleet.bundle([key]));
    await open(newer);
    await vi.waitFor(
      async () => {
        const { code, detail } = await failureOf(sign(running, key.pubkey, randao(3)));
        expect([code, detail]).toEqual(["bad_request", expect.stringContaining("expected 2 or later, got 1")]);
      },
      { timeout: 5_000, interval: 100 },
    );
    expect((await sign(newer, key.pubkey, attestation({ source: 1, target: 2 }))).kind).toBe("signed");
  });

  it.each([
    ["denied", "deny", "bad_request", /AccessDenied/],
    ["throttled", "throttle", "unavailable", /Throttling/],
    ["failing", "fail", "unavailable", /KMSInternalException/],
    ["silent", "hang", "deadline_exceeded", /./],
  ] as const)(
    "while KMS is %s, and taken when it is not any more",
    async (_, fault, code, text) => {
      const enclave = await launch();
      const configuration = await fleet.configuration();
      fleet.kms.faults.set(fault, Number.POSITIVE_INFINITY);
      const failure = await failureOf(configure(enclave, configuration));
      expect([failure.code, failure.detail]).toEqual([code, expect.stringMatching(text)]);
      await expectNothing(enclave);
      fleet.kms.faults.set(fault, 0);
      await configure(enclave, configuration);
      expect((await statusOf(enclave)).phase).toBe("provisioning");
    },
    40_000,
  );

  it("with expired credentials, and taken with fresh ones", async () => {
    const enclave = await launch();
    const configuration = await fleet.configuration();
    const { code, detail } = await failureOf(configure(enclave, configuration, { credentials: EXPIRED }));
    expect([code, detail]).toEqual(["unavailable", expect.stringMatching(/ExpiredTokenException.*fresh credentials/)]);
    await configure(enclave, configuration);
  });
});

/** Every answer of KMS carries this data key, as whoever knows the recipient's public key can make it. */
const answerWith = (dataKey: Uint8Array): void =>
  fleet.kms.faults.setRewrite((_, answer) => {
    const blob = encryptForRecipient(dataKey, fleet.lastRecipient());
    return { ...answer, CiphertextForRecipient: Buffer.from(blob).toString("base64") };
  });

describe("a bundle that is refused, while the other keys keep working", () => {
  const working = makeKey();
  let enclave: Controller;

  beforeEach(async () => {
    enclave = await launch();
    await configure(enclave, await fleet.configuration());
    await load(enclave, await fleet.bundle([working]));
    await open(enclave);
  });
  afterEach(async () => {
    expect(await statusOf(enclave)).toMatchObject({ phase: "ready" });
    expect(await signsWith(enclave, working.pubkey, 9)).toBe(true);
  });

  it.each([
    ["another authority", { authority: makeOperator().publicKey }, /authority/],
    ["another group", { group: "other-fleet" }, /group/],
    ["another store", { storeId: new Uint8Array(16).fill(9) }, /store id/],
    ["another KMS key", { kmsKeyArn: "arn:aws:kms:eu-central-1:000000000000:key/other" }, /KMS key ARN/],
    ["a later generation", { generation: 9 }, /generation/],
  ] as const)("of %s", async (_, changes, text) => {
    const bundle = await fleet.bundle([makeKey()], changes);
    const before = fleet.kms.calls("Decrypt");
    const { code, detail } = await failureOf(load(enclave, bundle));
    expect([code, detail]).toEqual(["bad_request", expect.stringMatching(text)]);
    expect(fleet.kms.calls("Decrypt")).toBe(before);
  });

  it("under the header of this fleet, sealed for another", async () => {
    const bundle = await fleet.bundle([makeKey()], { group: "other-fleet" });
    const header = encodeBundleHeader({ ...decodeBundleHeader(bundle.header), group: "test-fleet" });
    const { detail } = await failureOf(load(enclave, { ...bundle, header }));
    expect(detail).toMatch(/InvalidCiphertextException.*encryption context/);
  });

  it("key by key: swapped, altered and truncated ciphertexts are named, the rest is loaded", async () => {
    const keys = [makeKey(), makeKey(), makeKey(), makeKey(), makeKey()] as const;
    const bundle = await fleet.bundle(keys);
    const [a, b, c, d, e] = bundle.keys as [Stored, Stored, Stored, Stored, Stored];
    const altered = new Uint8Array(c.sealed);
    altered[20] = (altered[20] as number) ^ 1;
    const report = await load(enclave, {
      header: bundle.header,
      keys: [
        { pubkey: a.pubkey, sealed: b.sealed },
        { pubkey: b.pubkey, sealed: a.sealed },
        { pubkey: c.pubkey, sealed: altered },
        { pubkey: d.pubkey, sealed: d.sealed.slice(1) },
        e,
      ],
    });
    expect(report.loaded).toBe(1);
    expect(report.failures.map(({ pubkeyHex }) => pubkeyHex)).toEqual([a, b, c, d].map(({ pubkey }) => toHex(pubkey)));
    for (const { reason } of report.failures) expect(reason).toMatch(/sealed key/);
    await open(enclave);
    expect(await signsWith(enclave, e.pubkey, 9)).toBe(true);
    expect((await failureOf(sign(enclave, a.pubkey, randao(9)))).code).toBe("unknown_key");
  });

  it("with a forged answer of KMS", async () => {
    const key = makeKey();
    answerWith(new Uint8Array(randomBytes(32)));
    const report = await load(enclave, await fleet.bundle([key]));
    expect(report).toMatchObject({ loaded: 0, failures: [{ pubkeyHex: toHex(key.pubkey) }] });
  });

  it.each([
    ["denied", "deny", "bad_request"],
    ["throttled", "throttle", "unavailable"],
  ] as const)(
    "while KMS is %s",
    async (_, fault, code) => {
      const key = makeKey();
      const bundle = await fleet.bundle([key]);
      fleet.kms.faults.set(fault, Number.POSITIVE_INFINITY);
      expect((await failureOf(load(enclave, bundle))).code).toBe(code);
      fleet.kms.faults.set(fault, 0);
      expect(await load(enclave, bundle)).toEqual({ loaded: 1, failures: [] });
    },
    30_000,
  );

  it("with credentials that expired meanwhile", async () => {
    const failure = await failureOf(load(enclave, await fleet.bundle([makeKey()]), EXPIRED));
    expect([failure.code, failure.detail]).toEqual(["unavailable", expect.stringContaining("ExpiredTokenException")]);
  });
});

type Stored = StoredBundle["keys"][number];
