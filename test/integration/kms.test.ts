/** The enclave's KMS client and the plain AWS SDK against the local KMS, over TLS. */

import { createPublicKey, generateKeyPairSync, randomBytes } from "node:crypto";
import { mkdtempSync, rmSync, statSync } from "node:fs";
import type { ServerResponse } from "node:http";
import { createServer as createHttps } from "node:https";
import { createServer as createTcp, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  DecryptCommand,
  DescribeKeyCommand,
  EncryptCommand,
  GenerateDataKeyCommand,
  GenerateDataKeyPairCommand,
  KMSClient,
} from "@aws-sdk/client-kms";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, onTestFinished, test } from "vitest";
import { createKmsClient, type KmsClientOptions, type KmsSession } from "#enclave/kms/kms-client.ts";
import { KmsError, type KmsReason } from "#enclave/kms/kms-errors.ts";
import { createRecipient, type Recipient } from "#enclave/kms/recipient.ts";
import type { AwsCredentials } from "#enclave/kms/sdk.ts";
import { createAuthority, issueServer } from "#infra/local/kms/certificates.ts";
import type { KeyPolicy } from "#infra/local/kms/policy.ts";
import { encryptForRecipient } from "#infra/local/kms/recipient-blob.ts";
import { type LocalKms, type LocalKmsOptions, startLocalKms } from "#infra/local/kms/start.ts";
import type { ErrorCode } from "#protocol/errors.ts";
import {
  attestedPolicy,
  CREDENTIALS,
  connectLocal,
  createAttestationAuthority,
  GENUINE_PCRS,
  GENUINE_POLICY,
  OPEN_POLICY,
} from "../helpers/kms.ts";

const authority = createAttestationAuthority();
const CONTEXT = { "testudo:group": "main", "testudo:generation": "7" };

let kms: LocalKms;
let genuine: Recipient;
let other: Recipient;

beforeAll(async () => {
  [genuine, other] = await Promise.all([
    createRecipient(authority.module(GENUINE_PCRS)),
    createRecipient(authority.module({ ...GENUINE_PCRS, 0: "cd".repeat(48) })),
  ]);
});

beforeEach(async () => {
  kms = await start({ keyPolicy: GENUINE_POLICY });
});
afterEach(() => kms.close());

const start = (options: Partial<LocalKmsOptions>): Promise<LocalKms> =>
  startLocalKms({
    credentials: [CREDENTIALS],
    keyPolicy: OPEN_POLICY,
    verifyAttestation: authority.verify,
    ...options,
  });

const openSession = (
  options: Partial<KmsClientOptions> = {},
  modules: { recipient?: Recipient; connect?: () => Promise<Socket>; credentials?: AwsCredentials } = {},
): KmsSession => {
  const { recipient = genuine, connect = () => connectLocal(kms.port), credentials = CREDENTIALS } = modules;
  const settings = { keyArn: kms.keyArn, endpoint: kms.url, ca: kms.caPem, ...options };
  const client = createKmsClient(settings, { recipient, connect, now: () => performance.now(), random: Math.random });
  const session = client.session(credentials);
  onTestFinished(() => session.close());
  return session;
};

/** Seals a data key as an operator does, outside any enclave. */
const wrap = async (dataKey: Uint8Array, { keyId = kms.keyArn, context = CONTEXT } = {}): Promise<Uint8Array> => {
  const answer = await plainClient(kms).send(
    new EncryptCommand({ KeyId: keyId, Plaintext: dataKey, EncryptionContext: context }),
  );
  return answer.CiphertextBlob as Uint8Array;
};

/** The unmodified SDK over plain settings. */
const plainClient = (to: LocalKms, credentials: AwsCredentials = CREDENTIALS): KMSClient => {
  const client = new KMSClient({
    region: to.region,
    endpoint: to.url,
    credentials: { ...credentials } as never,
    maxAttempts: 1,
    requestHandler: { httpsAgent: { ca: to.caPem } },
  });
  onTestFinished(() => client.destroy());
  return client;
};

const failureOf = async (work: Promise<unknown>): Promise<KmsError> => {
  const error = await work.then(
    () => expect.fail("expected a failure"),
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(KmsError);
  return error as KmsError;
};

const expectFailure = async (
  work: Promise<unknown>,
  { reason, code, text }: { reason: KmsReason; code: ErrorCode; text: RegExp },
): Promise<void> => {
  const error = await failureOf(work);
  expect({ reason: error.reason, code: error.code }).toEqual({ reason, code });
  expect(error.detail).toMatch(text);
  const all = [error.detail, error.message, error.stack, JSON.stringify(error), String(error.cause)].join("\n");
  expect(all).not.toContain(CREDENTIALS.secretAccessKey);
  expect(all).not.toContain(CREDENTIALS.sessionToken);
};

describe("the unmodified SDK", () => {
  test("encrypts and decrypts, bound to the context", async () => {
    kms.putKeyPolicy(kms.keyArn, OPEN_POLICY);
    const client = plainClient(kms);
    const plaintext = randomBytes(100);
    const { CiphertextBlob } = await client.send(
      new EncryptCommand({ KeyId: kms.keyArn, Plaintext: plaintext, EncryptionContext: CONTEXT }),
    );
    expect(Buffer.from(CiphertextBlob as Uint8Array).includes(plaintext)).toBe(false);
    const answer = await client.send(new DecryptCommand({ CiphertextBlob, EncryptionContext: CONTEXT }));
    expect(Buffer.from(answer.Plaintext as Uint8Array)).toEqual(plaintext);
    expect(answer).toMatchObject({ KeyId: kms.keyArn, EncryptionAlgorithm: "SYMMETRIC_DEFAULT" });
    expect(answer.CiphertextForRecipient).toBeUndefined();
    for (const context of [{}, { ...CONTEXT, more: "1" }, { ...CONTEXT, "testudo:generation": "8" }]) {
      const refused = client.send(new DecryptCommand({ CiphertextBlob, EncryptionContext: context }));
      await expect(refused).rejects.toMatchObject({ name: "InvalidCiphertextException" });
    }
  });

  test("makes data keys and data key pairs that decrypt to themselves", async () => {
    kms.putKeyPolicy(kms.keyArn, OPEN_POLICY);
    const client = plainClient(kms);
    const made = await client.send(new GenerateDataKeyCommand({ KeyId: kms.keyArn, KeySpec: "AES_256" }));
    expect(made.Plaintext).toHaveLength(32);
    const opened = await client.send(new DecryptCommand({ CiphertextBlob: made.CiphertextBlob }));
    expect(opened.Plaintext).toEqual(made.Plaintext);

    for (const KeyPairSpec of ["RSA_2048", "ECC_NIST_P256"] as const) {
      const pair = await client.send(new GenerateDataKeyPairCommand({ KeyId: kms.keyArn, KeyPairSpec }));
      const publicKey = Buffer.from(pair.PublicKey as Uint8Array);
      const derived = createPublicKey({ key: toPem(pair.PrivateKeyPlaintext), format: "pem" });
      expect(derived.export({ type: "spki", format: "der" })).toEqual(publicKey);
      const again = await client.send(new DecryptCommand({ CiphertextBlob: pair.PrivateKeyCiphertextBlob }));
      expect(again.Plaintext).toEqual(pair.PrivateKeyPlaintext);
    }
  });

  test("describes the key", async () => {
    const { KeyMetadata } = await plainClient(kms).send(new DescribeKeyCommand({ KeyId: kms.keyArn }));
    expect(KeyMetadata).toMatchObject({ Arn: kms.keyArn, Enabled: true, KeySpec: "SYMMETRIC_DEFAULT" });
    kms.setKeyEnabled(kms.keyArn, false);
    const after = await plainClient(kms).send(new DescribeKeyCommand({ KeyId: kms.keyArn }));
    expect(after.KeyMetadata).toMatchObject({ Enabled: false, KeyState: "Disabled" });
  });

  test.each([
    ["wrong secret", { secretAccessKey: "x".repeat(40) }, "InvalidSignatureException"],
    ["unknown access key", { accessKeyId: "AKIANOBODY" }, "UnrecognizedClientException"],
    ["wrong token", { sessionToken: "other" }, "UnrecognizedClientException"],
    ["no token", { sessionToken: undefined }, "UnrecognizedClientException"],
  ])("is refused with a %s", async (_name, change, name) => {
    const client = plainClient(kms, { ...CREDENTIALS, ...change });
    await expect(client.send(new DescribeKeyCommand({ KeyId: kms.keyArn }))).rejects.toMatchObject({ name });
  });

  test("works over plain HTTP where that is asked for", async () => {
    const plain = await start({ scheme: "http" });
    onTestFinished(() => plain.close());
    const client = plainClient(plain);
    const answer = await client.send(new GenerateDataKeyCommand({ KeyId: plain.keyArn, NumberOfBytes: 17 }));
    expect(answer.Plaintext).toHaveLength(17);
  });
});

const toPem = (der: Uint8Array | undefined): string =>
  `-----BEGIN PRIVATE KEY-----\n${Buffer.from(der ?? []).toString("base64")}\n-----END PRIVATE KEY-----\n`;

describe("an attested enclave", () => {
  test("opens a data key that was sealed outside, which no one else can", async () => {
    const dataKey = randomBytes(32);
    const wrapped = await wrap(dataKey);
    const opened = await openSession().decryptDataKey(wrapped, CONTEXT);
    expect(Buffer.from(opened)).toEqual(dataKey);
    const parent = plainClient(kms).send(new DecryptCommand({ CiphertextBlob: wrapped, EncryptionContext: CONTEXT }));
    await expect(parent).rejects.toMatchObject({ name: "AccessDeniedException" });
  });

  test("makes a data key and opens it again", async () => {
    const session = openSession();
    const { dataKey, wrapped } = await session.generateDataKey(CONTEXT);
    expect(dataKey).toHaveLength(32);
    expect(await session.decryptDataKey(wrapped, CONTEXT)).toEqual(dataKey);
    expect(Buffer.from(wrapped).includes(Buffer.from(dataKey))).toBe(false);
  });

  test("gets a key pair's private half for its own key only", async () => {
    const AttestationDocument = await genuine.attestation();
    const pair = await plainClient(kms).send(
      new GenerateDataKeyPairCommand({
        KeyId: kms.keyArn,
        KeyPairSpec: "ECC_NIST_P256",
        Recipient: { KeyEncryptionAlgorithm: "RSAES_OAEP_SHA_256", AttestationDocument },
      }),
    );
    expect(pair.PrivateKeyPlaintext ?? new Uint8Array(0)).toHaveLength(0);
    const length = generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey.export({
      type: "pkcs8",
      format: "der",
    });
    const secret = genuine.open(pair.CiphertextForRecipient as Uint8Array, length.length);
    const derived = createPublicKey({ key: toPem(secret), format: "pem" }).export({ type: "spki", format: "der" });
    expect(derived).toEqual(Buffer.from(pair.PublicKey as Uint8Array));
  });

  test("takes a plaintext that is null, empty or absent for none", async () => {
    const wrapped = await wrap(randomBytes(32));
    for (const Plaintext of [null, "", undefined]) {
      kms.faults.setRewrite((_operation, answer) => ({ ...answer, Plaintext }));
      expect(await openSession().decryptDataKey(wrapped, CONTEXT)).toHaveLength(32);
    }
  });

  test("uses one connection for many bundles", async () => {
    const wrapped = await Promise.all([1, 2, 3, 4, 5].map(() => wrap(randomBytes(32))));
    let connections = 0;
    const connect = (): Promise<Socket> => {
      connections += 1;
      return connectLocal(kms.port);
    };
    const session = openSession({}, { connect });
    for (const blob of wrapped) expect(await session.decryptDataKey(blob, CONTEXT)).toHaveLength(32);
    expect(connections).toBe(1);
    expect(kms.calls("Decrypt")).toBe(5);
  });

  test("connects where the parent says, and believes the certificate alone", async () => {
    const impostor = createAuthority(Date.now());
    const { keyPem, certPem } = issueServer(impostor, { names: ["localhost"], nowMs: Date.now() });
    let requests = 0;
    const server = createHttps({ key: keyPem, cert: certPem }, (_request, response) => {
      requests += 1;
      response.end("{}");
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    onTestFinished(() => void server.close());
    const { port } = server.address() as { port: number };
    const session = openSession({}, { connect: () => connectLocal(port) });
    const text = /did not prove to be localhost.*check the endpoint and its CA/;
    const expected = { reason: "untrusted_server", code: "protocol_violation", text } as const;
    await expectFailure(session.decryptDataKey(new Uint8Array(100), CONTEXT), expected);
    // A certificate of the right authority, for another name.
    const named = openSession({ endpoint: "https://kms.eu-central-1.amazonaws.com" });
    await expectFailure(named.decryptDataKey(new Uint8Array(100), CONTEXT), {
      ...expected,
      text: /did not prove to be kms\.eu-central-1\.amazonaws\.com \(ERR_TLS_CERT_ALTNAME_INVALID\)/,
    });
    // Node's own roots do not know the simulator.
    await expectFailure(openSession({ ca: undefined }).decryptDataKey(new Uint8Array(100), CONTEXT), expected);
    expect(requests).toBe(0);
    expect(kms.calls("Decrypt")).toBe(0);
  });

  test("takes an address for an endpoint where the certificate has it", async () => {
    const { url, port } = kms;
    const session = openSession({ endpoint: url.replace("localhost", "127.0.0.1") });
    expect((await session.generateDataKey(CONTEXT)).dataKey).toHaveLength(32);
    const another = openSession({ endpoint: `https://127.0.0.2:${port}` });
    const expected = {
      reason: "untrusted_server",
      code: "protocol_violation",
      text: /prove to be 127\.0\.0\.2/,
    } as const;
    await expectFailure(another.generateDataKey(CONTEXT), expected);
  });

  test("proves the name of AWS's endpoint where none is given", async () => {
    const aws = await start({ keyPolicy: GENUINE_POLICY, names: ["kms.eu-central-1.amazonaws.com"] });
    onTestFinished(() => aws.close());
    const session = openSession(
      { keyArn: aws.keyArn, endpoint: undefined, ca: aws.caPem },
      { connect: () => connectLocal(aws.port) },
    );
    expect((await session.generateDataKey(CONTEXT)).dataKey).toHaveLength(32);
  });
});

describe("a key policy", () => {
  const denied = { reason: "access_denied", code: "bad_request", text: /AccessDenied.*check the key policy/ } as const;

  test("refuses another image", async () => {
    const wrapped = await wrap(randomBytes(32));
    await expectFailure(openSession({}, { recipient: other }).decryptDataKey(wrapped, CONTEXT), denied);
    expect(kms.calls("Decrypt")).toBe(1); // asked once, not again
  });

  test.each([
    ["PCR1", { "kms:RecipientAttestation:PCR1": "00".repeat(48) }],
    ["PCR2 of two", { "kms:RecipientAttestation:PCR1": GENUINE_PCRS[1], "kms:RecipientAttestation:PCR2": "ff" }],
    ["a PCR that the document does not have", { "kms:RecipientAttestation:PCR8": "00".repeat(48) }],
    ["the context", { "kms:EncryptionContext:testudo:group": "another" }],
  ])("refuses by %s", async (_name, StringEquals) => {
    const wrapped = await wrap(randomBytes(32));
    kms.putKeyPolicy(kms.keyArn, attestedPolicy({ StringEquals }));
    await expectFailure(openSession().decryptDataKey(wrapped, CONTEXT), denied);
  });

  test("lets in by every PCR and the context together", async () => {
    const keyPolicy: KeyPolicy = attestedPolicy({
      StringEquals: {
        "kms:RecipientAttestation:PCR0": [GENUINE_PCRS[0].toUpperCase(), GENUINE_PCRS[0]],
        "kms:RecipientAttestation:PCR2": GENUINE_PCRS[2],
        "kms:EncryptionContext:testudo:group": "main",
      },
    });
    kms.putKeyPolicy(kms.keyArn, keyPolicy);
    expect((await openSession().generateDataKey(CONTEXT)).dataKey).toHaveLength(32);
  });
});

describe("KMS says no", () => {
  test("to another encryption context", async () => {
    const wrapped = await wrap(randomBytes(32));
    await expectFailure(openSession().decryptDataKey(wrapped, { ...CONTEXT, "testudo:generation": "8" }), {
      reason: "invalid_ciphertext",
      code: "bad_request",
      text: /InvalidCiphertext.*encryption context/,
    });
    expect(kms.calls("Decrypt")).toBe(1);
  });

  test("to a ciphertext of another key", async () => {
    const wrapped = await wrap(randomBytes(32), { keyId: kms.createKey(OPEN_POLICY) });
    const expected = { reason: "incorrect_key", code: "bad_request", text: /KMS key that the configuration/ } as const;
    await expectFailure(openSession().decryptDataKey(wrapped, CONTEXT), expected);
  });

  test("to a disabled key and to one that is not there", async () => {
    const wrapped = await wrap(randomBytes(32));
    const missing = kms.keyArn.replace(/[0-9a-f]{12}$/, "0".repeat(12));
    await expectFailure(openSession({ keyArn: missing }).decryptDataKey(wrapped, CONTEXT), {
      reason: "no_such_key",
      code: "bad_request",
      text: /NotFound.*check the key ARN/,
    });
    kms.setKeyEnabled(kms.keyArn, false);
    const disabled = { reason: "key_disabled", code: "bad_request", text: /Disabled.*must be enabled/ } as const;
    await expectFailure(openSession().decryptDataKey(wrapped, CONTEXT), disabled);
  });

  test("to expired and to unknown credentials", async () => {
    let nowMs = Date.now();
    const expiring = { ...CREDENTIALS, accessKeyId: "ASIAEXPIRING", expiresAtMs: nowMs + 60_000 };
    const clocked = await start({ keyPolicy: GENUINE_POLICY, credentials: [expiring], wallClock: () => nowMs });
    onTestFinished(() => clocked.close());
    const to = { keyArn: clocked.keyArn, endpoint: clocked.url, ca: clocked.caPem };
    const connect = (): Promise<Socket> => connectLocal(clocked.port);
    const session = openSession(to, { connect, credentials: expiring });
    const { wrapped } = await session.generateDataKey(CONTEXT);
    nowMs += 60_000;
    await expectFailure(session.decryptDataKey(wrapped, CONTEXT), {
      reason: "credentials_expired",
      code: "unavailable",
      text: /ExpiredToken.*fresh credentials/,
    });
    await expectFailure(openSession(to, { connect }).decryptDataKey(wrapped, CONTEXT), {
      reason: "credentials_refused",
      code: "unavailable",
      text: /UnrecognizedClient.*parent's role/,
    });
  });

  test("to a document that nobody trusts", async () => {
    const stranger = await createRecipient(createAttestationAuthority().module(GENUINE_PCRS));
    await expectFailure(openSession({}, { recipient: stranger }).generateDataKey(CONTEXT), {
      reason: "request_refused",
      code: "bad_request",
      text: /Validation.*attestation document/,
    });
  });
});

describe("faults", () => {
  const QUICK = { attemptsMax: 3, attemptTimeoutMs: 300, deadlineMs: 5_000 };

  test("throttled, then fine", async () => {
    const wrapped = await wrap(randomBytes(32));
    kms.faults.set("throttle", 2);
    expect(await openSession().decryptDataKey(wrapped, CONTEXT)).toHaveLength(32);
    expect(kms.calls("Decrypt")).toBe(3);
  });

  test("throttled for too long", async () => {
    kms.faults.set("throttle", Infinity);
    await expectFailure(openSession({ bounds: QUICK }).generateDataKey(CONTEXT), {
      reason: "throttled",
      code: "unavailable",
      text: /Throttling.*quota.*\(attempts: 3\)/,
    });
    expect(kms.calls("GenerateDataKey")).toBe(3);
  });

  test("the deadline ends the attempts before their number does", async () => {
    kms.faults.set("throttle", Infinity);
    const startedAt = performance.now();
    const bounds = { attemptsMax: 1000, attemptTimeoutMs: 300, deadlineMs: 700 };
    const error = await failureOf(openSession({ bounds }).generateDataKey(CONTEXT));
    expect(error.reason).toBe("throttled");
    expect(performance.now() - startedAt).toBeLessThan(1_500);
  });

  test("status 500, then fine; and for ever", async () => {
    kms.faults.set("fail", 1);
    expect((await openSession().generateDataKey(CONTEXT)).dataKey).toHaveLength(32);
    kms.faults.set("fail", Infinity);
    const expected = { reason: "server_error", code: "unavailable", text: /HTTP 500.*attempts: 3/ } as const;
    await expectFailure(openSession({ bounds: QUICK }).generateDataKey(CONTEXT), expected);
  });

  test("silence, then fine; and for ever", async () => {
    kms.faults.set("hang", 1);
    expect((await openSession({ bounds: QUICK }).generateDataKey(CONTEXT)).dataKey).toHaveLength(32);
    kms.faults.set("hang", Infinity);
    await expectFailure(openSession({ bounds: QUICK }).generateDataKey(CONTEXT), {
      reason: "timed_out",
      code: "deadline_exceeded",
      text: /no answer within 300 ms.*egress proxy/,
    });
  });

  test.each([
    ["behind", 20 * 60_000],
    ["ahead of", -20 * 60_000],
  ])("an enclave whose clock is %s KMS's learns the difference and goes on", async (_side, offsetMs) => {
    const ahead = await start({ keyPolicy: GENUINE_POLICY, wallClock: () => Date.now() + offsetMs });
    onTestFinished(() => ahead.close());
    const to = { keyArn: ahead.keyArn, endpoint: ahead.url, ca: ahead.caPem };
    const session = openSession(to, { connect: () => connectLocal(ahead.port) });
    for (let count = 0; count < 3; count += 1) await session.generateDataKey(CONTEXT);
    expect(ahead.calls("GenerateDataKey")).toBe(4);
  });

  test("denied by no policy of the key's: not asked again", async () => {
    kms.faults.set("deny", Infinity);
    const error = await failureOf(openSession().generateDataKey(CONTEXT));
    expect(error.reason).toBe("access_denied");
    expect(kms.calls("GenerateDataKey")).toBe(1);
  });

  test("a parent that connects to nothing, or to nobody who speaks TLS", async () => {
    const refused = (): Promise<Socket> => Promise.reject(Object.assign(new Error("no"), { code: "ECONNREFUSED" }));
    const expected = { reason: "unreachable", code: "unavailable", text: /ECONNREFUSED.*egress proxy/ } as const;
    await expectFailure(openSession({ bounds: QUICK }, { connect: refused }).generateDataKey(CONTEXT), expected);
    const speakers = {
      "ends at once": (socket: Socket) => socket.end(),
      "talks plain HTTP": (socket: Socket) => socket.end("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"),
      "says nothing": () => {},
    };
    for (const speak of Object.values(speakers)) {
      const server = createTcp(speak);
      await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
      const { port } = server.address() as { port: number };
      const session = openSession({ bounds: QUICK }, { connect: () => connectLocal(port) });
      const { reason } = await failureOf(session.generateDataKey(CONTEXT));
      expect(["unreachable", "timed_out"]).toContain(reason);
      session.close();
      server.close();
    }
  });

  test("a session that is closed ends its calls and makes no more", async () => {
    kms.faults.set("hang", Infinity);
    const session = openSession();
    const pending = failureOf(session.generateDataKey(CONTEXT));
    setTimeout(() => session.close(), 50);
    const startedAt = performance.now();
    expect((await pending).detail).toMatch(/the session was closed/);
    expect(performance.now() - startedAt).toBeLessThan(300); // no further attempt
    expect((await failureOf(session.generateDataKey(CONTEXT))).detail).toMatch(/the session was closed/);
  });
});

/** Speaks TLS as `localhost` under an authority of its own; `echo` is everything the request's head said. */
const startHostile = async (
  answer: (response: ServerResponse, echo: string) => void,
): Promise<{ port: number; ca: string }> => {
  const hostile = createAuthority(Date.now());
  const { keyPem, certPem } = issueServer(hostile, { names: ["localhost"], nowMs: Date.now() });
  const server = createHttps({ key: keyPem, cert: certPem }, (request, response) => {
    request.resume().once("end", () => answer(response, JSON.stringify(request.headers)));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => {
    server.close();
    server.closeAllConnections();
  });
  return { port: (server.address() as { port: number }).port, ca: hostile.certPem };
};

describe("an endpoint that is not to be believed", () => {
  const bad = { reason: "bad_answer", code: "protocol_violation" } as const;
  let wrapped: Uint8Array;

  beforeEach(async () => {
    wrapped = await wrap(randomBytes(32));
  });

  test("answers with the plaintext", async () => {
    const plaintext = randomBytes(32).toString("base64");
    kms.faults.setRewrite((_operation, { CiphertextForRecipient: _left, ...answer }) => ({
      ...answer,
      Plaintext: plaintext,
    }));
    const expected = { ...bad, text: /has the plaintext/ };
    await expectFailure(openSession().decryptDataKey(wrapped, CONTEXT), expected);
    await expectFailure(openSession().generateDataKey(CONTEXT), expected);
    kms.faults.setRewrite((_operation, answer) => ({ ...answer, Plaintext: plaintext }));
    await expectFailure(openSession().decryptDataKey(wrapped, CONTEXT), expected);
  });

  test("answers with nothing", async () => {
    kms.faults.setRewrite((_operation, { CiphertextForRecipient: _left, ...answer }) => answer);
    await expectFailure(openSession().decryptDataKey(wrapped, CONTEXT), { ...bad, text: /no CiphertextForRecipient/ });
  });

  test("answers under a key of another account", async () => {
    kms.faults.setRewrite((_operation, answer) => ({
      ...answer,
      KeyId: String(answer.KeyId).replace("0".repeat(12), "1".repeat(12)),
    }));
    await expectFailure(openSession().decryptDataKey(wrapped, CONTEXT), {
      ...bad,
      text: /expected an answer under arn:/,
    });
    await expectFailure(openSession().generateDataKey(CONTEXT), { ...bad, text: /expected an answer under arn:/ });
    kms.faults.setRewrite((_operation, { KeyId: _left, ...answer }) => answer);
    await expectFailure(openSession().decryptDataKey(wrapped, CONTEXT), {
      ...bad,
      text: /expected an answer under arn:/,
    });
  });

  test("answers with no wrapped key", async () => {
    kms.faults.setRewrite((_operation, { CiphertextBlob: _left, ...answer }) => answer);
    await expectFailure(openSession().generateDataKey(CONTEXT), { ...bad, text: /expected a wrapped data key/ });
  });

  test("answers with more than an answer can have", async () => {
    kms.faults.setRewrite((_operation, answer) => ({ ...answer, More: "x".repeat(64 * 1024) }));
    await expectFailure(openSession().decryptDataKey(wrapped, CONTEXT), { ...bad, text: /at most 32768 bytes/ });
  });

  test("answers with what is not KMS's JSON", async () => {
    for (const value of [{ not: "bytes" }, ["a"], 7, true]) {
      kms.faults.setRewrite((_operation, answer) => ({ ...answer, CiphertextForRecipient: value }));
      expect((await failureOf(openSession().decryptDataKey(wrapped, CONTEXT))).reason).toBe("bad_answer");
      kms.faults.setRewrite((_operation, answer) => ({ ...answer, CiphertextBlob: value }));
      expect((await failureOf(openSession().generateDataKey(CONTEXT))).reason).toBe("bad_answer");
    }
  });

  test.each([
    ["HTML", 200, "<html></html>"],
    ["half an object", 200, '{"KeyId":'],
    ["nothing", 200, ""],
    ["a list", 200, "[]"],
    ["null", 200, "null"],
    ["a redirection", 302, ""],
    ["an error without a name", 400, "{}"],
    ["an error whose name is no text", 400, '{"__type":{"a":1}}'],
    ["an error that is not JSON", 403, "<html></html>"],
  ])("answers with %s under a genuine certificate", async (_name, status, body) => {
    const { port, ca } = await startHostile((response) => response.writeHead(status).end(body));
    const session = openSession({ ca, bounds: { attemptsMax: 1 } }, { connect: () => connectLocal(port) });
    expect(["bad_answer", "request_refused"]).toContain(
      (await failureOf(session.decryptDataKey(wrapped, CONTEXT))).reason,
    );
  });

  test("repeats the request in its error", async () => {
    const { port, ca } = await startHostile((response, echo) => {
      response.writeHead(400).end(JSON.stringify({ __type: "InvalidSignatureException", message: echo }));
    });
    await expectFailure(openSession({ ca }, { connect: () => connectLocal(port) }).decryptDataKey(wrapped, CONTEXT), {
      reason: "credentials_refused",
      code: "unavailable",
      text: /^KMS: InvalidSignatureException \(HTTP 400\); check/,
    });
  });

  test("answers with a forged blob for the enclave: one code, one text", async () => {
    const spki = createPublicKey({ key: Buffer.from(genuine.publicKey), format: "der", type: "spki" });
    const forged = {
      // Whoever knows the public key can make this one. It opens, and opens no bundle: those authenticate their key.
      short: encryptForRecipient(randomBytes(31), spki),
      long: encryptForRecipient(randomBytes(48), spki),
      altered: flipLast(encryptForRecipient(randomBytes(32), spki)),
    };
    const seen = new Set<string>();
    for (const blob of Object.values(forged)) {
      kms.faults.setRewrite((_operation, answer) => ({ ...answer, CiphertextForRecipient: blob.toString("base64") }));
      const error = await openSession()
        .decryptDataKey(wrapped, CONTEXT)
        .catch((thrown: Error) => thrown);
      seen.add(String(error));
    }
    expect([...seen]).toEqual([
      "SignerError: protocol_violation: CiphertextForRecipient: cannot be opened (altered or forged on the way, or of another length)",
    ]);
  });
});

/** Breaks the padding: the last byte of the last block but one, before three ends of contents and another two. */
const flipLast = (blob: Buffer): Buffer => {
  const copy = Buffer.from(blob);
  const at = copy.length - 10 - 17;
  copy[at] = (copy[at] ?? 0) ^ 0xff;
  return copy;
};

describe("the state in a folder", () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "testudo-kms-"));
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  test("keys, policies and authority survive a restart", async () => {
    const first = await start({ folder, keyPolicy: GENUINE_POLICY });
    const { CiphertextBlob } = await plainClient(first).send(
      new EncryptCommand({ KeyId: first.keyArn, Plaintext: new Uint8Array(32).fill(7), EncryptionContext: CONTEXT }),
    );
    await first.close();
    expect(statSync(join(folder, "kms.json")).mode & 0o777).toBe(0o600);
    const second = await start({ folder, keyPolicy: OPEN_POLICY });
    onTestFinished(() => second.close());
    expect({ keyArn: second.keyArn, caPem: second.caPem }).toEqual({ keyArn: first.keyArn, caPem: first.caPem });
    const session = openSession(
      { keyArn: first.keyArn, endpoint: second.url, ca: first.caPem },
      { connect: () => connectLocal(second.port) },
    );
    expect(await session.decryptDataKey(CiphertextBlob as Uint8Array, CONTEXT)).toEqual(new Uint8Array(32).fill(7));
    const parent = plainClient(second).send(new DecryptCommand({ CiphertextBlob, EncryptionContext: CONTEXT }));
    await expect(parent).rejects.toMatchObject({ name: "AccessDeniedException" });
    await expect(start({ folder, account: "1".repeat(12) })).rejects.toThrow(/made for account 000000000000/);
  });
});
